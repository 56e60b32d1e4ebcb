"""Reading signed records in order: every record is believed only through this module.

`ChainReader.accept` checks, in this order: the record is complete and signed by who may (`trust`), it is in its place
(record key, partition), the statement is the next of its role's chain, the leaf is the next of its statement, the
path leads to the root. What fails the first two is `UntrustedRecord` (ignored by all readers alike, reported); an old
place is `ChainRepeat` (ignored, reported); a missing one is `ChainGap` (the reader must stop).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from keyfold.events import facts
from keyfold.events.errors import InvalidCommand, RecordError, UnsupportedVersion
from keyfold.events.statements import (
    PATH_HEADER,
    SEALED_HEADER,
    SIGNATURE_HEADER,
    SIGNER_HEADER,
    STATEMENT_HEADER,
    ChainHead,
    Entry,
    Header,
    Statement,
    UntrustedRecord,
    parse_statement,
    verify_entry,
)
from keyfold.events.streams import lies_in
from keyfold.events.trust import Trust, check_author


class ChainRepeat(RecordError):
    """A record stands again where it was read before; ignored and reported."""

    code = "ChainRepeat"


class ChainGap(RecordError):
    """A statement or leaf is missing before this record: something was lost, removed or reordered."""

    code = "ChainGap"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a role's chain was read to: the last statement and its last leaf and size."""

    head: ChainHead = field(default_factory=ChainHead)
    leaf: int = -1
    leaves: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """An authentic record in its place."""

    role: str
    signer: str
    place: Place
    entry: Entry


def single_header(headers: Sequence[Header], name: str) -> bytes | None:
    """Return the one header of a name; None if it is absent or repeated."""
    found = [value for key, value in headers if key == name]
    return found[0] if len(found) == 1 else None


class ChainReader:
    """The chains of all roles on one topic partition, as one reader has seen them so far."""

    def __init__(self, topic: str, partition: int, partitions: int, places: dict[str, Place] | None = None) -> None:
        self.topic = topic
        self.partition = partition
        self.places = dict(places or {})
        self._partitions = partitions
        self._verified: dict[tuple[str, bytes, bytes], Statement] = {}
        self._trust: Trust | None = None

    def accept(
        self,
        trust: Trust,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
        timestamp_ms: int,
    ) -> Accepted:
        """Believe one record and advance. Raises `UntrustedRecord`, `ChainRepeat` or `ChainGap`; then nothing moved."""
        entry = self._entry(key, value, headers)
        signer = (single_header(headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
        document = single_header(headers, STATEMENT_HEADER) or b""
        statement = self._statement(trust, document, headers, signer, timestamp_ms)
        leaf = verify_entry(statement, entry, single_header(headers, PATH_HEADER) or b"")
        place = self._next(statement, document, leaf)
        self.places[statement.role] = place
        return Accepted(statement.role, signer, place, entry)

    def _entry(self, key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> Entry:
        if key is None or value is None:
            raise UntrustedRecord("a null key or value")
        stream = key.decode("utf-8", "replace")
        if not lies_in(stream, self.partition, self._partitions):
            raise UntrustedRecord("the record key is no stream of this partition")
        return Entry(key, value, single_header(headers, SEALED_HEADER) or b"")

    def _statement(
        self, trust: Trust, document: bytes, headers: Sequence[Header], signer: str, timestamp_ms: int
    ) -> Statement:
        signature = single_header(headers, SIGNATURE_HEADER) or b""
        if trust is not self._trust:  # what was verified under older certificates is verified again
            self._trust, self._verified = trust, {}
        memo = (signer, signature, document)
        known = self._verified.get(memo)
        if known is not None:
            return known
        statement = parse_statement(document)
        if statement.topic != self.topic or statement.partition != self.partition:
            raise UntrustedRecord("the statement belongs to another topic or partition")
        trust.verify_statement(statement, document, signature, signer, timestamp_ms)
        if len(self._verified) >= 8:
            self._verified.clear()
        self._verified[memo] = statement
        return statement

    def _next(self, statement: Statement, document: bytes, leaf: int) -> Place:
        place = self.places.get(statement.role, Place())
        if statement.n == place.head.n:
            return self._within(statement, document, leaf, place)
        if statement.n < place.head.n:
            raise ChainRepeat(f"{self._where(statement)} was read before")
        complete = place.leaf + 1 == place.leaves
        if statement.n != place.head.n + 1 or leaf != 0 or not complete or statement.prev != place.head.digest:
            raise ChainGap(f"{self._where(statement)} leaf {leaf} does not follow statement {place.head.n}")
        return Place(ChainHead(statement.n, sha256(document).hexdigest()), 0, statement.leaves)

    def _within(self, statement: Statement, document: bytes, leaf: int, place: Place) -> Place:
        if sha256(document).hexdigest() != place.head.digest:
            raise ChainGap(f"{self._where(statement)} stands twice with different content")
        if leaf <= place.leaf:
            raise ChainRepeat(f"{self._where(statement)} leaf {leaf} was read before")
        if leaf != place.leaf + 1:
            raise ChainGap(f"{self._where(statement)} leaf {leaf} does not follow leaf {place.leaf}")
        return Place(place.head, leaf, place.leaves)

    def _where(self, statement: Statement) -> str:
        return f"{self.topic}/{self.partition} {statement.role} statement {statement.n}"


def read_event(accepted: Accepted, topic: str) -> facts.Event:
    """Parse an accepted record as an event of its author. Raises `UntrustedRecord`: a leaf of the log, never state."""
    try:
        event = facts.parse_event(accepted.entry.value)
    except (InvalidCommand, UnsupportedVersion) as error:
        raise UntrustedRecord(f"a signed record is no known event: {error.code}") from None
    check_author(event, accepted.role, topic)
    if event.subject.encode() != accepted.entry.key:
        raise UntrustedRecord("the record key is not the signed stream")
    return event
