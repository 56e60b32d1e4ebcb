"""The audit trail: one row per event, taken from the event and the command inside its decision. Pure.

A command was checked by policy before, but a policy processor may be wrong or forged: what does not have the expected
form becomes an empty column here, never an error. The exact bytes stand beside it.
"""

import json
import re
from typing import Any, Final

from pydantic_core import from_json

from keyfold.events import commands, facts, strictjson
from keyfold.events.chains import Accepted
from keyfold.events.errors import InvalidCommand
from keyfold.events.streams import UUID_PATTERN, key_id_of
from keyfold.projections.rows import AuditRow, Outcome
from keyfold.projections.usage import version_number

_MAX: Final = 2**63 - 1
_UUID: Final = re.compile(UUID_PATTERN)
_VERBS: Final = {commands.type_of(verb): verb for verb in commands.BY_VERB}
_NOTHING: Final[dict[str, Any]] = {}


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
        key_id=getattr(event.data, "key_id", None) or key_id_of(event.subject),
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
    )


def _details(event: facts.Event) -> dict[str, Any]:
    if isinstance(event, facts.PolicyEvent):
        return _decided(event)
    if isinstance(event, facts.Outcome):
        return _executed(event)
    return _NOTHING


def _decided(event: facts.PolicyEvent) -> dict[str, Any]:
    decision, data = event.data.decision, event.data
    details = _command(decision.command)
    details.update(
        outcome="denied" if isinstance(event, facts.CommandDenied) else "authorized",
        policies=tuple(decision.policies),
        registry_revision=decision.registry_revision,
        command_digest=decision.command_digest,
        command_offset=decision.offset,
    )
    if isinstance(data, facts.CommandDenied.Data):
        details.update(verb=data.verb, principal=data.principal, code=data.code)
    elif isinstance(data, facts.CommandAuthorized.Data):
        details.update(
            verb=data.verb,
            principal=data.principal,
            key_version=data.key_version,
            items=data.items,
            bytes=data.bytes,
        )
    elif isinstance(data, facts.KeyCreated.Data):
        details.update(key_version=1)
    elif isinstance(data, facts.KeyRotated.Data):
        details.update(key_version=data.version)
    return details


def _executed(event: facts.Outcome) -> dict[str, Any]:
    data = event.data
    outcome: Outcome = "failed" if isinstance(event, facts.OperationFailed) else "completed"
    details = {
        "outcome": outcome,
        "principal": data.principal,
        "verb": data.verb,
        "command_id": data.command_id,
        "command_digest": data.command_digest,
        "command_offset": data.offset,
        "code": getattr(data, "code", None),
        "items": getattr(data, "items", None),
        "bytes": getattr(data, "bytes", None),
        "key_version": getattr(data, "version", None),
    }
    if isinstance(data, facts.KeyUsed.Data):
        if len(data.versions) == 1:
            details["key_version"] = version_number(next(iter(data.versions)))
        if data.failures:
            details["code"] = next(iter(data.failures)) if len(data.failures) == 1 else "SeveralErrors"
    return details


def _command(text: str) -> dict[str, Any]:
    """Read what the audit shows of a command; nothing of it where the command has not the expected form."""
    document = _document(text)
    data = document.get("data")
    data = data if isinstance(data, dict) else _NOTHING
    identifier, kind, principal = document.get("id"), document.get("type"), data.get("principal")
    return {
        "command_id": identifier if isinstance(identifier, str) and _UUID.fullmatch(identifier) else None,
        "verb": _VERBS.get(kind) if isinstance(kind, str) else None,
        "principal": principal if isinstance(principal, str) else None,
        "contexts": _contexts(data.get("contexts")),
        "items": data.get("items"),
        "bytes": data.get("bytes"),
    }


def _document(text: str) -> dict[str, Any]:
    """Parse quickly where nothing can go wrong: only an escape can bring in text that Postgres cannot store."""
    try:
        document = strictjson.loads(text.encode()) if "\\u" in text else from_json(text, allow_inf_nan=False)
    except (InvalidCommand, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _contexts(contexts: Any) -> str | None:
    if not isinstance(contexts, list):
        return None
    for context in contexts:
        if not isinstance(context, dict) or not all(type(value) is str for value in context.values()):
            return None
    return json.dumps(contexts, ensure_ascii=False)


def _number(value: Any) -> int | None:
    """Numbers are unbounded in JSON, and a column is not."""
    return value if type(value) is int and 0 <= value <= _MAX else None
