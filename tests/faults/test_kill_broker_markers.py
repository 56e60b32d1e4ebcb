"""kill -9 of the broker in the middle of transactions: what was reported as committed stands, once, whatever it forgot.

A restarted single node may call a decided transaction complete without its commit markers. The embedded stack prevents
it; where it happens nevertheless (a whole cluster that lost power), taking over settles it. Both are tested alone.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.keeper import Keeper
from tests.support.people import PARTITIONS

from keyfold.bus import Bus, BusSettings, KafkaBus
from keyfold.embedded import Stack, kafka_fence
from keyfold.events import topics
from keyfold.events.errors import KeyfoldError

DATA = range(1, PARTITIONS)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """A broker of its own, with Keyfold's topics."""
    made = Stack(tmp_path / "data", development=True)
    try:
        await asyncio.to_thread(made.start_infrastructure, ["kafka"])
        admin = bus_of(made).admin()
        await admin.start()
        await admin.create_topics(PARTITIONS, replication_factor=1, min_insync_replicas=1)
        await admin.stop()
        yield made
    finally:
        await asyncio.to_thread(made.reset)


def bus_of(stack: Stack) -> Bus:
    return KafkaBus(BusSettings(bootstrap_servers=stack.config.bootstrap_servers))


async def work_until_it_breaks(keeper: Keeper) -> None:
    writer = await keeper.take_over()
    try:
        while True:
            await keeper.write(writer, leaves=2)
    except KeyfoldError:
        return
    finally:
        await writer.stop()


async def kill_under_load(stack: Stack, keepers: list[Keeper]) -> None:
    """Kill the broker while all keepers write, and start it again."""
    working = [asyncio.create_task(work_until_it_breaks(keeper)) for keeper in keepers]
    await asyncio.sleep(random.uniform(1.0, 1.5))  # noqa: S311 - any moment will do
    await asyncio.to_thread(stack.kill, "kafka")
    await asyncio.to_thread(stack.start, "kafka")
    await asyncio.gather(*working)


async def fence(keeper: Keeper) -> None:
    """Start a writer, as before every restore, and nothing else."""
    writer = keeper.writer()
    await writer.start()
    await writer.stop()


async def open_places(bus: Bus) -> set[tuple[str, int]]:
    """Where committed readers do not see the end."""
    admin = bus.admin()
    await admin.start()
    found = set()
    for topic in (topics.EVENTS, topics.HSM_STATE):
        ends, stable = await admin.end_offsets(topic, committed=False), await admin.end_offsets(topic)
        found |= {(topic, partition) for partition, end in ends.items() if stable[partition] < end}
    await admin.stop()
    return found


@pytest.mark.stack
@pytest.mark.timeout(300)
async def test_a_killed_broker_that_starts_again_completes_what_it_had_decided(stack: Stack) -> None:
    """After fencing, no transaction is left open: the old broker is fenced before the new one begins."""
    keepers = [Keeper(bus_of(stack), partition) for partition in DATA]
    for _ in range(3):
        await kill_under_load(stack, keepers)
        for keeper in keepers:
            await fence(keeper)
        assert not await open_places(bus_of(stack))


@pytest.mark.stack
@pytest.mark.timeout(400)
async def test_transactions_that_a_broker_left_open_are_settled(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that protection the broker forgets markers; taking over ends those transactions as they were decided."""
    monkeypatch.setattr(kafka_fence, "was_killed", lambda _data: False)
    keepers = [Keeper(bus_of(stack), partition) for partition in DATA]
    left_open = 0
    for _ in range(8):
        await kill_under_load(stack, keepers)
        for keeper in keepers:
            await fence(keeper)
        left_open += len(await open_places(bus_of(stack)))
        for keeper in keepers:
            told = keeper.told
            await (await keeper.take_over()).stop()
            assert keeper.count >= told, "what was reported as committed is gone"
            values = [record.value for record in await keeper.committed()]
            assert values == [b"%d.%d" % (n, leaf) for n in range(keeper.count) for leaf in range(2)]
        assert not await open_places(bus_of(stack))
        if left_open > 2:
            return
    assert left_open, "the broker forgot nothing in 8 rounds: this test shows nothing any more"
