"""Authorization with Cedar: policies against a published schema, evaluated purely and quickly.

`Authorizer` decides, `validate_policy` says whether a text may be put. Nothing here reads a clock, does I/O or knows
what is done with a verdict.
"""

from keyfold.deciding.cedar.authorizer import Authorizer
from keyfold.deciding.cedar.requests import REGISTRY_ID, Creation, Request, Verdict
from keyfold.deciding.cedar.schema import SCHEMA_TEXT
from keyfold.deciding.cedar.validation import validate_policy

__all__ = ["REGISTRY_ID", "SCHEMA_TEXT", "Authorizer", "Creation", "Request", "Verdict", "validate_policy"]
