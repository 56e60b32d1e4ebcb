"""Reading a keystore partition from its start: what is believed, and in which order. No I/O; nothing is folded here.

It believes exactly what `keyfold.events.chains` does, which checks record by record. A statement whose records stand
together, as the worker writes them, is checked as a whole: its tree is computed once, and every record's inclusion path
is compared with the only one that leads to the root. Whatever is not as the worker writes it goes record by record.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from keyfold.bus import Inbound
from keyfold.events import facts, merkle, topics
from keyfold.events.chains import Accepted, ChainGap, ChainReader, Place, read_event
from keyfold.events.errors import RecordError
from keyfold.events.statements import PATH_HEADER, SIGNATURE_HEADER, SIGNER_HEADER, STATEMENT_HEADER, Entry, Header
from keyfold.events.streams import lies_in
from keyfold.events.trust import Trust, check_author
from keyfold.hsm.errors import KeystoreBroken
from keyfold.logging import get_logger

_NAMES: Final = (SIGNER_HEADER, STATEMENT_HEADER, SIGNATURE_HEADER, PATH_HEADER)
_PATH: Final = 3  # the place of the path; all records of a statement share the headers before it
_log = get_logger()


@dataclass(slots=True)
class _Run:
    """A statement under way: its first record is believed, those behind it wait until all are there."""

    first: Accepted
    trust: Trust
    common: tuple[Header, ...]
    records: list[Inbound]


class KeystoreReader:
    """Reads one partition. `trust` is asked for again at every record that is checked alone."""

    def __init__(self, partition: int, partitions: int, trust: Callable[[], Trust]) -> None:
        self._chains = ChainReader(topics.KEYSTORE, partition, partitions)
        self._partition, self._partitions, self._trust = partition, partitions, trust
        self._run: _Run | None = None

    def end(self, role: str) -> Place:
        """Return where a role's chain was read to."""
        return self._chains.places.get(role, Place())

    def read(self, records: Iterable[Inbound]) -> Iterator[facts.Event]:
        """Yield the events that are believed, in order; some may wait for what comes next. Raises `KeystoreBroken`."""
        for record in records:
            run = self._run
            if run is None or not _continues(run, record):
                yield from self.finish()
                yield from self._alone(record)
                continue
            run.records.append(record)
            if len(run.records) == run.first.place.leaves:
                yield from self._together(run)

    def finish(self) -> Iterator[facts.Event]:
        """Yield what still waits. To be called at the end."""
        run, self._run = self._run, None
        for record in () if run is None else run.records[1:]:
            yield from self._alone(record)

    def _alone(self, record: Inbound) -> Iterator[facts.Event]:
        trust = self._trust()
        try:
            accepted = self._chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
        except ChainGap as error:
            raise KeystoreBroken(f"keystore: {error}; restore it from a replica") from None
        except RecordError as error:
            _ignored(record, error)
            return
        names = tuple(name for name, _ in record.headers)
        if accepted.place.leaf == 0 and accepted.place.leaves > 1 and names == _NAMES:
            self._run = _Run(accepted, trust, tuple(record.headers[:_PATH]), [record])
        yield from _event(record, accepted)

    def _together(self, run: _Run) -> Iterator[facts.Event]:
        entries = self._verified(run)
        if entries is None:
            yield from self.finish()
            return
        self._run = None
        role, signer, leaves = run.first.role, run.first.signer, run.first.place.leaves
        place = Place(run.first.place.head, leaves - 1, leaves)
        self._chains.places[role] = place
        for record, entry in zip(run.records[1:], entries[1:], strict=True):
            yield from _event(record, Accepted(role, signer, place, entry))

    def _verified(self, run: _Run) -> list[Entry] | None:
        """Return the entries of a whole statement, or None where a record is not just as its author writes it.

        The first record is believed, so the root is the signed one if it is what the first one's path leads to.
        """
        entries = [Entry(record.key or b"", record.value or b"") for record in run.records]
        if self._trust() is not run.trust or not all(self._is_here(entry.key) for entry in entries):
            return None
        levels = merkle.levels_of([entry.leaf() for entry in entries])
        for index, record in enumerate(run.records):
            if record.headers[_PATH][1] != index.to_bytes(4, "big") + b"".join(merkle.path_of(levels, index)):
                return None
        return entries

    def _is_here(self, key: bytes) -> bool:
        stream = key.decode("utf-8", "replace")
        return lies_in(stream, self._partition, self._partitions)


def _continues(run: _Run, record: Inbound) -> bool:
    """Tell whether a record is of the same statement, complete, and with no header that its author does not write."""
    headers = record.headers
    return (
        len(headers) == len(_NAMES)
        and headers[_PATH][0] == PATH_HEADER
        and tuple(headers[:_PATH]) == run.common
        and record.key is not None
        and record.value is not None
    )


def _event(record: Inbound, accepted: Accepted) -> Iterator[facts.Event]:
    try:
        yield _as_written(accepted) or read_event(accepted, topics.KEYSTORE)
    except RecordError as error:
        _ignored(record, error)


def _as_written(accepted: Accepted) -> facts.Event | None:
    """Read stored material from the very bytes that the worker writes of it; None for anything else.

    Bytes that an event is written as are one unambiguous document: where no character is escaped by its number, there
    is nothing left for the strict reader to find.
    """
    entry = accepted.entry
    if b"\\u" in entry.value:
        return None
    try:
        event = facts.KeyMaterialStored.model_validate_json(entry.value)
    except ValidationError:
        return None
    if event.type != event.type_name or event.subject.encode() != entry.key or event.to_value() != entry.value:
        return None
    check_author(event, accepted.role, topics.KEYSTORE)
    return event


def _ignored(record: Inbound, error: RecordError) -> None:
    _log.warning("keystore-record-ignored", partition=record.partition, offset=record.offset, reason=str(error))
