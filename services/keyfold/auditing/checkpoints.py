"""Checkpoints and cosignatures as the topics hold them: the latest of an origin, or all. Nothing is verified here.

Both topics are read from their end backwards, since what is asked for is mostly new. A cosignature is a note with the
same text and one more line; all lines of a text are put together, one for each key, so a line is only as good as the
key that somebody checks it with.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from keyfold.bus import Bus, Inbound, Reader
from keyfold.events import topics
from keyfold.events.checkpoints import CONSISTENCY_HEADER, NEXT_HEADER, Checkpoint, parse_checkpoint
from keyfold.events.errors import RecordError, Unavailable
from keyfold.events.notes import Note, NoteInvalid, NoteSignature, parse_note

_FIRST_WINDOW: Final = 500
_LARGEST_WINDOW: Final = 4000
_OLDER_MS: Final = 60_000  # by so much a witness's clock may be behind the notary's
_MAX_COSIGNATURES: Final = 16
_POLL_S: Final = 0.2
_SIZE_BYTES: Final = 8


class NoCheckpoint(Unavailable):
    """No checkpoint covers what is asked about, or none is cosigned as was wished; it may come yet."""

    code = "NoCheckpoint"


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint as it was published. `old` and `path` prove that it extends the origin's checkpoint before it.

    `next_offset` is the Kafka offset of the events topic behind the tree's last leaf, as the notary says; `at` is the
    record's own on the checkpoints topic.
    """

    note: Note
    checkpoint: Checkpoint
    old: int
    path: tuple[bytes, ...]
    next_offset: int
    timestamp_ms: int
    at: int

    @property
    def origin(self) -> str:
        """Whose tree it is."""
        return self.checkpoint.origin


def parse_published(record: Inbound) -> Published:
    """Read one record of the checkpoints topic. Raises `NoteInvalid`."""
    note = parse_note(record.value or b"")
    checkpoint = parse_checkpoint(note)
    if record.key != checkpoint.origin.encode():
        raise NoteInvalid("the checkpoint's record key is not its origin")
    consistency, following = record.header(CONSISTENCY_HEADER) or b"", record.header(NEXT_HEADER) or b""
    if len(consistency) % 32 != _SIZE_BYTES or len(following) != _SIZE_BYTES:
        raise NoteInvalid("the checkpoint lacks the proof that it extends the one before, or its offset")
    old, nodes = int.from_bytes(consistency[:_SIZE_BYTES], "big"), consistency[_SIZE_BYTES:]
    path = tuple(nodes[at : at + 32] for at in range(0, len(nodes), 32))
    return Published(note, checkpoint, old, path, int.from_bytes(following, "big"), record.timestamp_ms, record.offset)


