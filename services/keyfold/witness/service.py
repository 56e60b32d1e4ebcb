"""The witness at work: follows the checkpoints topic, cosigns what `judging` allows, and publishes the cosignatures.

For each checkpoint: 1. the log's signatures, 2. what it is to the state, 3. cosign, 4. keep the state durably, 5. send.
Of several checkpoints of one log that are read at once all are judged, and only the newest is cosigned.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

from keyfold.auditing.checkpoints import Published, parse_published
from keyfold.auditing.runs import TilesInvalid
from keyfold.auditing.trees import NotPublished, stored_tree
from keyfold.bus import Bus, Inbound, Outbound, PositionLost, Reader
from keyfold.events import topics
from keyfold.events.checkpoints import Checkpoint, open_log_checkpoint, parse_checkpoint, partition_of_origin
from keyfold.events.errors import Unavailable
from keyfold.events.notes import Note, NoteInvalid
from keyfold.logging import get_logger
from keyfold.witness import metrics
from keyfold.witness.home import Home
from keyfold.witness.judging import Forked, Step, judge
from keyfold.witness.notary_keys import NotaryKeys

_POLL_S: Final = 1.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_PATIENCE_S: Final = 10.0
_PAUSE_S: Final = 0.2
_log = get_logger()


class Witness:
    """One witness. `run` or `once`, inside `home.locked()`; `cosigned` counts what was published.

    `stepped_s` is when its loop last came round (monotonic), None while it does not follow, for the code in `trouble`.
    """

    def __init__(self, bus: Bus, home: Home, clock_s: Callable[[], int] = lambda: int(time.time())) -> None:
        self._bus, self._home, self._clock_s = bus, home, clock_s
        self._keys = NotaryKeys(bus, home)
        self._seen: dict[int, Checkpoint] = {}
        self._notes: dict[int, Note] = {}
        self._contradicted: Forked | None = None
        self.patience_s = _PATIENCE_S
        self.cosigned = 0
        self.stepped_s: float | None = None
        self.trouble = ""

    @property
    def is_contradicted(self) -> bool:
        """Whether something contradicted what was cosigned, since this witness runs."""
        return self._contradicted is not None

    @property
    def seen(self) -> Mapping[int, Checkpoint]:
        """The last checkpoint of each partition that was cosigned."""
        return self._seen

    async def once(self) -> None:
        """Look at what is there now. Raises `Forked` at the end where something contradicted the state."""
        async with AsyncExitStack() as stack:
            reader = await self._begin(stack)
            async for batch in reader.read_to_end():
                await self._take(batch)
            self._home.keep_position(reader.position())
        if self._contradicted is not None:
            raise self._contradicted

    async def run(self) -> None:
        """Follow the topic until cancelled. What the cluster does not give is tried again, ever more slowly."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with AsyncExitStack() as stack:
                    reader = await self._begin(stack)
                    while True:
                        self.stepped_s = time.monotonic()
                        batch = await reader.poll(_POLL_S)
                        await self._take(batch)
                        if batch:
                            self._home.keep_position(reader.position())
                            pause_s = _FIRST_PAUSE_S
            except Unavailable as error:
                self.stepped_s, self.trouble = None, error.code
                _log.warning("witness-waits", code=error.code, reason=str(error), pause_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _begin(self, stack: AsyncExitStack) -> Reader:
        """Take up the state, tell it again, and stand where the last run ended."""
        stack.push_async_callback(self._keys.stop)
        await self._keys.refresh()
        self._seen.clear()
        for partition in range(self._home.pins.partitions):
            state = self._home.state(partition)
            if state is not None:
                self._seen[partition], self._notes[partition] = state.checkpoint, state.note
        # If we crashed between keeping a state and sending it, it is sent now; what was sent before does no harm.
        await self._send(self._notes)
        reader = self._bus.reader(topics.CHECKPOINTS, 0, committed=True)
        stack.push_async_callback(reader.stop)
        try:
            await reader.start(self._home.position())
        except PositionLost as error:
            _log.error("checkpoints-topic-was-cut", reason=str(error))
            await reader.start(None)
        return reader

    async def _take(self, batch: list[Inbound]) -> None:
        due: dict[int, Note] = {}
        for record in batch:
            published = await self._read(record)
            if published is None:
                continue
            partition = partition_of_origin(self._home.pins.deployment, published.origin)
            try:
                if await self._judged(partition, published) is Step.COSIGN:
                    self._seen[partition] = published.checkpoint
                    due[partition] = published.note
            except Forked as error:
                self._contradiction(partition, published, due, error)
        for partition, note in due.items():
            self._cosign(partition, note)
        await self._send({partition: self._notes[partition] for partition in due})

    async def _read(self, record: Inbound) -> Published | None:
        """Return a checkpoint that the log of this deployment has signed; what is none is passed over and told."""
        try:
            published = parse_published(record)
            await self._verify(published)
        except NoteInvalid as error:
            _log.warning("not-a-checkpoint", offset=record.offset, reason=str(error))
            return None
        return published

    async def _verify(self, published: Published) -> None:
        pins, document = self._home.pins, published.note.to_bytes()
        if partition_of_origin(pins.deployment, published.origin) >= pins.partitions:
            raise NoteInvalid("the checkpoint is of a partition that there is not")
        try:
            open_log_checkpoint(document, self._keys.of(published.origin))
        except NoteInvalid:
            # The notary may have a new key: root's word for it is in the log.
            await self._keys.refresh()
            open_log_checkpoint(document, self._keys.of(published.origin))

    async def _judged(self, partition: int, published: Published) -> Step:
        last, found = self._seen.get(partition), published.checkpoint
        if last is None or found.size == last.size:
            return judge(last, found, None)
        if published.old == last.size and found.size > last.size:
            try:
                return judge(last, found, published.path)
            except Forked:
                # The proof beside the checkpoint is not signed. Only where no proof can be made is it a fork.
                _log.warning("consistency-proof-wrong", origin=found.origin, size=found.size)
        return judge(last, found, await self._proof(partition, *sorted((last.size, found.size))))

    async def _proof(self, partition: int, old: int, new: int) -> tuple[bytes, ...] | None:
        """Return the proof that the published tree gives; None where it gives none, also a moment later.

        A checkpoint may be seen before its tiles are, because Kafka ends a transaction in one topic after the other.
        """
        deadline = asyncio.get_running_loop().time() + self.patience_s
        async with stored_tree(self._bus, partition) as tree:
            while True:
                try:
                    return await tree.consistency(old, new)
                except TilesInvalid:
                    return None
                except NotPublished:
                    if asyncio.get_running_loop().time() >= deadline:
                        return None
                await asyncio.sleep(_PAUSE_S)

    def _contradiction(self, partition: int, published: Published, due: dict[int, Note], error: Forked) -> None:
        """Keep both notes. The state stays what it is: nothing smaller or other is ever cosigned after it."""
        kept = due.get(partition) or self._notes[partition]
        where = self._home.keep_evidence(partition, kept, published.note)
        self._contradicted = self._contradicted or error
        _log.error("log-forked", origin=published.origin, reason=str(error), evidence=str(where))

    def _cosign(self, partition: int, note: Note) -> None:
        checkpoint = parse_checkpoint(note)
        cosigned = note.with_signatures(self._home.cosigner.cosign(checkpoint, self._clock_s()))
        # If we crash before this returns, nothing was promised. From here on only what extends it is cosigned; if we
        # crash before it is sent, the next start sends it.
        self._home.keep(partition, cosigned)
        self._notes[partition] = cosigned

    async def _send(self, notes: dict[int, Note]) -> None:
        if not notes:
            return
        sender = self._bus.sender()
        await sender.start()
        try:
            for note in notes.values():
                origin = note.text.partition("\n")[0].encode()
                await (await sender.send(Outbound(topics.COSIGNATURES, 0, origin, note.to_bytes())))
                self.cosigned += 1
                metrics.COSIGNED.inc()
        finally:
            await sender.stop()
