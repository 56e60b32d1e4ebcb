"""An archive ends where partition 0 has all that the other partitions knew of it."""

import asyncio

import pytest
from tests.support.audited_log import honest, outbound
from tests.support.notary_log import NotaryLog
from tests.support.people import DEPLOYMENT, PARTITIONS

from keyfold.auditing.archive_heads import heads_to_archive
from keyfold.auditing.checkpoints import NoCheckpoint, checkpoint_topics
from keyfold.auditing.sources import KafkaSource
from keyfold.bus import MemoryBus, MemoryCluster

LOG = honest(14, 90)
SIZES = [len(LOG.kept[partition]) for partition in range(PARTITIONS)]


async def written() -> tuple[MemoryBus, NotaryLog]:
    """A whole log, whose partition 0 the notary has seen the first half of."""
    bus = MemoryBus(MemoryCluster(PARTITIONS, clock_ms=lambda: 1_790_000_000_000))
    await LOG.written_to(bus)
    notary = NotaryLog(bus, keys=LOG.keys)
    await notary.publish([0], most=SIZES[0] // 2)
    return bus, notary


async def sizes(bus: MemoryBus, timeout_s: float = 5) -> list[int]:
    async with checkpoint_topics(bus) as published:
        found = await heads_to_archive(published, KafkaSource(bus, DEPLOYMENT, PARTITIONS), timeout_s=timeout_s)
    return [each.checkpoint.size for each in found]


async def test_partition_0_is_waited_for() -> None:
    """The others' checkpoints are there, and may know what partition 0's does not cover yet."""
    bus, notary = await written()
    await notary.publish(range(1, PARTITIONS))
    with pytest.raises(NoCheckpoint):
        await sizes(bus, 0.3)
    waiting = asyncio.create_task(sizes(bus))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await notary.publish([0])
    assert await waiting == SIZES


async def test_nobody_waits_for_what_is_there() -> None:
    """Markers behind the last record are no records; partition 0 alone knows nothing of others."""
    bus, notary = await written()
    assert await sizes(bus, 0) == [SIZES[0] // 2]
    await notary.publish()
    assert await sizes(bus, 0) == SIZES
    writer = bus.writer("another")
    await writer.start()
    await writer.commit([outbound(LOG.kept[1][0])])
    assert await sizes(bus, 0) == SIZES