class CheckpointTopics:
    """The two topics of a deployment. Use `checkpoint_topics`; not for use by two tasks."""

    def __init__(self, bus: Bus) -> None:
        self._checkpoints = bus.reader(topics.CHECKPOINTS, 0, committed=True)
        self._cosignatures = bus.reader(topics.COSIGNATURES, 0, committed=True)
        self._starts: dict[Reader, int] = {}

    async def start(self) -> None:
        """Connect."""
        for reader in (self._checkpoints, self._cosignatures):
            await reader.start(None)
            self._starts[reader] = reader.position()

    async def stop(self) -> None:
        """Disconnect. May be called at any time, and again."""
        await self._checkpoints.stop()
        await self._cosignatures.stop()

    async def latest(self, origins: Iterable[str]) -> dict[str, Published]:
        """Return the latest checkpoint of each origin that has one, with its cosignatures."""
        wanted = set(origins)
        found: dict[str, Published] = {}
        async for batch in self._backwards(self._checkpoints):
            for record in reversed(batch):
                published = _read(record)
                if published is not None and published.origin in wanted:
                    found.setdefault(published.origin, published)
            if len(found) == len(wanted):
                break
        lines = await self._lines(found.values())
        return {origin: _with_lines(published, lines) for origin, published in sorted(found.items())}

    async def covering(self, origin: str, index: int, *, cosignatures: int = 0) -> Published:
        """Return the newest checkpoint that covers a leaf and has at least so many cosignatures (none verified).

        Raises `NoCheckpoint`.
        """
        async for batch in self._backwards(self._checkpoints):
            of_origin = [found for record in batch if (found := _read(record)) and found.origin == origin]
            recent = [found for found in of_origin if found.checkpoint.size > index]
            lines = await self._lines(recent)
            for published in reversed(recent):
                if len(lines.get(published.note.text, ())) >= cosignatures:
                    return _with_lines(published, lines)
            if len(recent) < len(of_origin):
                break
        wished = f" with {cosignatures} cosignatures" if cosignatures else ""
        raise NoCheckpoint(f"no checkpoint of {origin}{wished} covers leaf {index} yet; is the notary running?")

    async def wait_covering(self, origin: str, index: int, *, cosignatures: int = 0, timeout_s: float) -> Published:
        """Return what `covering` does, as soon as there is one. Raises `NoCheckpoint` after `timeout_s`."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                return await self.covering(origin, index, cosignatures=cosignatures)
            except NoCheckpoint:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
            await asyncio.sleep(_POLL_S)

    async def all(self) -> AsyncIterator[Published]:
        """Yield all checkpoints, oldest first, without cosignatures."""
        await self._checkpoints.seek(self._starts[self._checkpoints])
        async for batch in self._checkpoints.read_to_end():
            for published in filter(None, map(_read, batch)):
                yield published

    async def cosigned(self) -> AsyncIterator[Note]:
        """Yield all notes of the cosignatures topic, oldest first."""
        await self._cosignatures.seek(self._starts[self._cosignatures])
        async for batch in self._cosignatures.read_to_end():
            for record in batch:
                note = _note(record)
                if note is not None:
                    yield note

    async def _lines(self, published: Iterable[Published]) -> dict[str, list[NoteSignature]]:
        """Return the lines that cosigners added to these texts, at most one of each key; nothing older is read."""
        wanted = {one.note.text: {(line.name, line.key_id) for line in one.note.signatures} for one in published}
        since_ms = min((one.timestamp_ms for one in published), default=0)
        found: dict[str, list[NoteSignature]] = {}
        if not wanted:
            return found
        async for batch in self._backwards(self._cosignatures):
            for record in reversed(batch):
                note = _note(record)
                if note is not None and note.text in wanted:
                    _add_lines(found.setdefault(note.text, []), note, wanted[note.text])
            if batch[0].timestamp_ms < since_ms - _OLDER_MS:
                break
        return found

    async def _backwards(self, reader: Reader) -> AsyncIterator[list[Inbound]]:
        """Yield stretches of a topic, the last one first, each in its order; they grow while nobody has enough."""
        start, high, window = self._starts[reader], await reader.end_offset(), _FIRST_WINDOW
        while high > start:
            low = max(start, high - window)
            await reader.seek(low)
            stretch: list[Inbound] = []
            async for batch in reader.read_to_end():
                stretch += [record for record in batch if record.offset < high]
                if reader.position() >= high:
                    break
            if stretch:
                yield stretch
            high, window = low, min(2 * window, _LARGEST_WINDOW)


@asynccontextmanager
async def checkpoint_topics(bus: Bus) -> AsyncIterator[CheckpointTopics]:
    """Open both topics for as long as the block runs."""
    reading = CheckpointTopics(bus)
    try:
        await reading.start()
        yield reading
    finally:
        await reading.stop()


def _read(record: Inbound) -> Published | None:
    """What is no checkpoint helps nobody, and is passed over: anybody may check the ones that are."""
    try:
        return parse_published(record)
    except RecordError:
        return None


def _note(record: Inbound) -> Note | None:
    try:
        return parse_note(record.value or b"")
    except RecordError:
        return None


def _add_lines(found: list[NoteSignature], note: Note, known: set[tuple[str, bytes]]) -> None:
    for line in note.signatures:
        if (line.name, line.key_id) not in known and len(found) < _MAX_COSIGNATURES:
            known.add((line.name, line.key_id))
            found.append(line)


def _with_lines(published: Published, lines: dict[str, list[NoteSignature]]) -> Published:
    return replace(published, note=published.note.with_signatures(lines.get(published.note.text, ())))
