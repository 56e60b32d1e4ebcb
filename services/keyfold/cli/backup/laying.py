"""How an empty partition is filled so that every record stands at the offset that it had: the steps, as values. Pure.

Offsets that no record has belonged to the markers of transactions, to aborted records, to what was deleted. Markers are
the only thing that takes an offset and that no reader ever sees. So where one offset is free behind a record, the
records before it are written as a transaction, whose marker falls there; further free offsets are filled by the markers
of transactions without records. What lies before the first record was deleted: it is filled with empty records, which
are deleted again. Kafka gives offsets one by one; there is no way to skip many at once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from keyfold.bus import Inbound, header_bytes

MOST_RECORDS: Final = 2_000
MOST_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Records:
    """Records without an offset between them; with `marker` the offset behind them is a transaction's marker."""

    records: tuple[Inbound, ...]
    marker: bool


@dataclass(frozen=True, slots=True)
class Markers:
    """So many offsets that are markers."""

    count: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """So many offsets at the start that hold nothing any more."""

    count: int


Step = Records | Markers | Deleted


def steps(records: Iterable[Inbound], first: int, end: int, *, exact: bool = True) -> Iterator[Step]:
    """Return the steps for a partition that reached from `first` to `end`, of its records in order.

    Without `exact`, only the order of records counts. Raises `ValueError` for records outside of that, or out of order.
    """
    run = _Run()
    position = first
    if first and exact:
        yield Deleted(first)
    for record in records:
        if not position <= record.offset < end:
            raise ValueError(f"a record at offset {record.offset} is out of place; {position} to {end} was expected")
        if exact:
            yield from _gap(run, record.offset - position)
        run.add(record)
        position = record.offset + 1
        if run.full:
            yield run.take(marker=False)
    yield from _gap(run, end - position if exact else 0)
    if run.records:
        yield run.take(marker=False)


def _gap(run: "_Run", missing: int) -> Iterator[Step]:
    if missing and run.records:
        yield run.take(marker=True)
        missing -= 1
    if missing:
        yield Markers(missing)


class _Run:
    """Records that follow each other without a gap, up to what is written at once."""

    def __init__(self) -> None:
        self.records: list[Inbound] = []
        self._bytes = 0

    @property
    def full(self) -> bool:
        return len(self.records) >= MOST_RECORDS or self._bytes >= MOST_BYTES

    def add(self, record: Inbound) -> None:
        self.records.append(record)
        self._bytes += len(record.key or b"") + len(record.value or b"") + header_bytes(record.headers)

    def take(self, *, marker: bool) -> Records:
        taken = Records(tuple(self.records), marker)
        self.records, self._bytes = [], 0
        return taken
