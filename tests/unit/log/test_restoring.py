"""Restores take turns on one event loop, and let others run meanwhile."""

import asyncio

import pytest

from keyfold.bus import MemoryBus, MemoryCluster, Outbound, PositionLost, Reader
from keyfold.events import topics
from keyfold.log.restoring import reading_all


async def bus_with(count: int) -> MemoryBus:
    """A log with so many records in partitions 1 and 2."""
    bus = MemoryBus(MemoryCluster())
    writer = bus.writer("w")
    await writer.start()
    for partition in (1, 2):
        await writer.commit([Outbound(topics.KEYSTORE, partition, b"k", b"%d" % number) for number in range(count)])
    await writer.stop()
    return bus


def reader(bus: MemoryBus, partition: int) -> Reader:
    return bus.reader(topics.KEYSTORE, partition, committed=True)


async def test_they_take_turns() -> None:
    """One is read to its end, with what is computed on it, before another begins."""
    bus, order = await bus_with(2000), list[int]()

    async def restore(partition: int) -> None:
        async with reading_all(reader(bus, partition)) as batches:
            async for batch in batches:
                order.append(partition)
                assert len(batch) < 2000
            await asyncio.sleep(0.01)
            order.append(partition)

    await asyncio.gather(restore(1), restore(2))
    assert len(order) > 4
    assert order == sorted(order)


async def test_others_run_between_two_batches() -> None:
    """Whatever else the event loop has to do waits for one batch, not for the whole log."""
    bus, ticks = await bus_with(2000), list[int]()

    async def tick() -> None:
        while True:
            ticks.append(1)
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    seen = []
    async with reading_all(reader(bus, 1)) as batches:
        async for batch in batches:
            seen.append(len(ticks))
            assert batch
    ticking.cancel()
    assert len(seen) > 1
    assert len(set(seen)) == len(seen)


async def test_a_turn_ends_however_it_ends() -> None:
    """An error or a cancellation lets the next one begin."""
    bus = await bus_with(3)
    with pytest.raises(PositionLost):
        async with reading_all(reader(bus, 1)):
            raise PositionLost("t", 1, 0)

    async def wait() -> None:
        async with reading_all(reader(bus, 1)):
            await asyncio.sleep(60)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    async with asyncio.timeout(1), reading_all(reader(bus, 2)) as batches:
        assert [len(batch) async for batch in batches] == [3]
