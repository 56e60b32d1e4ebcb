"""From a command and what is known to the question that Cedar is asked. Pure; simulations ask the same question."""

from typing import Any, Final

from keyfold.deciding.cedar import Request
from keyfold.deciding.cedar.requests import Creation
from keyfold.events import commands
from keyfold.events.command_envelope import DataPlaneData, source_of
from keyfold.events.commands import BY_VERB, AnyCommand, algorithm_of, arguments_model
from keyfold.events.entities import Grant, Key, Principal, Proposal
from keyfold.events.evolve import View
from keyfold.events.key_states import state_of
from keyfold.events.specs import default_usage
from keyfold.events.streams import REGISTRY, key_id_of

_NO_CONTEXTS: Final[list[dict[str, str]]] = [{}]


def _named_by(*names: str) -> dict[str, str]:
    """Return, by verb, under which of these names its arguments say something."""
    fields = {verb: arguments_model(verb).model_fields for verb in BY_VERB}
    return {verb: name for name in names for verb, known in fields.items() if name in known}


_CAUSE: Final = _named_by("cause")
_MESSAGE_TYPE: Final = _named_by("message_type")
_VERSION: Final = _named_by("key_version", "version")
_DESTINATION: Final = _named_by("destination_key_id", "source_key_id")
_PROPOSES: Final = _named_by("verb")


def request_of(
    command: AnyCommand, principal: Principal, entities: View, now_ms: int, approvals: tuple[str, ...] = ()
) -> Request:
    """Return the question whether `principal` may do what `command` asks, at this time and with these approvals.

    `entities` are those of the command's partition.
    """
    data, verb = command.data, command.verb
    key_id = key_id_of(command.subject)
    found = entities.get(command.subject) if key_id is not None else None
    key = found if isinstance(found, Key) else None
    plane = data if isinstance(data, DataPlaneData) else None
    control = plane is None
    return Request(
        principal=principal,
        action=verb,
        key=key,
        resource_id=key_id or REGISTRY,
        is_key=key_id is not None,
        creation=_creation(command) if control else None,
        contexts=plane.contexts if plane else _NO_CONTEXTS,
        items=plane.items if plane else 0,
        bytes=plane.bytes if plane else 0,
        now_ms=now_ms,
        reason=data.reason or str(getattr(data.arguments, "reason", "") if control else ""),
        source=source_of(command),
        cause=_said(command, _CAUSE) or "",
        target=_target(command, entities) if control else None,
        approvals=approvals,
        status=None if key is None else state_of(key, now_ms),
        algorithm=algorithm_of(command) if plane else "",
        message_type=_said(command, _MESSAGE_TYPE) or "",
        key_version=_said(command, _VERSION) or 0,
        destination=_said(command, _DESTINATION) or "",
        proposes=_said(command, _PROPOSES) or "",
    )


def _said(command: AnyCommand, names: dict[str, str]) -> Any:
    name = names.get(command.verb)
    return None if name is None else getattr(command.data.arguments, name)


def _creation(command: AnyCommand) -> Creation | None:
    if not isinstance(command, commands.CreateKey):
        return None
    arguments = command.data.arguments
    usage = arguments.key_usage or default_usage(arguments.key_spec) or ""
    return Creation(arguments.protection, arguments.key_spec, arguments.tags, usage, arguments.origin)


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
