"""One partition of the log as analytics reads it: what is believed, what of it is observed, and up to when. No I/O.

Whatever cannot be read costs itself only: a record that is not believed, an event of an unknown type or version, one
that breaks what looks at it. Each is counted and passed over. A gap in an author's chain is passed over too, and
counted: analytics has no state that a missing event could make wrong, and must not go blind.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from keyfold.analytics.acts import Act, act_of
from keyfold.analytics.observations import Observation, observe, rejection
from keyfold.analytics.packing import Unreadable
from keyfold.bus import Inbound
from keyfold.events import strictjson
from keyfold.events.chains import Accepted, ChainGap, ChainRepeat, Place, single_header
from keyfold.events.errors import InvalidCommand, RecordError
from keyfold.events.statements import PATH_HEADER, STATEMENT_HEADER, ChainHead, UntrustedRecord, parse_statement
from keyfold.events.times import to_milliseconds
from keyfold.events.trust import Trust
from keyfold.log.believing import Believer, event_of
from keyfold.projections.audit import audit_row

VERSION: Final = 1


@dataclass(slots=True)
class Noticed:
    """What some records of a source hold. `outcomes` counts records by what became of them, `problem` is the last."""

    observations: list[Observation] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    problem: str | None = None

    def skip(self, outcome: str, place: str, error: Exception) -> None:
        """Count a record that is passed over."""
        self.outcomes[outcome] += 1
        self.problem = f"{place}: {getattr(error, 'code', type(error).__name__)}"


class Source:
    """One partition of `keyfold.events`: the authors' chains, the next offset, and the watermark in ms."""

    def __init__(self, partition: int, partitions: int, *, next_offset: int = 0, mark_ms: int = 0) -> None:
        self.partition = partition
        self.next_offset, self.mark_ms = next_offset, mark_ms
        self._believer = Believer(partition, partitions)

    @classmethod
    def of_row(cls, partition: int, partitions: int, row: bytes | None) -> "Source":
        """Go on where a row says; from the start where there is none. Raises `Unreadable`."""
        if row is None:
            return cls(partition, partitions)
        try:
            document = _of_this_version(row)
            made = cls(partition, partitions, next_offset=int(document["next"]), mark_ms=int(document["mark"]))
            for role, (n, digest, leaf, leaves) in document["places"].items():
                made._believer.places[str(role)] = Place(ChainHead(int(n), str(digest)), int(leaf), int(leaves))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Unreadable(f"no row of a source: {type(error).__name__}") from None
        return made

    def row(self) -> bytes:
        """Return where to go on, as bytes."""
        places = self._believer.places.items()
        document: dict[str, Any] = {
            "v": VERSION,
            "next": self.next_offset,
            "mark": self.mark_ms,
            "places": {role: [place.head.n, place.head.digest, place.leaf, place.leaves] for role, place in places},
        }
        return json.dumps(document, separators=(",", ":")).encode()

    def read(self, trust: Trust, records: Sequence[Inbound], lateness_ms: int) -> Noticed:
        """Take in the records that follow. Those before `next_offset` were read already."""
        noticed = Noticed()
        records = self._following(records)
        verdicts = self._believer.accept_all(trust, records)
        for record in records:
            verdict: Accepted | RecordError = next(verdicts)
            if isinstance(verdict, ChainGap):
                noticed.skip("gap", _place(record), verdict)
                verdict = self._past_gap(trust, record)
            if isinstance(verdict, RecordError):
                outcome = "repeated" if isinstance(verdict, ChainRepeat) else "not-believed"
                noticed.skip(outcome, _place(record), verdict)
            else:
                self._notice(record, verdict, lateness_ms, noticed)
        return noticed

    def _following(self, records: Sequence[Inbound]) -> list[Inbound]:
        """Move on; return those records that were not read before, each once."""
        found = []
        for record in records:
            if record.offset >= self.next_offset:
                self.next_offset = record.offset + 1
                found.append(record)
        return found

    def rise(self, mark_ms: int) -> None:
        """Let the watermark rise: all before this time was read."""
        self.mark_ms = max(self.mark_ms, mark_ms)

    def _notice(self, record: Inbound, accepted: Accepted, lateness_ms: int, noticed: Noticed) -> None:
        try:
            event = event_of(accepted)
            row = audit_row(self.partition, 0, record.offset, accepted, event)
            # The broker's own time bounds it: no author's clock can close what others still write to.
            self.rise(min(to_milliseconds(row.time), record.timestamp_ms) - lateness_ms)
            seen, act = observe(row, event), act_of(row, event)
        except UntrustedRecord as error:
            noticed.skip("unknown-event", _place(record), error)
            return
        except Exception as error:  # noqa: BLE001 - one record that nobody foresaw must not stop a partition
            noticed.skip("failed", _place(record), error)
            return
        noticed.outcomes["read"] += 1
        if seen is not None:
            noticed.observations.append(seen)
        if act is not None:
            noticed.acts.append(act)

    def _past_gap(self, trust: Trust, record: Inbound) -> Accepted | RecordError:
        """Stand right before an authentic record that does not follow, and take it."""
        document = single_header(record.headers, STATEMENT_HEADER) or b""
        leaf = int.from_bytes((single_header(record.headers, PATH_HEADER) or b"")[:4], "big")
        statement = parse_statement(document)
        before = Place(ChainHead(statement.n - 1, statement.prev))
        if leaf:
            before = Place(ChainHead(statement.n, sha256(document).hexdigest()), leaf - 1, statement.leaves)
        self._believer.places[statement.role] = before
        try:
            return self._believer.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
        except RecordError as error:
            return error


def read_dead_letters(source: int, records: Sequence[Inbound]) -> Noticed:
    """Take in dead letters: those that say whose command it was become observations of that principal.

    They are not signed; who may write them is a matter of the brokers' access rules. `source` stands for them.
    """
    noticed = Noticed()
    for record in records:
        try:
            seen = rejection(source, record.offset, record.timestamp_ms, strictjson.loads(record.value or b""))
        except (ValueError, InvalidCommand) as error:
            noticed.skip("failed", _place(record), error)
            continue
        noticed.outcomes["read"] += 1
        noticed.observations += [] if seen is None else [seen]
    return noticed


def noticed_of(parts: Sequence[Noticed]) -> Iterator[tuple[str, int]]:
    """Yield how many records of several sources became what."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part.outcomes)
    yield from total.items()


def _of_this_version(row: bytes) -> Mapping[str, Any]:
    document = _mapping(row)
    if document["v"] != VERSION:
        raise ValueError("version")
    return document


def _mapping(value: bytes | None) -> Mapping[str, Any]:
    document = json.loads(value or b"")
    if not isinstance(document, dict):
        raise TypeError("no document")
    return document


def _place(record: Inbound) -> str:
    return f"{record.topic}-{record.partition}@{record.offset}"
