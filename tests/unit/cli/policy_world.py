"""A deployment's whole log, signed on a bus in memory and folded into projections in memory, for the policy tools."""

from collections.abc import Iterator, Mapping
from itertools import groupby

from tests.support.archive import Archive
from tests.support.people import DEPLOYMENT, PARTITIONS, signer

from keyfold.bus import MemoryBus, MemoryCluster, Outbound
from keyfold.cli.policy_sources import AuditSource, LogSource
from keyfold.deciding.replaying import Leaf
from keyfold.events import topics
from keyfold.events.entities import Entity
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.times import to_milliseconds
from keyfold.events.trust import Trust
from keyfold.log import Author, RegistryFollower
from keyfold.projections.fold import Fold
from keyfold.projections.fold import Leaf as Believed
from keyfold.projections.memory import MemoryQueries, MemorySchemas
from keyfold.projections.positions import Offsets
from keyfold.projections.replay import Replay


class World:
    """An archive, and what readers find of it. Use `world`."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.now_ms = 0
        self.cluster = MemoryCluster(PARTITIONS, clock_ms=lambda: self.now_ms)
        self.bus = MemoryBus(self.cluster)
        self.schemas = MemorySchemas()
        self.queries = MemoryQueries(self.schemas)
        self._heads: dict[tuple[str, int], ChainHead] = {}

    async def write(self) -> None:
        """Sign and write every statement, one transaction each."""
        for partition, log in self.archive.log.items():
            for (role, _), leaves in groupby(log, key=lambda leaf: (leaf.role, leaf.statement_n)):
                await self.commit(role, partition, list(leaves))

    async def commit(self, role: str, partition: int, leaves: list[Leaf]) -> None:
        """Write one statement."""
        self.now_ms = to_milliseconds(leaves[0].event.time)
        await self.raw(role, partition, [Entry(leaf.event.subject.encode(), leaf.value) for leaf in leaves])

    async def raw(self, role: str, partition: int, entries: list[Entry]) -> None:
        """Write any values as a role."""
        author = Author(DEPLOYMENT, role, signer(role).fingerprint, signer(role).sign)
        head = self._heads.get((role, partition), ChainHead())
        self._heads[role, partition], records = author.records(topics.EVENTS, partition, head, entries)
        await self.send(records)

    async def send(self, records: list[Outbound]) -> None:
        """Commit records as they are."""
        writer = self.bus.writer("test")
        await writer.start()
        await writer.commit(records)
        await writer.stop()

    async def project(self, most: Mapping[int, int] | None = None) -> None:
        """Fold what is written, as the projector does; of some partitions so many records at most."""
        self.schemas = MemorySchemas()
        self.queries = MemoryQueries(self.schemas)
        await self.schemas.prepare(PARTITIONS)
        trust = (await self.follower()).trust
        for partition in range(PARTITIONS):
            await self._fold(partition, trust, (most or {}).get(partition, 10**6))

    async def _fold(self, partition: int, trust: Trust, most: int) -> None:
        offsets = Offsets(partition)
        believing, fold = Replay(PARTITIONS, offsets), Fold(offsets, Everything())
        found, _ = self.cluster.log(topics.EVENTS, partition).read(0, committed=True, max_records=most)
        for record in found:
            item = believing.read(trust, record)
            if isinstance(item, Believed):
                fold.add(item)
            elif hasattr(item, "report"):
                fold.strange(item.accepted, item.report)
        store = self.schemas.partition_store("blue")
        await store.apply(fold.batch(believing.chains.places))

    async def follower(self) -> RegistryFollower:
        follower = RegistryFollower(self.bus, DEPLOYMENT)
        await follower.start()
        return follower

    async def log(self) -> LogSource:
        """The log, verified."""
        return LogSource(self.bus, await self.follower())

    def audit(self) -> AuditSource:
        """The audit trail."""
        return AuditSource(self.queries, PARTITIONS)


class Everything(Mapping[str, Entity | None]):
    """Loaded entities of which everything is known: nothing exists but what the log says."""

    def __getitem__(self, name: str) -> None:
        return None

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


async def world(archive: Archive) -> World:
    """Write an archive and project all of it."""
    made = World(archive)
    await made.write()
    await made.project()
    return made
