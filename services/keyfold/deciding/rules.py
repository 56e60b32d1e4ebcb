"""What a rule returns: the event that a command becomes, as its class and its own data."""

from collections.abc import Sequence
from typing import Any

from keyfold.events import errors, facts
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.commands import AnyCommand
from keyfold.events.entities import Key


class NotYet(errors.RegistryBehind):
    """Not a decision: the caller has seen more than this partition has, a later registry or an outcome."""


Rule = tuple[type[facts.Event], dict[str, Any]]


def authorized(command: AnyCommand, key: Key | None, version: int | None = None, refused: Sequence[int] = ()) -> Rule:
    """Return the authorization of a command that has no lifecycle fact of its own."""
    data = command.data
    plane = data if isinstance(data, DataPlaneData) else None
    return facts.CommandAuthorized, {
        "verb": command.verb,
        "principal": data.principal,
        "key_id": key.key_id if key else None,
        "key_version": version,
        "protection": key.protection if key else None,
        "items": plane.items if plane else 0,
        "bytes": plane.bytes if plane else 0,
        "refused_versions": list(refused),
    }
