"""What a rule returns: the event that a command becomes, as its class and its own data."""

from typing import Any

from keyfold.events import facts

Rule = tuple[type[facts.Event], dict[str, Any]]
