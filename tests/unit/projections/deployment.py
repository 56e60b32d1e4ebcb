"""A whole projector on a bus in memory, for the tests that watch it work."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from tests.unit.projections.histories import DEPLOYMENT, PARTITIONS, START_MS, Log, Signed

from keyfold.bus import Inbound, MemoryBus, MemoryCluster, Outbound
from keyfold.events import facts, topics
from keyfold.projections.ports import Queries, Schemas
from keyfold.projector.process import Parts, Projector
from keyfold.projector.settings import ProjectorSettings

QUICK = ProjectorSettings(
    idle_poll_s=0.02,
    commits_per_s=4000,
    first_retry_s=0.01,
    longest_retry_s=0.05,
    trust_interval_s=0.02,
    status_interval_s=0.02,
    publish_deadline_s=1.0,
)


@dataclass
class Deployment:
    """Signs and writes events, and runs projectors over them."""

    schemas: Callable[[], Schemas]
    queries: Queries
    clock_ms: int = START_MS
    log: Log = field(default_factory=Log)

    def __post_init__(self) -> None:
        self.cluster = MemoryCluster(PARTITIONS, clock_ms=lambda: self.clock_ms)
        self.bus = MemoryBus(self.cluster)

    async def write(self, *groups: Iterable[Signed]) -> None:
        """Write signed records, one transaction per group."""
        writer = self.bus.writer("test")
        await writer.start()
        for group in groups:
            await writer.commit([Outbound(topics.EVENTS, p, key, value, headers) for p, key, value, headers in group])
        await writer.stop()

    async def raw(
        self, partition: int, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        """Write a record as a stranger could."""
        writer = self.bus.writer("stranger")
        await writer.start()
        await writer.commit([Outbound(topics.EVENTS, partition, key, value, headers)])
        await writer.stop()

    async def happen(self, *events: facts.Event) -> None:
        """Sign and write events, one transaction each."""
        await self.write(*(self.log.sign([event]) for event in events))

    @contextlib.asynccontextmanager
    async def projector(
        self, name: str = "one", settings: ProjectorSettings = QUICK, patience_s: float = 10.0
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Run a projector; it is stopped at the end."""
        ready = asyncio.Event()
        parts = Parts(self.bus, self.schemas(), DEPLOYMENT, PARTITIONS, name, settings)
        task = asyncio.create_task(Projector(parts, ready.set).run())
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def everything(self, topic: str, partition: int) -> list[Inbound]:
        """All committed records of a place."""
        found, _ = self.cluster.log(topic, partition).read(0, committed=True, max_records=1_000_000)
        return found

    async def directory(self) -> dict[str, Inbound]:
        """The latest directory record of each name."""
        found: dict[str, Inbound] = {}
        for partition in range(PARTITIONS):
            for record in await self.everything(topics.DIRECTORY, partition):
                found[(record.key or b"").decode()] = record
        return found

    async def caught_up(self, timeout_s: float = 10.0) -> None:
        """Wait until all that is committed is folded."""
        ends = [self.cluster.log(topics.EVENTS, p).end(committed=True) for p in range(PARTITIONS)]
        await until(lambda: self._reached(ends), timeout_s)

    async def published(self) -> bool:
        """Whether the directory has everything that is folded."""
        return all(row.published == row.next for row in await self.queries.progress())

    async def _reached(self, ends: list[int]) -> bool:
        progress = {row.partition: row.next for row in await self.queries.progress()}
        return all(progress.get(partition, 0) >= end for partition, end in enumerate(ends))


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for a condition (or a coroutine function that says it); fails when it does not come."""
    async with asyncio.timeout(timeout_s):
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.01)
