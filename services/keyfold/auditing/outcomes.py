"""Whether each accepted command has one outcome, behind its decision, that fits it. Pure.

Kept is only what waits: policy lets a few hundred commands of a partition wait at most. What a use may have used is
what its authorization said; together with the rules about decisions this is the fence: no use of a key has a command
offset above the one of the command that disabled it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from keyfold.auditing.findings import Illegal
from keyfold.auditing.rules import executed_command
from keyfold.events import facts
from keyfold.events.commands import AnyCommand
from keyfold.events.entities import Key
from keyfold.events.view import View

_CEASES: Final = (
    facts.KeyDisabled, facts.KeyDeletionScheduled, facts.KeyDestroyed, facts.KeyVersionDisabled,
    facts.KeyVersionDestroyed, facts.KeyCompromised, facts.ImportedKeyMaterialDeleted,
)  # fmt: skip
_BY_VERB: Final[dict[str, type[facts.Outcome]]] = {
    "GenerateRandom": facts.CommandCompleted,
    "ImportKeyMaterial": facts.KeyMaterialImported,
}


@dataclass(frozen=True, slots=True)
class Ticket:
    """An accepted command that waits for its outcome. `versions` is how many its key had.

    `identity` is whose command it is, and its id; `principal` and `verb` are those of what is carried out.
    """

    event: facts.PolicyEvent
    identity: tuple[str, str]
    principal: str
    verb: str
    kind: type[facts.Outcome]
    versions: int


def ticket_of(event: facts.PolicyEvent, command: AnyCommand, before: View) -> Ticket | None:
    """Return what a decision lets wait; None where nothing is executed. Raises `InvalidCommand`."""
    if isinstance(event, facts.CommandDenied | facts.DryRunSucceeded):
        return None
    executed = executed_command(event, command)
    key = before.get(event.subject)
    versions = len(key.versions) if isinstance(key, Key) else 0
    kind = outcome_kind(event, executed)
    return Ticket(event, (command.data.principal, command.id), executed.data.principal, executed.verb, kind, versions)


def outcome_kind(event: facts.PolicyEvent, executed: AnyCommand) -> type[facts.Outcome]:
    """Return what a worker states of an accepted command that did not fail."""
    if isinstance(event, facts.KeyCreated | facts.KeyRotated):
        return facts.CommandCompleted if event.data.origin == "EXTERNAL" else facts.KeyMaterialGenerated
    if isinstance(event, _CEASES):
        return facts.KeyUseCeased
    if isinstance(event, facts.ImportParametersIssued):
        return facts.ImportParametersCreated
    if isinstance(event, facts.CommandAuthorized) and executed.data_plane:
        return _BY_VERB.get(executed.verb, facts.KeyUsed)
    return facts.CommandCompleted


def check_outcome(ticket: Ticket, outcome: facts.Outcome) -> None:
    """Raise `Illegal` unless an outcome is one of this ticket."""
    data, decision = outcome.data, ticket.event.data.decision
    expected = (decision.command_digest, ticket.identity[1], ticket.principal, ticket.verb, ticket.event.subject)
    found = (data.command_digest, data.command_id, data.principal, data.verb, outcome.subject)
    if found != expected:
        raise Illegal("OutcomeMismatch", f"an outcome of {expected}", f"one of {found}")
    if outcome.time != ticket.event.time:
        raise Illegal("OutcomeMismatch", f"the time of its decision, {ticket.event.time}", outcome.time)
    if not isinstance(outcome, (ticket.kind, facts.OperationFailed)):
        raise Illegal("OutcomeMismatch", f"{ticket.kind.type_name}, or that it failed", outcome.type)
    if isinstance(outcome, facts.KeyUsed) and isinstance(ticket.event, facts.CommandAuthorized):
        _check_used(ticket, ticket.event.data, outcome.data)


def _check_used(ticket: Ticket, told: facts.CommandAuthorized.Data, used: facts.KeyUsed.Data) -> None:
    if (used.key_id, used.items, used.bytes) != (told.key_id, told.items, told.bytes):
        expected = f"{told.items} items and {told.bytes} bytes under {told.key_id}"
        raise Illegal("OutcomeMismatch", expected, f"{used.items} and {used.bytes} under {used.key_id}")
    versions, opened = _numbers(used.versions), _numbers(used.opened)
    unknown = {v for v in versions | opened if not 1 <= v <= ticket.versions}
    if unknown:
        raise Illegal("OutcomeMismatch", f"versions 1 to {ticket.versions}", f"{sorted(unknown)}")
    if (versions | opened) & set(told.refused_versions):
        raise Illegal(
            "OutcomeMismatch", f"none of the versions {told.refused_versions}", f"{sorted(versions | opened)}"
        )
    if told.key_version is not None and not versions <= {told.key_version}:
        raise Illegal("OutcomeMismatch", f"version {told.key_version}", f"{sorted(versions)}")
    if sum(used.versions.values()) + sum(map(len, used.failures.values())) != used.items:
        raise Illegal("OutcomeMismatch", f"{used.items} items in all", "another sum of uses and failures")


def _numbers(versions: Iterable[str]) -> set[int]:
    """Return the numbers of versions; what is no number is version 0, which no key has."""
    return {int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else 0 for text in versions}
