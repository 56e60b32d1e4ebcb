"""Senders of the bus, in memory and with Kafka alike: order, offsets, and which topics they know."""

import pytest
from tests.contract.bus.world import World, eventually

from keyfold.bus import Outbound, RecordTooLarge, UnknownDestination
from keyfold.events.topics import COMMANDS, MAX_COMMAND_BYTES, REPLIES_PREFIX


async def test_sender_delivers_in_order_and_tells_offsets(world: World) -> None:
    """Awaited records are durable; unawaited ones arrive in order after a flush."""
    sender = world.bus.sender()
    await sender.start()
    assert await (await sender.send(world.out(b"0"))) == 0
    for n in range(1, 50):
        await sender.send(world.out(b"%d" % n))
    await sender.flush()
    assert await world.values(committed=False) == [b"%d" % n for n in range(50)]
    await sender.send(world.out(b"last"))
    await sender.stop()
    assert (await world.values(b"last"))[-1] == b"last"


async def test_sender_knows_partitions_from_its_cache(world: World) -> None:
    """An unknown topic or partition is refused at once, without asking anybody."""
    sender = world.bus.sender()
    await sender.start()
    try:
        assert sender.partitions_of(world.a) == 2
        assert sender.partitions_of("keyfold.replies.nobody") is None
        for topic, partition in (("keyfold.replies.nobody", 0), (world.a, 2), (world.a, -1)):
            with pytest.raises(UnknownDestination):
                await sender.send(world.out(b"?", topic, partition))
        with pytest.raises(RecordTooLarge):
            await sender.send(Outbound(COMMANDS, 0, b"k", bytes(MAX_COMMAND_BYTES)))
    finally:
        await sender.stop()


async def test_sender_learns_of_new_topics(world: World) -> None:
    """A reply topic that is created while a sender runs becomes known to it by asking again."""
    sender, admin = world.bus.sender(), world.bus.admin()
    await sender.start()
    await admin.start()
    try:
        assert sender.partitions_of(REPLIES_PREFIX + world.name) is None
        made = await admin.create_topics(
            3, replication_factor=1, min_insync_replicas=1, topics=(), reply_names=[world.name]
        )
        assert made == [REPLIES_PREFIX + world.name]
        await eventually(lambda: sender.partitions_of(REPLIES_PREFIX + world.name) == 3, 5)
    finally:
        await admin.stop()
        await sender.stop()
