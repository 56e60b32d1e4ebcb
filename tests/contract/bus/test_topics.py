"""Topics of the bus, in memory and with Kafka alike: made, compared, altered, and how far they go."""

import pytest
from tests.contract.bus.world import SMALL, World

from keyfold.bus import TopicMismatch
from keyfold.events.topics import Topic


async def test_topics_are_created_once_and_verified(world: World) -> None:
    """Creating is idempotent; a cluster that is as the table says passes."""
    admin = world.bus.admin()
    await admin.start()
    try:
        assert await admin.create_topics(4, replication_factor=1, min_insync_replicas=1, topics=world.topics) == []
        await admin.verify_topics(4, min_insync_replicas=1, topics=world.topics)
    finally:
        await admin.stop()


async def test_every_difference_is_named(world: World) -> None:
    """A mismatch lists all topics and settings that differ, not the first."""
    admin = world.bus.admin()
    await admin.start()
    wanted = [
        Topic(world.a, 3, "none", -1, 1 << 20, append_time=False),
        Topic(world.b, 1, "compact", -1, 2 << 20),
        Topic(world.small, 1, "delete", 60_000, SMALL),
        Topic(f"{world.name}.absent", 1, "none", -1, SMALL),
    ]
    try:
        with pytest.raises(TopicMismatch) as caught:
            await admin.verify_topics(4, topics=wanted)
    finally:
        await admin.stop()
    text = "\n".join(caught.value.differences)
    for expected in (
        f"{world.a} has 2 partitions, not 3",
        f"{world.a} has max.message.bytes=2097152, not 1048576",
        f"{world.a} has message.timestamp.type=LogAppendTime, not CreateTime",
        f"{world.b} has cleanup.policy=delete, not compact",
        f"{world.small} has retention.ms=-1, not 60000",
        f"{world.name}.absent does not exist",
    ):
        assert expected in text
    assert len(caught.value.differences) == 6


async def test_settings_are_altered_where_no_record_suffers(world: World) -> None:
    """What differs is set, the rest of the settings stays, and a second time there is nothing to do."""
    admin = world.bus.admin()
    await admin.start()
    wanted = [Topic(world.b, 1, "none", -1, 3 << 20, append_time=True), Topic(world.small, 1, "none", -1, 2 * SMALL)]
    absent = Topic(f"{world.name}.absent", 1, "none", -1, SMALL)
    try:
        assert await admin.alter_topics(4, topics=[*wanted, absent]) == [
            f"{world.b} has max.message.bytes=3145728 now, not 2097152",
            f"{world.b} has message.timestamp.type=LogAppendTime now, not CreateTime",
            f"{world.small} has max.message.bytes=8192 now, not 4096",
        ]
        await admin.verify_topics(4, min_insync_replicas=1, topics=wanted)
        assert await admin.alter_topics(4, topics=wanted) == []
    finally:
        await admin.stop()


async def test_nothing_is_altered_where_anything_must_not_be(world: World) -> None:
    """Records keep their writers' times, so their topic does not get the broker's clock; the other one waits."""
    await (await world.writer()).commit([world.out(b"x", world.b)])
    admin = world.bus.admin()
    await admin.start()
    larger = Topic(world.small, 1, "none", -1, 2 * SMALL)
    try:
        with pytest.raises(TopicMismatch, match=rf"{world.b} has message\.timestamp\.type=CreateTime, .*writers chose"):
            await admin.alter_topics(4, topics=[Topic(world.b, 1, "none", -1, 2 << 20, append_time=True), larger])
        with pytest.raises(TopicMismatch, match=r"max\.message\.bytes=4096, not 8192"):
            await admin.verify_topics(4, topics=[larger])
    finally:
        await admin.stop()


async def test_offsets_and_lag(world: World) -> None:
    """Ends count markers; lag is never negative; deleting is idempotent and bounded by the end."""
    await (await world.writer()).commit([world.out(b"x"), world.out(b"y")])
    admin = world.bus.admin()
    await admin.start()
    try:
        await world.values(b"y")
        assert await admin.end_offsets(world.a) == {0: 3, 1: 0}
        assert await admin.lag(world.a, {0: 1, 1: 7}) == {0: 2, 1: 0}
        assert await admin.delete_records(world.a, 0, 2) == 2
        assert await admin.delete_records(world.a, 0, 1) == 2
        assert await admin.delete_records(world.a, 0, 99) == 3
        assert await admin.start_offsets(world.a) == {0: 3, 1: 0}
    finally:
        await admin.stop()
