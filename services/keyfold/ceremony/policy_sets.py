"""The Cedar policies that are shipped, as they are published: one file for each role, and some to be put when wanted.

Those of the roles are what a deployment begins with and what a reset puts back. The others are for whoever needs them.
Nothing is decided here.
"""

from importlib.resources import files
from typing import Final

NAMES: Final = (
    "administrators",
    "key-administrators",
    "key-users",
    "auditors",
    "approvers",
    "operators",
    "services",
    "analytics",
    "everybody",
)
READY: Final = ("quorum", "quorum-identities", "analytics-issuing")


def initial_policies() -> dict[str, str]:
    """Return Cedar text by policy name: who may do what from genesis on."""
    return {name: _text(name) for name in NAMES}


def ready_policies() -> dict[str, str]:
    """Return Cedar text by policy name: what an administrator may put besides."""
    return {name: _text(name) for name in READY}


def _text(name: str) -> str:
    return files(__package__).joinpath("policies", f"{name}.cedar").read_text("utf-8")
