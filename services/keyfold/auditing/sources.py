"""Where an auditor reads the log from: Kafka here, or an archive (`archive_reader`). What is read is not believed.

A source gives every record that a committed reader is given, in its order, whether authentic or not, and the signed
checkpoints that it knows. Sources are made by openers, which can be sent to another process.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from keyfold.auditing.checkpoints import Published, checkpoint_topics
from keyfold.auditing.trees import StoredTree, stored_tree
from keyfold.bus import Bus, BusSettings, Inbound, KafkaBus
from keyfold.events import topics
from keyfold.events.notes import MAX_NOTE_BYTES, Note, NoteInvalid, parse_note


class RecordSource(Protocol):
    """The events topic of one deployment. Its fingerprint is what is to be verified, not what the source claims."""

    @property
    def deployment(self) -> str: ...
    @property
    def partitions(self) -> int: ...

    def records(self, partition: int, start: int | None = None) -> AsyncIterator[list[Inbound]]:
        """Yield batches of a partition from a Kafka offset (None: the first record) to the end as it is at the call."""

    async def checkpoints(self) -> list[bytes]:
        """Return the signed notes that are known, each once, with all cosignatures."""

    async def ends(self) -> Mapping[int, int]:
        """Return by partition the Kafka offset at which it ends now; nothing of a source that does not grow."""


@runtime_checkable
class TreeSource(Protocol):
    """A source that also has the published hashes of the trees, so that a difference can be told to the leaf."""

    def tree(self, partition: int) -> AbstractAsyncContextManager[StoredTree]: ...


@runtime_checkable
class PublishedSource(Protocol):
    """A source that also has the checkpoints in the order in which they were published."""

    def published(self) -> AsyncIterator[Published]: ...


Opener = Callable[[], RecordSource]
"""Makes a source; it can be pickled."""


class KafkaSource:
    """The log on a cluster: what its brokers serve now."""

    def __init__(self, bus: Bus, deployment: str, partitions: int) -> None:
        self._bus = bus
        self.deployment, self.partitions = deployment, partitions

    async def records(self, partition: int, start: int | None = None) -> AsyncIterator[list[Inbound]]:
        """Yield batches. Raises `BusUnavailable`, `PositionLost`."""
        async for batch in self._read(topics.EVENTS, partition, start):
            yield batch

    async def checkpoints(self) -> list[bytes]:
        """Return what the notary published, with what witnesses published about it."""
        return await self.checkpoints_from(topics.CHECKPOINTS, topics.COSIGNATURES)

    async def published(self) -> AsyncIterator[Published]:
        """Yield the checkpoints topic, oldest first; what is no checkpoint is left out."""
        async with checkpoint_topics(self._bus) as opened:
            async for each in opened.all():
                yield each

    async def checkpoints_from(self, *names: str) -> list[bytes]:
        """Return the notes of some topics of one partition, merged by their text; what is no note stays as it is."""
        notes: dict[str, Note] = {}
        strange: list[bytes] = []
        for name in names:
            async for batch in self._read(name, 0, None):
                for record in batch:
                    _merge(notes, strange, record.value or b"")
        return [note.to_bytes() for note in notes.values()] + strange

    async def ends(self) -> dict[int, int]:
        """Return the end offset of each partition: about how many records it has, as offsets count markers too."""
        admin = self._bus.admin()
        await admin.start()
        try:
            return dict(await admin.end_offsets(topics.EVENTS))
        finally:
            await admin.stop()

    def tree(self, partition: int) -> AbstractAsyncContextManager[StoredTree]:
        """Return the published tree of a partition, to be entered."""
        return stored_tree(self._bus, partition)

    async def _read(self, topic: str, partition: int, start: int | None) -> AsyncIterator[list[Inbound]]:
        reader = self._bus.reader(topic, partition, committed=True)
        try:
            await reader.start(start)
            async for batch in reader.read_to_end():
                yield batch
        finally:
            await reader.stop()


@dataclass(frozen=True, slots=True)
class KafkaOpener:
    """Opens the log of a deployment on a cluster."""

    settings: BusSettings
    deployment: str
    partitions: int

    def __call__(self) -> KafkaSource:
        """Return a source with a bus of its own."""
        return KafkaSource(KafkaBus(self.settings), self.deployment, self.partitions)


def _merge(notes: dict[str, Note], strange: list[bytes], document: bytes) -> None:
    try:
        note = parse_note(document)
    except NoteInvalid:
        strange.append(document)
        return
    known = notes.get(note.text)
    merged = note if known is None else known.with_signatures(note.signatures)
    if len(merged.to_bytes()) > MAX_NOTE_BYTES:  # whoever adds lines is not to make a note of it that nobody reads
        strange.append(document)
        return
    notes[note.text] = merged
