"""From a command and what is known to the question that Cedar is asked. Pure; simulations ask the same question."""

from typing import Final

from keyfold.deciding.cedar import Request
from keyfold.deciding.cedar.requests import Creation
from keyfold.events import commands
from keyfold.events.commands import AnyCommand, DataPlaneData, source_of
from keyfold.events.entities import Grant, Key, Principal, Proposal
from keyfold.events.evolve import View
from keyfold.events.streams import REGISTRY, key_id_of

_NO_CONTEXTS: Final[list[dict[str, str]]] = [{}]


def request_of(
    command: AnyCommand, principal: Principal, entities: View, now_ms: int, approvals: tuple[str, ...] = ()
) -> Request:
    """Return the question whether `principal` may do what `command` asks, at this time and with these approvals.

    `entities` are those of the command's partition.
    """
    data = command.data
    key_id = key_id_of(command.subject)
    key = entities.get(command.subject) if key_id is not None else None
    plane = data if isinstance(data, DataPlaneData) else None
    control = plane is None
    return Request(
        principal=principal,
        action=command.verb,
        key=key if isinstance(key, Key) else None,
        resource_id=key_id or REGISTRY,
        is_key=key_id is not None,
        creation=_creation(command) if control else None,
        contexts=plane.contexts if plane else _NO_CONTEXTS,
        items=plane.items if plane else 0,
        bytes=plane.bytes if plane else 0,
        now_ms=now_ms,
        reason=data.reason or str(getattr(data.arguments, "reason", "") if control else ""),
        source=source_of(command),
        cause=command.data.arguments.cause if isinstance(command, commands.RotateKey) else "",
        target=_target(command, entities) if control else None,
        approvals=approvals,
    )


def _creation(command: AnyCommand) -> Creation | None:
    if not isinstance(command, commands.CreateKey):
        return None
    arguments = command.data.arguments
    return Creation(arguments.protection, arguments.key_spec, arguments.tags)


def _target(command: AnyCommand, entities: View) -> str | None:
    """Name the principal that a command is about."""
    arguments = command.data.arguments
    named = getattr(arguments, "principal", None) or getattr(arguments, "grantee", None)
    if isinstance(named, str) and not isinstance(command, commands.PutLimit):
        return named
    grant = entities.get(f"grant/{getattr(arguments, 'grant', '')}")
    if isinstance(grant, Grant):
        return grant.grantee
    proposal = entities.get(f"proposal/{getattr(arguments, 'proposal', '')}")
    return proposal.proposer if isinstance(proposal, Proposal) else None
