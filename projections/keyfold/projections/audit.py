"""The audit trail: one row per event, taken from the event and the command inside its decision. Pure.

How a command is read is in `audit_commands`. The exact bytes stand beside what is shown of them.
"""

from typing import Any, Final, TypeVar

from keyfold.events import commands, facts
from keyfold.events.chains import Accepted
from keyfold.events.streams import key_id_of
from keyfold.projections.audit_commands import command_columns, proposed_columns
from keyfold.projections.rows import AuditRow, Outcome
from keyfold.projections.usage import version_number

Value = TypeVar("Value")

_DATA_PLANE: Final = frozenset(verb for verb, model in commands.BY_VERB.items() if model.data_plane)
USES: Final = _DATA_PLANE - {"ImportKeyMaterial"} | {"GetPublicKey", "AssumePrincipalWithWebIdentity"}
"""Verbs that administer nothing: what keys are for, reading a public key, and logging in."""

_MAX: Final = 2**63 - 1
_NOTHING: Final[dict[str, Any]] = {}
_DECISIONS: Final[dict[type[facts.Event], Outcome]] = {facts.CommandDenied: "denied", facts.DryRunSucceeded: "dry-run"}


def audit_row(partition: int, position: int, kafka_offset: int, accepted: Accepted, event: facts.Event) -> AuditRow:
    """Return the row of one event at its leaf index in the partition's log."""
    details = _details(event)
    return AuditRow(
        partition=partition,
        position=position,
        kafka_offset=kafka_offset,
        event_id=event.id,
        event_type=event.type,
        time=event.time,
        stream=event.subject,
        outcome=details.get("outcome", "recorded"),
        code=details.get("code"),
        principal=details.get("principal"),
        verb=details.get("verb"),
        key_id=vars(event.data).get("key_id") or key_id_of(event.subject),
        key_version=_number(details.get("key_version")),
        contexts=details.get("contexts"),
        items=_number(details.get("items")),
        payload_bytes=_number(details.get("bytes")),
        policies=details.get("policies"),
        registry_revision=_number(details.get("registry_revision")),
        command_id=details.get("command_id"),
        command_digest=details.get("command_digest"),
        command_offset=_number(details.get("command_offset")),
        value=accepted.entry.value,
        role=accepted.role,
        signer=accepted.signer,
        statement_n=accepted.place.head.n,
        statement_leaf=accepted.place.leaf,
        reason=details.get("reason"),
        source=details.get("source"),
        dry_run=details.get("dry_run", False),
        grant_id=details.get("grant_id"),
        proposal_id=details.get("proposal_id"),
        algorithm=details.get("algorithm"),
        administrative=is_administrative(event, details.get("verb")),
    )


def is_administrative(event: facts.Event, verb: str | None) -> bool:
    """Say whether an event is a decision about a verb that is no use of a key, or an act of root."""
    return event.role == "root" or (isinstance(event, facts.PolicyEvent) and verb not in USES)


def _details(event: facts.Event) -> dict[str, Any]:
    if isinstance(event, facts.PolicyEvent):
        return _decided(event)
    if isinstance(event, facts.Outcome):
        return _executed(event)
    if isinstance(event, facts.UsageBudgetWarning):
        return {"key_version": event.data.version, "command_offset": event.data.offset}
    if isinstance(event, facts.PolicyReset):
        return {"reason": event.data.reason}
    if isinstance(event, facts.KeyErased):
        return {"key_version": _only(event.data.versions)}
    return _NOTHING


def _decided(event: facts.PolicyEvent) -> dict[str, Any]:
    decision, fields = event.data.decision, vars(event.data)  # models answer slowly for a field that they have not
    details = command_columns(decision.command)
    details.update(
        outcome=_DECISIONS.get(type(event), "authorized"),
        policies=tuple(decision.policies),
        registry_revision=decision.registry_revision,
        command_digest=decision.command_digest,
        command_offset=decision.offset,
        grant_id=fields.get("grant") or decision.grant or details["grant_id"],
        proposal_id=fields.get("proposal") or details["proposal_id"],
    )
    if decision.proposal is not None and type(event) not in _DECISIONS:
        details.update(_carried_out(decision.proposal, details["verb"]))
    return details | _of_fact(event)


def _carried_out(use: facts.ProposalUse, verb: str | None) -> dict[str, Any]:
    """Return what was proposed, where it is an approval that carries it out.

    A data-plane command that was approved before is its proposer's own, and says all that by itself.
    """
    proposed = proposed_columns(use.command)
    itself = verb is not None and verb == proposed["verb"]
    return {"proposal_id": use.proposal, **({} if itself else proposed)}


def _of_fact(event: facts.PolicyEvent) -> dict[str, Any]:
    """Return what the fact says by itself; it stands above what its command says."""
    match event:
        case facts.CommandAuthorized(data=data):
            used = {"key_version": data.key_version, "items": data.items, "bytes": data.bytes}
            return {"verb": data.verb, "principal": data.principal, **used}
        case facts.CommandDenied(data=data):
            return {"verb": data.verb, "principal": data.principal, "code": data.code}
        case facts.DryRunSucceeded(data=data):
            return {"verb": data.verb, "principal": data.principal, "dry_run": True}
        case facts.KeyCreated() | facts.KeyCompromised():
            return {"key_version": _only(vars(event.data).get("versions", [1]))}
        case facts.ProposalApproved(data=data):
            return {"code": data.code}
        case _:
            version = vars(event.data).get("version")
            return {} if version is None else {"key_version": version}


def _executed(event: facts.Outcome) -> dict[str, Any]:
    data, fields = event.data, vars(event.data)
    outcome: Outcome = "failed" if isinstance(event, facts.OperationFailed) else "completed"
    details = {
        "outcome": outcome,
        "principal": data.principal,
        "verb": data.verb,
        "command_id": data.command_id,
        "command_digest": data.command_digest,
        "command_offset": data.offset,
        "code": fields.get("code"),
        "items": fields.get("items"),
        "bytes": fields.get("bytes"),
        "key_version": fields.get("version"),
    }
    if isinstance(data, facts.KeyUseCeased.Data):
        details["key_version"] = _only(data.erased_versions)
    if isinstance(data, facts.KeyUsed.Data):
        details["key_version"] = version_number(_only(list(data.versions)) or "")
        if data.failures:
            details["code"] = next(iter(data.failures)) if len(data.failures) == 1 else "SeveralErrors"
    return details


def _only(values: list[Value]) -> Value | None:
    """Return the value where there is one; of several, none is the one."""
    return values[0] if len(values) == 1 else None


def _number(value: Any) -> int | None:
    """Numbers are unbounded in JSON, and a column is not."""
    return value if type(value) is int and 0 <= value <= _MAX else None
