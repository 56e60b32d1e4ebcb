"""Authorization with Cedar: policies against a published schema, evaluated purely and quickly.

`Authorizer` decides, `validate_policy` says whether a text may be put. Nothing here reads a clock, does I/O or knows
what is done with a verdict.
"""

from keyfold.policy.cedar.authorizer import Authorizer
from keyfold.policy.cedar.requests import REGISTRY_ID, Creation, Request, Verdict
from keyfold.policy.cedar.schema import SCHEMA_TEXT
from keyfold.policy.cedar.validation import validate_policy

__all__ = ["REGISTRY_ID", "SCHEMA_TEXT", "Authorizer", "Creation", "Request", "Verdict", "validate_policy"]
