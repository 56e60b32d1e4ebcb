"""One partition in memory: offsets, transactions and their markers, as Kafka's log has them. No I/O, no clock."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from keyfold.bus.errors import PositionLost
from keyfold.bus.records import Inbound, Outbound

UNLIMITED: Final = 1 << 62


class Outcome(Enum):
    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(slots=True, eq=False)
class Transaction:
    """One transaction and the partitions that its records lie in."""

    outcome: Outcome = Outcome.OPEN
    logs: list["Log"] = field(default_factory=list)

    def finish(self, outcome: Outcome) -> None:
        """Decide it, and write one marker into every partition: a marker takes an offset like a record."""
        self.outcome = outcome
        for log in self.logs:
            log.append_marker(self)


@dataclass(frozen=True, slots=True)
class _Entry:
    record: Inbound | None  # None: a marker
    transaction: Transaction | None


class Log:
    """The records of one topic partition."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.start = 0
        self._entries: list[_Entry] = []

    @property
    def high_watermark(self) -> int:
        return self.start + len(self._entries)

    @property
    def last_stable(self) -> int:
        """The first offset of the earliest open transaction, or the high watermark."""
        for place, entry in enumerate(self._entries):
            if entry.transaction is not None and entry.transaction.outcome is Outcome.OPEN:
                return self.start + place
        return self.high_watermark

    def end(self, *, committed: bool) -> int:
        return self.last_stable if committed else self.high_watermark

    def append(self, record: Outbound, now_ms: int, transaction: Transaction | None) -> int:
        """Write one record; return its offset."""
        offset = self.high_watermark
        at_ms = now_ms if record.timestamp_ms is None else record.timestamp_ms
        stored = Inbound(self.topic, self.partition, offset, at_ms, record.key, record.value, tuple(record.headers))
        self._entries.append(_Entry(stored, transaction))
        if transaction is not None and self not in transaction.logs:
            transaction.logs.append(self)
        return offset

    def append_marker(self, transaction: Transaction) -> None:
        self._entries.append(_Entry(None, transaction))

    def delete_before(self, offset: int) -> None:
        """Move the start of the log; never beyond its end."""
        offset = min(offset, self.high_watermark)
        if offset > self.start:
            del self._entries[: offset - self.start]
            self.start = offset

    def check(self, position: int) -> None:
        """Raise PositionLost if the log does not have this position."""
        if not self.start <= position <= self.high_watermark:
            bounds = f" (it reaches from {self.start} to {self.high_watermark})"
            raise PositionLost(self.topic, self.partition, position, bounds)

    def read(self, position: int, *, committed: bool, max_records: int) -> tuple[list[Inbound], int]:
        """Return visible records from a position on, and the position behind everything that was passed."""
        self.check(position)
        found: list[Inbound] = []
        end = self.end(committed=committed)
        while position < end and len(found) < max_records:
            entry = self._entries[position - self.start]
            position += 1
            hidden = committed and entry.transaction is not None and entry.transaction.outcome is Outcome.ABORTED
            if entry.record is not None and not hidden:
                found.append(entry.record)
        return found, position
