"""Believing many records at once: the same verdicts as `ChainReader` and `read_event`, with less work for each.

What is saved: the tail of a log leaf is built once for all records of a statement; a statement that stands whole in a
batch is verified by its root, computed from its records, instead of each record's path by itself; and an event whose
bytes are what its model writes needs no second parse to be unambiguous. Whatever does not take the short way is read by
the shared code, which says what is wrong.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final

from pydantic import ValidationError

from keyfold.bus import Inbound
from keyfold.events import facts, merkle, topics
from keyfold.events.chains import Accepted, ChainReader, Place, read_event
from keyfold.events.errors import RecordError
from keyfold.events.log_leaves import leaf_of
from keyfold.events.statements import (
    PATH_HEADER,
    SIGNATURE_HEADER,
    SIGNER_HEADER,
    STATEMENT_HEADER,
    Entry,
    Header,
    UntrustedRecord,
)
from keyfold.events.streams import lies_in
from keyfold.events.trust import Trust, check_author

_NAMES: Final = (SIGNER_HEADER, STATEMENT_HEADER, SIGNATURE_HEADER, PATH_HEADER)
_TYPE: Final = b'"type":"'


def leaves_of(records: Sequence[Inbound]) -> list[bytes]:
    """Return the leaf hash of each record, as `log_leaves.leaf_of` says it."""
    common: Sequence[Header] | None = None
    tail = b""
    found: list[bytes] = []
    for record in records:
        key, value, headers = record.key, record.value, record.headers
        if key is None or value is None or len(headers) != 4:
            found.append(leaf_of(key, value, headers))
            continue
        if headers[:3] != common or headers[3][0] != PATH_HEADER or headers[3][1] is None:
            if not _plain(headers):
                found.append(leaf_of(key, value, headers))
                continue
            common = headers[:3]
            tail = b"".join(len(part).to_bytes(4, "big") + part for _, part in common if part is not None)
        head = b"\x00" + len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big")
        found.append(sha256(b"".join((head, value, tail))).digest())
    return found


def _plain(headers: Sequence[Header]) -> bool:
    """Tell whether these are the headers of an event as authors write them."""
    return (
        len(headers) == 4
        and (headers[0][0], headers[1][0], headers[2][0], headers[3][0]) == _NAMES
        and all(value is not None for _, value in headers)  # Kafka has headers without a value
    )


def _alike(run: Sequence[Inbound]) -> bool:
    """Tell whether all records of one statement have such headers. The first three are the same in all of them."""
    return _plain(run[0].headers) and all(
        len(record.headers) == 4 and record.headers[3][0] == PATH_HEADER and record.headers[3][1] is not None
        for record in run
    )


class Believer(ChainReader):
    """The chains of one partition of the events topic."""

    def __init__(self, partition: int, partitions: int) -> None:
        super().__init__(topics.EVENTS, partition, partitions)
        self._lies_here = lru_cache(maxsize=65_536)(
            lambda key: lies_in(key.decode("utf-8", "replace"), partition, partitions)
        )

    def accept_all(self, trust: Trust, records: Sequence[Inbound]) -> Iterator[Accepted | RecordError]:
        """Yield for each record, in order, what `accept` returns or raises. Take each before asking for the next."""
        at = 0
        while at < len(records):
            end = _end_of_run(records, at)
            run = records[at:end]
            whole = self._whole(trust, run) if end - at > 1 else None
            yield from whole if whole is not None else (self._alone(trust, record) for record in run)
            at = end

    def _alone(self, trust: Trust, record: Inbound) -> Accepted | RecordError:
        try:
            return self.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
        except RecordError as error:
            return error

    def _whole(self, trust: Trust, run: Sequence[Inbound]) -> list[Accepted] | None:
        """Accept all records of one statement, or none: then each is looked at alone."""
        headers = run[0].headers
        if not _alike(run):
            return None
        signer, document = (headers[0][1] or b"").decode("ascii", "replace"), headers[1][1] or b""
        try:
            statement = self._statement(trust, document, headers, signer, run[0].timestamp_ms)
            entries = [self._placed(record) for record in run]
            if statement.leaves != len(run) or not _covered(statement.root, entries, run):
                return None
            head = self._next(statement, document, 0).head
        except RecordError:
            return None
        places = [Place(head, leaf, statement.leaves) for leaf in range(len(run))]
        self.places[statement.role] = places[-1]
        return [Accepted(statement.role, signer, place, entry) for place, entry in zip(places, entries, strict=True)]

    def _placed(self, record: Inbound) -> Entry:
        if record.key is None or record.value is None or not self._lies_here(record.key):
            raise UntrustedRecord("the record key is no stream of this partition")
        return Entry(record.key, record.value)


def begin_of_last_statement(records: Sequence[Inbound]) -> int:
    """Return where the records that have the last one's signed statement begin."""
    at = len(records)
    while at > 0 and records[at - 1].headers[:3] == records[-1].headers[:3]:
        at -= 1
    return at


def _end_of_run(records: Sequence[Inbound], at: int) -> int:
    """Return where the records that follow each other under one statement end."""
    common = records[at].headers[:3]
    end = at + 1
    while end < len(records) and records[end].headers[:3] == common:
        end += 1
    return end


def _covered(root: str, entries: Sequence[Entry], run: Sequence[Inbound]) -> bool:
    """Tell whether the entries make the root, and each record carries its own path to it."""
    levels = merkle.levels_of([entry.leaf() for entry in entries])
    if levels[-1][0].hex() != root:
        return False
    return all(
        record.headers[3][1] == index.to_bytes(4, "big") + path
        for index, (record, path) in enumerate(zip(run, merkle.paths_of(levels), strict=True))
    )


def event_of(accepted: Accepted) -> facts.Event:
    """Parse an accepted record as an event of its author. Raises `UntrustedRecord`."""
    event = _canonical(accepted.entry.value)
    if event is None:
        return read_event(accepted, topics.EVENTS)
    check_author(event, accepted.role, topics.EVENTS)
    if event.subject.encode() != accepted.entry.key:
        raise UntrustedRecord("the record key is not the signed stream")
    return event


def _canonical(value: bytes) -> facts.Event | None:
    """Return the event if its bytes are exactly what its model writes: then no two readers can differ about them.

    Escaped code points are left to the strict reader, which knows those that cannot be stored.
    """
    start = value.find(_TYPE) + len(_TYPE)
    model = facts.BY_TYPE.get(value[start : value.find(b'"', start)].decode("utf-8", "replace"))
    if model is None or b"\\u" in value:
        return None
    try:
        event: facts.Event = model.__pydantic_validator__.validate_json(value)
    except ValidationError:
        return None
    same = event.type == model.type_name and model.__pydantic_serializer__.to_json(event) == value
    return event if same else None
