"""Taking a partition over: everything that its owner needs, read from the log and verified, in the one right order.

 1. The writer starts: the predecessor is fenced, its transaction settled, also where the broker left that undone.
    Whatever it committed can be read now.
 2. State and keystore are read to their ends. The state's signed head must cover its records, and the keystore's chain
    must end where that head says.
 3. The reader of tickets stands at the stored position.

Recovery is this same path: a crash and a first start differ only in what is found.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from keyfold.bus import Bus, Inbound, Reader, Writer
from keyfold.events import facts, topics
from keyfold.events.chains import ChainReader
from keyfold.events.errors import RecordError
from keyfold.hsm.errors import KeystoreBroken
from keyfold.hsm.heads import Heads, chain_ends
from keyfold.hsm.keystore import Draft, Index
from keyfold.hsm.keystore_reader import KeystoreReader
from keyfold.log import Author, RegistryFollower, Settling, StateCorrupt, StateTopic, transactional_id
from keyfold.log.restoring import reading_all

ROLE = "hsm"


@dataclass(slots=True)
class Live:
    """A partition that is owned: its writer, its tickets, and what is committed so far."""

    writer: Writer
    tickets: Reader
    state: StateTopic
    heads: Heads
    index: Index

    async def stop(self) -> None:
        """Release writer and reader."""
        await self.writer.stop()
        await self.tickets.stop()


class Restorer:
    """Restores the partitions of one process."""

    def __init__(self, bus: Bus, follower: RegistryFollower, author: Author, partitions: int) -> None:
        self._bus, self._follower, self._author, self._partitions = bus, follower, author, partitions

    async def take_over(self, partition: int) -> Live:
        """Fence, restore, and stand at the next ticket. Raises `StateCorrupt`, `KeystoreBroken`, `PositionLost`."""
        writer = self._bus.writer(transactional_id("hsm", partition))
        tickets = self._bus.reader(topics.AUTHORIZED, partition, committed=True)
        try:
            await writer.start()
            await self._follower.catch_up()
            await self._settle(writer, partition)
            state = StateTopic(self._author, topics.HSM_STATE, partition)
            heads = await self._heads(state, partition)
            if heads == Heads():
                await self._require_unwritten(partition)
            index = await self._index(partition, heads)
            await tickets.start(heads.position)
        except BaseException:
            await writer.stop()
            await tickets.stop()
            raise
        return Live(writer, tickets, state, heads, index)

    async def _settle(self, writer: Writer, partition: int) -> None:
        """End what the predecessor left open: the fencing alone does not always."""
        chains, trust = (topics.EVENTS, topics.KEYSTORE), self._follower.trust
        settling = Settling(self._bus, trust, ROLE, partition, topics.HSM_STATE, chains, chain_ends)
        await settling.settle(writer)

    async def _heads(self, state: StateTopic, partition: int) -> Heads:
        reader = self._bus.reader(topics.HSM_STATE, partition, committed=True)
        try:
            restored = await state.restore(reader, self._follower.trust)
            return Heads.parse(restored.head)
        except (KeyError, TypeError, ValueError):
            raise StateCorrupt(f"the head of {topics.HSM_STATE}-{partition} is of no known form") from None
        finally:
            await reader.stop()

    async def _require_unwritten(self, partition: int) -> None:
        """A partition without a head is one that the worker never wrote; else its state was taken away.

        Starting afresh would execute old tickets again, and repeat statements that every reader has passed.
        """
        chains = ChainReader(topics.EVENTS, partition, self._partitions)
        reader = self._bus.reader(topics.EVENTS, partition, committed=True)
        try:
            await reader.start(None)
            async for batch in reader.read_to_end():
                if any(self._is_own(chains, record) for record in batch):
                    raise StateCorrupt(f"{topics.HSM_STATE}-{partition} is empty, but the worker has written events")
        finally:
            await reader.stop()

    def _is_own(self, chains: ChainReader, record: Inbound) -> bool:
        place = (record.key, record.value, record.headers, record.timestamp_ms)
        try:
            return chains.accept(self._follower.trust, *place).role == ROLE
        except RecordError:
            return False

    async def _index(self, partition: int, heads: Heads) -> Index:
        index = Index()
        keystore = KeystoreReader(partition, self._partitions, lambda: self._follower.trust)
        reader = self._bus.reader(topics.KEYSTORE, partition, committed=True)
        try:
            async with reading_all(reader) as batches:
                async for batch in batches:
                    _fold(index, keystore.read(batch))
                _fold(index, keystore.finish())
        finally:
            await reader.stop()
        end = keystore.end(ROLE)
        if end.head != heads.keystore or end.leaf + 1 != end.leaves:
            raise KeystoreBroken(
                f"keystore partition {partition} ends at statement {end.head.n}, the worker's state says "
                f"{heads.keystore.n}; restore both from a replica"
            )
        return index


def _fold(index: Index, records: Iterable[facts.Event]) -> None:
    draft = Draft(index)
    for record in records:
        draft.fold(record)
    draft.promote()
