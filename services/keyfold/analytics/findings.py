"""What a detector says, and the finding that it becomes: identified by detector, entity and window. Pure."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal
from uuid import UUID

from keyfold.analytics.observations import Ref

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high", "critical")
"""`low` is told but alarms nobody by itself; several detectors together do (see `incidents`)."""

HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Signal:
    """What one detector sees in one entity at the end of a tick.

    `aspect` tells signals of one detector apart that stand beside each other (a verb, a code, a peer); it is part of
    the finding's identity. `since_ms` and `until_ms` bound what was looked at; `observed` and `expected` are in `unit`.
    `sentence` says it to a person, without the entity's name in front.
    """

    severity: Severity
    since_ms: int
    until_ms: int
    observed: float
    expected: float
    unit: str
    sentence: str
    aspect: str = ""
    evidence: tuple[Ref, ...] = ()
    key_id: str | None = None
    principal: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A signal with its detector, entity, window and id. `window_ms` is the start of the hour in which it ended."""

    detector: str
    entity: str
    window_ms: int
    signal: Signal = field(compare=False)

    @property
    def id(self) -> str:
        """The same for the same detector, entity, aspect and window, whatever run finds it; a UUID (version 8)."""
        return uuid_of("keyfold-finding-v1", self.detector, self.entity, self.signal.aspect, str(self.window_ms))


def uuid_of(kind: str, *names: str) -> str:
    """Return the id of what is named so, always the same; a UUID (version 8, RFC 9562)."""
    content = kind + "\x00" + "\x1f".join(names)
    digest = bytearray(sha256(content.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(digest)))


def finding(detector: str, entity: str, signal: Signal) -> Finding:
    """Return the finding of a signal."""
    end = max(signal.until_ms - 1, signal.since_ms)
    return Finding(detector, entity, end - end % HOUR_MS, signal)
