"""Replay: believing the records of one partition in their order, before anything is folded. Pure.

Every record becomes one of three things: a `Leaf` (an event that counts; a plain use may be a `UseLeaf`), a `Strange`
leaf (authentic and in its place, but no event that its author may write), or a `Report` (no leaf at all). A gap raises:
the reader must stop.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from keyfold.events import facts, topics
from keyfold.events.chains import Accepted, ChainReader, ChainRepeat, read_event, single_header
from keyfold.events.errors import RecordError
from keyfold.events.statements import SIGNER_HEADER, Header, UntrustedRecord
from keyfold.events.times import nearest_text
from keyfold.events.trust import Trust
from keyfold.projections.fold import Leaf, Passed, UseLeaf
from keyfold.projections.positions import Offsets
from keyfold.projections.rows import Report
from keyfold.projections.uses import use_of

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")


Parse = Callable[[Accepted], facts.Event]


class Record(Protocol):
    """A record as it came off the events topic; the bus' `Inbound` is one."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp_ms(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[Header]: ...


@dataclass(frozen=True, slots=True)
class Strange:
    """A leaf of the log that never becomes state."""

    accepted: Accepted
    report: Report


Item = Leaf | UseLeaf | Passed | Strange | Report


def _event(accepted: Accepted) -> facts.Event:
    return read_event(accepted, topics.EVENTS)


class Replay:
    """The chains of one partition of `keyfold.events`, continued from where it was folded to."""

    def __init__(self, partitions: int, offsets: Offsets, chains: ChainReader | None = None) -> None:
        """`chains` is the reader that believes, where it is to be another than the plain one; it stands here then."""
        self._partition = offsets.partition
        self.chains = chains or ChainReader(topics.EVENTS, offsets.partition, partitions)
        self.chains.places = dict(offsets.places)

    def read(self, trust: Trust, record: Record) -> Leaf | Strange | Report:
        """Believe one record or say why not. Raises `ChainGap`; after that, and after a report, nothing moved."""
        try:
            accepted = self.chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
        except (UntrustedRecord, ChainRepeat) as error:
            return self._report(record, error)
        return self._item(record, accepted, _event)

    def judged(self, record: Record, verdict: Accepted | RecordError, parse: Parse) -> Item:
        """Return what `read` does, from what `chains` said of the record and a quicker `read_event`; uses as such."""
        if isinstance(verdict, UntrustedRecord | ChainRepeat):
            return self._report(record, verdict)
        if isinstance(verdict, RecordError):
            raise verdict
        use = use_of(verdict)
        if use is not None:
            return UseLeaf(record.offset, verdict, use)
        return self._item(record, verdict, parse)

    def _item(self, record: Record, accepted: Accepted, parse: Parse) -> Leaf | Strange:
        try:
            event = parse(accepted)
        except UntrustedRecord as error:
            return Strange(accepted, self._report(record, error))
        return Leaf(record.offset, accepted, event, record.headers)

    def _report(self, record: Record, error: RecordError) -> Report:
        signer = (single_header(record.headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
        return Report(
            partition=self._partition,
            kafka_offset=record.offset,
            code=error.code,
            detail=str(error).replace("\x00", "")[:500],
            digest=sha256(record.value or b"").hexdigest(),
            signer=signer if _FINGERPRINT.fullmatch(signer) else "",
            time=nearest_text(record.timestamp_ms),
        )
