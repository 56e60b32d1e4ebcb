"""The projector as a process, on a real Kafka and Postgres: kill -9 of each, and nothing lost or doubled."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import pytest
from tests.unit.projections import folding
from tests.unit.projections.deployment import until
from tests.unit.projections.histories import DEPLOYMENT, PARTITIONS, ROOT, Log, Signed, seeded, simulated

from keyfold.bus import BusSettings, BusUnavailable, InDoubt, KafkaBus, Outbound
from keyfold.embedded import Stack
from keyfold.events import facts, topics
from keyfold.events.directory import verify_verbatim
from keyfold.events.times import to_text
from keyfold.events.trust import Trust
from keyfold.projections.ports import Colour
from keyfold.projections.store import PostgresQueries, PostgresSchemas

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("projector") / "data", development=True)
    try:
        made.start_infrastructure()
        made.set_deployment(DEPLOYMENT)
        yield made
    finally:
        made.reset()


@dataclass
class Running:
    """A stack whose topics exist, and what its log is to hold."""

    stack: Stack
    bus: KafkaBus
    queries: PostgresQueries
    events: list[facts.Event]
    groups: list[list[Signed]]

    async def write(self, groups: Sequence[list[Signed]]) -> None:
        """Write transactions; one that is in doubt (a killed broker) is looked up before it is written again."""
        for group in groups:
            while not await self._written(group):
                writer = self.bus.writer("test")
                try:
                    await writer.start()
                    if not await self._there(group[0]):
                        await writer.commit([Outbound(topics.EVENTS, p, k, v, h) for p, k, v, h in group])
                except (InDoubt, BusUnavailable):
                    await asyncio.sleep(0.2)
                finally:
                    await writer.stop()

    async def _written(self, group: list[Signed]) -> bool:
        try:
            return await self._there(group[0])
        except BusUnavailable:
            await asyncio.sleep(0.2)
            return False

    async def _there(self, record: Signed) -> bool:
        reader = self.bus.reader(topics.EVENTS, record[0], committed=True)
        try:
            await reader.start(None)
            async for batch in reader.read_to_end():
                if any(found.value == record[2] for found in batch):
                    return True
        finally:
            await reader.stop()
        return False

    async def caught_up(self) -> None:
        async def complete() -> bool:
            progress = await self.queries.progress()
            return sum(row.position for row in progress) >= len(self.events)

        await until(complete, timeout_s=60)

    async def check(self, colour: Colour = "blue") -> None:
        """State, audit and directory are exactly what the log says."""
        rows = (await self.queries.audit(limit=10_000)).rows
        assert sorted(row.value for row in rows) == sorted(event.to_value() for event in self.events)
        schemas = PostgresSchemas(self.stack.config.postgres_dsn)
        store = schemas.partition_store(colour)
        truth = folding.evolved(self.events)
        assert await store.load(truth) == truth
        await store.close()
        await schemas.close()
        assert await self.queries.reports() == ()
        assert [row.halted for row in await self.queries.progress()] == [None] * PARTITIONS
        await until(self._directory_complete, timeout_s=30)

    async def _directory_complete(self) -> bool:
        found: dict[str, facts.Event] = {}
        trust = Trust.pin(DEPLOYMENT, ROOT.public_key)
        for event in self.events:
            trust = trust.with_event(event)
        for partition in range(PARTITIONS):
            reader = self.bus.reader(topics.DIRECTORY, partition, committed=True)
            await reader.start(None)
            async for batch in reader.read_to_end():
                for record in batch:
                    event = verify_verbatim(trust, PARTITIONS, record.value or b"", record.headers)
                    found[(record.key or b"").decode()] = event
            await reader.stop()
        aliases = {alias.alias: alias.key_id for alias in await self.queries.aliases()}
        kept = {
            name: event.data.key_id
            for name, event in found.items()
            if isinstance(event, facts.AliasCreated | facts.AliasUpdated)
        }
        return kept == aliases and "genesis" in found


@pytest.fixture
async def running(stack: Stack) -> AsyncIterator[Running]:
    bus = KafkaBus(BusSettings(bootstrap_servers=stack.config.bootstrap_servers))
    admin = bus.admin()
    await admin.start()
    await admin.create_topics(PARTITIONS, replication_factor=1, min_insync_replicas=1)
    await admin.stop()
    now_ms = time.time_ns() // 1_000_000 - 3_600_000
    events = simulated(seeded(31), 150, longest_pause_ms=1000, start_ms=now_ms)
    groups = Log().transactions(events, seeded(6))
    queries = PostgresQueries(stack.config.postgres_reader_dsn)
    yield Running(stack, bus, queries, events, groups)
    await queries.close()


async def test_kill_9_of_each_part_under_load_loses_and_doubles_nothing(running: Running) -> None:
    """While events are written: kill the projector several times, Postgres once, the broker once; then compare all."""
    stack, groups = running.stack, running.groups
    await running.write(groups[:2])
    await asyncio.to_thread(stack.start_services, ["projector"])
    size = len(groups) // 6 + 1
    victims = ["projector", "postgres", "projector", "kafka", "projector", "projector"]
    for number, victim in enumerate(victims):
        writing = asyncio.create_task(running.write(groups[2 + number * size : 2 + (number + 1) * size]))
        await asyncio.sleep(0.1 * number)
        await asyncio.to_thread(stack.kill, victim)
        await asyncio.to_thread(stack.start, victim)
        await writing
    await running.caught_up()
    await running.check()


async def test_a_rebuild_of_a_running_projector_and_a_clean_end(running: Running) -> None:
    """`request_rebuild` from another process; events arrive meanwhile; SIGTERM ends the projector at once."""
    stack, groups = running.stack, running.groups
    half = len(groups) // 2
    await running.write(groups[:half])
    await asyncio.to_thread(stack.start_services, ["projector"])
    schemas = PostgresSchemas(stack.config.postgres_dsn)
    await schemas.request_rebuild()
    await schemas.close()
    await running.write(groups[half:])

    async def swapped() -> bool:
        return (await running.queries.status()).generation == 1

    await until(swapped, timeout_s=30)
    await running.caught_up()
    await running.check("green")
    await _lag_becomes_zero(running)
    begun = time.monotonic()
    await asyncio.to_thread(stack.stop_part, "projector")
    assert time.monotonic() - begun < 5


async def _lag_becomes_zero(running: Running) -> None:
    admin = running.bus.admin()
    await admin.start()

    async def none_left() -> bool:
        positions = {row.partition: row.next for row in await running.queries.progress()}
        return set((await admin.lag(topics.EVENTS, positions)).values()) == {0}

    await until(none_left, timeout_s=10)
    await admin.stop()


async def test_a_new_sealing_key_is_in_the_directory_at_once(running: Running) -> None:
    """Idle, from the event's commit to its directory record on a real broker: the median is bounded."""
    log = Log()
    first = list(running.events[:3])
    await running.write([log.sign(first)])
    await asyncio.to_thread(running.stack.start_services, ["projector"])
    reader = running.bus.reader(topics.DIRECTORY, 0, committed=True)
    await reader.start(None)
    writer = running.bus.writer("latency")
    await writer.start()
    took = []
    for number in range(12):
        identifier = f"0193f3a0-7c00-7000-8000-0000000000{number:02x}"
        pair = {"sealing_key": identifier, "public_key": "ab" * 1216, "blob_digest": "0" * 64}
        event = facts.SealingKeyPublished.new(identifier, "registry", to_text(time.time_ns() // 1_000_000), **pair)
        await writer.commit([Outbound(topics.EVENTS, p, k, v, h) for p, k, v, h in log.sign([event])])
        begun = time.perf_counter()
        while not any(record.value == event.to_value() for record in await reader.poll(5.0)):
            assert time.perf_counter() - begun < 5
        took.append(time.perf_counter() - begun)
        await asyncio.sleep(0.3)
    await reader.stop()
    await writer.stop()
    assert sorted(took)[len(took) // 2] < 0.1
