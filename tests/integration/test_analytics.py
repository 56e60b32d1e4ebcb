"""Analytics on a real broker: only committed events are seen, and whatever happens to it, each finding is told once.

The log is a played one (`usage_log`), so that its event times are the test's. Detectors are the real ones, or one that
finds every tick, where the question is whether anything is lost or doubled.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest
from tests.support.analytics_worker import Told, Worker, worker
from tests.support.usage_log import DEPLOYMENT, UsageLog, Use, key_id
from tests.unit.analytics.seen import Counting

from keyfold.analytics.backtest import Backtest
from keyfold.analytics.detectors import all_detectors
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.auditing.sources import KafkaSource
from keyfold.bus import BusSettings, KafkaBus, Outbound
from keyfold.embedded import Stack
from keyfold.events import topics
from keyfold.events.alerts import FindingDetected, open_alert
from keyfold.events.statements import Entry
from keyfold.events.streams import key_stream, partition_of
from keyfold.log import TrustKeeper

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

PARTITIONS = 4
MINUTE_MS, DAY_MS = 60_000, 86_400_000


class Scene:
    """A broker of its own, and a log on it."""

    def __init__(self, bootstrap_servers: str, directory: Path) -> None:
        self.bootstrap_servers, self.directory = bootstrap_servers, directory
        self.bus = KafkaBus(BusSettings(bootstrap_servers=bootstrap_servers))
        self.now_ms = time.time_ns() // 1_000_000
        self.log = UsageLog(self.bus, PARTITIONS, self.now_ms)

    async def begin(self) -> None:
        """Make the topics, and the log's first events."""
        admin = self.bus.admin()
        await admin.start()
        await admin.create_topics(PARTITIONS, replication_factor=1, min_insync_replicas=1)
        await admin.stop()
        await self.log.begin()

    def worker(self, instance: str = "0", told: Told | None = None, *, every_tick: bool = True) -> "Running":
        """A worker; it finds every tick, or has the real detectors."""
        return Running(self, instance, told, every_tick)

    async def append(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        """Write what nobody signed."""
        sender = self.bus.sender()
        await sender.start()
        await (await sender.send(Outbound(topic, partition, key, value)))
        await sender.stop()


class Running:
    """A worker that can be ended and begun within a test."""

    def __init__(self, scene: Scene, instance: str, told: Told | None, every_tick: bool) -> None:
        detectors = [Counting()] if every_tick else None
        self._made: Callable[[], AbstractAsyncContextManager[Worker]] = lambda: worker(
            scene.bootstrap_servers, scene.directory, partitions=PARTITIONS, instance=instance, told=told,
            detectors=detectors, lateness_s=2.0, session_s=6.0, batch_events=200,
        )  # fmt: skip
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Worker:
        return await self._stack.enter_async_context(self._made())

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A deployment's topics have fixed names, so each test has a broker of its own."""
    stack = Stack(tmp_path / "data", development=True)
    try:
        config = await asyncio.to_thread(stack.start_infrastructure, ["kafka"])
        made = Scene(config.bootstrap_servers, tmp_path)
        await made.begin()
        yield made
    finally:
        await asyncio.to_thread(stack.reset)


async def until(look: Callable[[], Awaitable[bool] | bool], timeout_s: float = 90) -> None:
    """Look until it is so."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = look()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.1)


async def until_read(running: Worker, time_ms: int, *, settle_s: float = 1.5) -> None:
    """Wait until all that happened before a time is looked at, and, in `settle_s`, told."""

    def is_read() -> bool:
        if running.task.done():
            running.task.result()
        return running.stages.detecting.low_ms() >= time_ms

    await until(is_read)
    await asyncio.sleep(settle_s)


async def until_told(told: Told, uses: Iterable[Use], other: Told | None = None) -> None:
    """Wait until as much is told as there is, at most for a while: what is missing then is missing."""
    wanted = ticks_of(uses).total()
    with contextlib.suppress(TimeoutError):
        await until(lambda: len(told.findings()) + (len(other.findings()) if other else 0) >= wanted, 30)


def ticks_of(uses: Iterable[Use]) -> Counter[tuple[str, float]]:
    """How many ticks of an entity have how many observations: what `Counting` is to find."""
    found: Counter[tuple[str, int]] = Counter()
    for use in uses:
        for entity in (f"principal/{use.principal}", f"key/{key_id(use.key)}"):
            found[entity, use.at_ms // 10_000] += 1 if use.code else 2
    return Counter((entity, float(number)) for (entity, _), number in found.items())


def found_ticks(told: Told) -> Counter[tuple[str, float]]:
    """The same, as it was told."""
    return Counter(
        (each.finding.entity, each.finding.signal.observed)
        for each in told.changes
        if each.change == "detected" and each.finding is not None
    )


def steady(start_ms: int, seconds: int, *, names: int = 6) -> list[Use]:
    """A use each second, by some principals of some keys."""
    return [Use(start_ms + n * 1000, f"svc-{n % names}", n % 5 + 1) for n in range(seconds)]


async def test_aborted_events_are_never_observed(scene: Scene) -> None:
    """An event of an aborted transaction, signed and complete, before, between and after committed ones."""
    start = scene.now_ms - 10 * MINUTE_MS
    ghosts = [Use(start + n * 1000, "ghost", 1) for n in range(20)]
    real = [Use(start + n * 1000, "real", 1) for n in range(20)]
    partition = partition_of(key_stream(key_id(1)), PARTITIONS)
    await abort(scene, partition, ghosts)
    await scene.log.write(real)
    await abort(scene, partition, ghosts)
    async with scene.worker() as running:
        await until_read(running, scene.now_ms)
    assert running.told.changes
    assert {entity for entity, _ in found_ticks(running.told)} == {"principal/real", f"key/{key_id(1)}"}
    assert found_ticks(running.told) == ticks_of(real)


async def abort(scene: Scene, partition: int, uses: list[Use]) -> None:
    """Write into a transaction, and abort it."""
    ((found, pairs),) = scene.log.entries(uses).items()
    assert found == partition
    records = scene.log.signed("policy", partition, [decision for decision, _ in pairs], remember=False)
    writer = scene.bus.writer("ghost")
    await writer.start()
    producer = writer._producer
    await producer.begin_transaction()
    sent = [
        await producer.send(each.topic, each.value, each.key, each.partition, headers=list(each.headers))
        for each in records
    ]
    await asyncio.gather(*sent)
    await producer.abort_transaction()
    await writer.stop()


async def test_a_restart_in_the_middle_of_a_window_loses_and_doubles_nothing(scene: Scene) -> None:
    """Tables come back from their changelogs; ticks that were open go on; nothing is told twice."""
    start = scene.now_ms - 100 * MINUTE_MS
    uses = steady(start, 2_000)
    await scene.log.write(uses)
    told = Told()
    for part in range(1, 4):
        async with scene.worker(told=told) as running:
            await until_read(running, start + part * 500_000, settle_s=0.0)
    assert 0 < len(told.findings()) < ticks_of(uses).total()
    async with scene.worker(told=told) as running:
        await until_read(running, scene.now_ms)
        await until_told(told, uses)
    assert found_ticks(told) == ticks_of(uses)
    assert max(Counter(told.findings()).values()) == 1
    assert await published(scene) == set(told.findings())


async def published_findings(scene: Scene) -> list[FindingDetected]:
    """The findings on the alerts topic, each id once, verified from the deployment's fingerprint."""
    keeper = TrustKeeper(scene.bus, DEPLOYMENT, PARTITIONS)
    trust = await keeper.catch_up()
    reader = scene.bus.reader(topics.ALERTS, 0, committed=True)
    await reader.start(None)
    try:
        alerts = [
            open_alert(trust, record.key, record.value, record.headers, record.timestamp_ms)
            async for batch in reader.read_to_end()
            for record in batch
        ]
    finally:
        await reader.stop()
        await keeper.stop()
    found: dict[str, FindingDetected] = {}
    for alert in alerts:
        if isinstance(alert, FindingDetected):
            # Told again after a crash, it says the same: only what was known of its incident may differ.
            assert found.setdefault(alert.id, alert).data.observed == alert.data.observed
    return list(found.values())


async def published(scene: Scene) -> set[str]:
    """Their ids."""
    return {alert.data.finding for alert in await published_findings(scene)}


async def test_two_workers_share_and_take_over(scene: Scene) -> None:
    """One comes, one goes, while both read: each tick is found once, with all that belongs to it. A dead letter that
    was read before keeps nobody waiting."""
    start = scene.now_ms - 100 * MINUTE_MS
    uses = steady(start, 4_000)
    await scene.log.write(uses)
    await scene.append(topics.DEAD_LETTERS, 0, None, b'{"code":"InvalidCommand","reason":"InvalidCommand: nobody"}')
    first, second = Told(), Told()
    async with scene.worker("a", first) as one:
        await until_read(one, start + 500_000, settle_s=0.0)
        async with scene.worker("b", second) as two:
            await until(lambda: bool(one.stages.detecting._shards) and bool(two.stages.detecting._shards))
            await until(lambda: bool(one.stages.observing._sources) and bool(two.stages.observing._sources))
            await until_read(two, start + 1_500_000, settle_s=0.0)
        await until_read(one, scene.now_ms)
        await until_told(first, uses, second)
    both = Told()
    both.changes = [*first.changes, *second.changes]
    assert found_ticks(both) == ticks_of(uses)
    assert max(Counter(both.findings()).values()) == 1


async def test_poison_of_every_kind_stops_nothing(scene: Scene) -> None:
    """On the log, among the dead letters, and on the internal topics: passed over, and told once."""
    start = scene.now_ms - 10 * MINUTE_MS
    stream = key_stream(key_id(1)).encode()
    partition = partition_of(stream.decode(), PARTITIONS)
    uses = steady(start, 60)
    await scene.log.write(uses[:30])
    for value in (None, b"", b"\xff", b"{}", b"[" * 5_000):
        await scene.append(topics.EVENTS, partition, stream, value)
        await scene.append(topics.EVENTS, partition, b"key", value)
        await scene.append(topics.DEAD_LETTERS, 0, b"", value)
        for topic in (topics.ANALYTICS_OBSERVATIONS, topics.ANALYTICS_FINDINGS, topics.ANALYTICS_ENTITIES):
            await scene.append(topic, 0, b"principal/alice", value)
    strange = [Entry(stream, b'{"type":"keyfold.key.dreamt.v1"}'), Entry(stream, b"\xff")]
    await scene.log.commit(partition, scene.log.signed("policy", partition, strange))
    await scene.log.write(uses[30:])
    await scene.append(topics.DEAD_LETTERS, 0, None, b'{"code":"Expired","principal":"late","reason":"Expired: over"}')
    after_ms = time.time_ns() // 1_000_000 + 11_000
    async with scene.worker() as running:
        await until_read(running, after_ms)
    found = found_ticks(running.told)
    assert found.pop(("principal/late", 1.0)) == 1
    assert found == ticks_of(uses)
    async with scene.worker(told=running.told) as again:
        await until_read(again, after_ms + 1_000)
    assert max(Counter(running.told.findings()).values()) == 1


async def test_a_lost_source_row_is_read_from_the_start_and_nothing_counts_twice(scene: Scene) -> None:
    """What was taken in is known by its place."""
    uses = steady(scene.now_ms - 10 * MINUTE_MS, 100)
    await scene.log.write(uses)
    async with scene.worker() as running:
        await until_read(running, scene.now_ms)
    for partition in range(PARTITIONS):
        await scene.append(topics.ANALYTICS_SOURCES, partition, b"source", None)
    async with scene.worker(told=running.told) as again:
        await until(lambda: again.stages.observing._sources[1].next_offset > 0)
        await until_read(again, scene.now_ms)
        await until_told(running.told, uses)
    assert found_ticks(running.told) == ticks_of(uses)


async def test_live_finds_what_a_backtest_finds(scene: Scene) -> None:
    """Days of ordinary use, then attacks: the same findings under the same ids, by event time."""
    uses = history(scene.now_ms - 6 * DAY_MS)
    await scene.log.write(uses)
    async with scene.worker(every_tick=False) as running:
        await until_read(running, scene.now_ms)
    source = KafkaSource(scene.bus, DEPLOYMENT, PARTITIONS)
    backtest = Backtest(source, all_detectors(), AnalyticsSettings(lateness_s=2.0))
    found = [change async for change in backtest.run(DEPLOYMENT)]
    wanted = {each.finding.id for each in found if each.change == "detected" and each.finding is not None}
    assert wanted
    assert set(running.told.findings()) == wanted
    assert await published(scene) == wanted


def history(start_ms: int) -> list[Use]:
    """Three services that use their keys every five minutes, and two bursts at the end."""
    uses = [
        Use(start_ms + minute * MINUTE_MS + n * 7_000, f"svc-{n}", n + 1, verb)
        for minute in range(0, 5 * 24 * 60, 5)
        for n, verb in enumerate(("Decrypt", "Encrypt", "Sign"))
    ]
    end_ms = start_ms + 5 * DAY_MS
    uses += [Use(end_ms + n * 15, "svc-0", 1) for n in range(3_000)]
    uses += [Use(end_ms + 60_000 + n * 200, "svc-1", 9, code="AccessDenied") for n in range(200)]
    return sorted(uses, key=lambda use: use.at_ms)
