"""What a proposal proposes: the command that its approval carries out, built from the command that proposes it. Pure.

Policy decides it, the HSM worker executes it, auditors explain it: all from the same bytes.
"""

from typing import Any, Final

from keyfold.events import strictjson
from keyfold.events.command_envelope import check_scope
from keyfold.events.commands import BY_VERB, AnyCommand, ProposeCommand, parse_command, type_of
from keyfold.events.errors import InvalidCommand

NOT_PROPOSABLE: Final = frozenset(
    {"ProposeCommand", "ApproveProposal", "DenyProposal", "CancelProposal"}
    | {"AssumePrincipalWithWebIdentity", "GenerateRandom"}
)


def proposed_command(proposing: ProposeCommand) -> AnyCommand:
    """Return the proposed command: its author's, on the same stream and under the same id. Raises `InvalidCommand`."""
    wish = proposing.data.arguments
    model = BY_VERB.get(wish.verb)
    if model is None or wish.verb in NOT_PROPOSABLE:
        raise InvalidCommand("this verb cannot be proposed")
    extent = {"contexts": wish.contexts, "items": wish.items, "bytes": wish.bytes}
    if any((value is not None) != model.data_plane for value in extent.values()):
        raise InvalidCommand("a data-plane verb is proposed with contexts, items and bytes, another one without")
    document: dict[str, Any] = proposing.model_dump(mode="json", exclude={"data"})
    data = proposing.data.model_dump(mode="json", exclude={"arguments", "dry_run"})
    document |= {
        "type": type_of(wish.verb),
        "data": {**data, **(extent if model.data_plane else {}), "arguments": wish.arguments},
    }
    command = strictjson.parse(model, strictjson.canonical(document))
    check_scope(command)
    return command


def proposed_in(value: bytes) -> AnyCommand:
    """Return what the exact bytes of a `ProposeCommand` propose. Raises `InvalidCommand`."""
    proposing = parse_command(value)
    if not isinstance(proposing, ProposeCommand):
        raise InvalidCommand("this command proposes nothing")
    return proposed_command(proposing)
