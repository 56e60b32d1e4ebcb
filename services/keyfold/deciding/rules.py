"""What a rule returns: the event that a command becomes, as its class and its own data."""

from typing import Any

from keyfold.events import errors, facts


class NotYet(errors.RegistryBehind):
    """Not a decision: the caller has seen more than this partition has, a later registry or an outcome."""


Rule = tuple[type[facts.Event], dict[str, Any]]
