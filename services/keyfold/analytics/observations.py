"""What of an event counts for analytics: who did what with which key, when, and with what result. Pure.

An event becomes at most one observation, and an observation is of up to two entities: its principal and its key. No
value of an encryption context is interpreted; protected values are digests already.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple

from keyfold.events import facts
from keyfold.events.streams import NAME_PATTERN
from keyfold.events.times import to_milliseconds
from keyfold.projections.rows import AuditRow

Result = Literal["authorized", "denied", "completed", "failed", "rejected"]
"""`authorized` and `denied` are decisions, `completed` and `failed` outcomes of authorized commands; `rejected` is what
was not admitted (a dead letter: expired, replayed under another id's name, malformed)."""

RESULTS: Final[tuple[Result, ...]] = ("authorized", "denied", "completed", "failed", "rejected")
PRINCIPAL: Final = "principal/"
KEY: Final = "key/"
_MAX_CONTEXT_VALUES: Final = 16
_MAX_PAIR: Final = 256
_NAME: Final = re.compile(NAME_PATTERN)
_CODE: Final = re.compile(r"[A-Z][A-Za-z]{0,63}")


class Ref(NamedTuple):
    """Where an event stands: evidence. Ordered by event time; the offset is Kafka's, in `keyfold.events`."""

    time_ms: int
    partition: int
    offset: int
    event_id: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One event as the detectors see it.

    `items` are cryptographic operations (of a batch, each item), asked for or done; `failures` of them failed.
    `contexts` are the distinct `name=value` pairs of the encryption contexts, the first sixteen. `target` is what an
    administrative act is about: a key's id, a policy's or a principal's name, as far as its event says.
    """

    ref: Ref
    result: Result
    verb: str
    principal: str | None
    key_id: str | None
    items: int = 1
    failures: int = 0
    code: str | None = None
    contexts: tuple[str, ...] = ()
    administrative: bool = False
    target: str | None = None

    def entities(self) -> tuple[str, ...]:
        """Name whom it is of: `principal/NAME`, `key/ID`, or both."""
        names = []
        if self.principal is not None:
            names.append(PRINCIPAL + self.principal)
        if self.key_id is not None:
            names.append(KEY + self.key_id)
        return tuple(names)


def observe(row: AuditRow, event: facts.Event) -> Observation | None:
    """Return what counts of an event and its audit row; nothing of facts that are neither decision nor outcome, and
    of dry runs, which do nothing."""
    if row.outcome == "recorded" or row.outcome == "dry-run" or row.verb is None:  # noqa: PLR1714 - narrows the type
        return None
    used = event.data if isinstance(event, facts.KeyUsed) else None
    failures = sum(map(len, used.failures.values())) if used is not None else 0
    return Observation(
        ref=Ref(to_milliseconds(row.time), row.partition, row.kafka_offset, row.event_id),
        result=row.outcome,
        verb=row.verb,
        principal=row.principal,
        key_id=row.key_id,
        items=row.items or 1,
        failures=failures,
        code=row.code,
        contexts=_pairs(row.contexts),
        administrative=row.administrative,
        target=row.key_id or _target(event),
    )


def rejection(source: int, offset: int, time_ms: int, letter: Mapping[str, Any]) -> Observation | None:
    """Return what counts of a dead letter: that a principal's command was not admitted, and why.

    Only letters that name a principal count (its signature was verified); nothing else is known of the command.
    `source` is how its place tells dead letters from partitions of the log. Raises `ValueError`.
    """
    principal, code = letter.get("principal"), letter.get("code")
    if principal is None or code is None:
        return None
    if not (_matches(_NAME, principal) and _matches(_CODE, code)):
        raise ValueError("a dead letter whose principal and code are no names")
    ref = Ref(time_ms, source, offset, f"dead-letter/{offset}")
    return Observation(ref=ref, result="rejected", verb="", principal=principal, key_id=None, code=code)


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _pairs(contexts: str | None) -> tuple[str, ...]:
    if contexts is None or contexts == "[{}]":
        return ()
    pairs = {_short(f"{name}={value}"): None for context in json.loads(contexts) for name, value in context.items()}
    return tuple(pairs)[:_MAX_CONTEXT_VALUES]


def _short(pair: str) -> str:
    """Long values are told apart by their digest: much may stand in a context, and all of this is remembered."""
    if len(pair) <= _MAX_PAIR:
        return pair
    return f"{pair[: _MAX_PAIR - 40]}…{sha256(pair.encode()).hexdigest()[:32]}"


def _target(event: facts.Event) -> str | None:
    fields = vars(event.data)
    named = (fields.get(name) for name in ("policy", "name", "alias", "issuer", "limit", "suppression", "incident"))
    return next((value for value in named if isinstance(value, str)), None)
