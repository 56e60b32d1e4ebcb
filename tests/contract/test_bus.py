"""The contract of the bus, kept by memory and by Kafka alike: transactions, readers, senders, topics, membership."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from keyfold.bus import (
    Bus,
    BusSettings,
    Inbound,
    KafkaBus,
    Membership,
    MemoryBus,
    Outbound,
    PositionLost,
    Reader,
    RecordRefused,
    RecordTooLarge,
    TopicMismatch,
    UnknownDestination,
    Writer,
    WriterUnusable,
)
from keyfold.events.topics import COMMANDS, MAX_COMMAND_BYTES, REPLIES_PREFIX, Topic

SMALL = 4096


class World:
    """A bus, topics of this test alone, and ports that are stopped at its end."""

    def __init__(self, bus: Bus, name: str) -> None:
        self.bus = bus
        self.name = name
        self.a, self.b, self.small = f"{name}.a", f"{name}.b", f"{name}.small"
        self._stops: list[Callable[[], Awaitable[None]]] = []

    @property
    def topics(self) -> list[Topic]:
        return [
            Topic(self.a, 2, "none", -1, 2 << 20, append_time=True),
            Topic(self.b, 1, "none", -1, 2 << 20),
            Topic(self.small, 1, "none", -1, SMALL),
        ]

    async def writer(self, who: str = "w") -> Writer:
        writer = self.bus.writer(f"{self.name}-{who}")
        self._stops.append(writer.stop)
        await writer.start()
        return writer

    async def reader(
        self, topic: str | None = None, partition: int = 0, *, position: int | None = None, committed: bool = True
    ) -> Reader:
        reader = self.bus.reader(topic or self.a, partition, committed=committed)
        self._stops.append(reader.stop)
        await reader.start(position)
        return reader

    async def values(
        self, until: bytes | None = None, *, topic: str | None = None, committed: bool = True
    ) -> list[bytes | None]:
        """Read to the end, and again until a value has arrived: a commit becomes visible a moment after it returns."""
        reader = await self.reader(topic, committed=committed)
        found: list[bytes | None] = []
        async with asyncio.timeout(8):
            while True:
                end = await reader.end_offset()
                found += [record.value async for batch in reader.read_to_end() for record in batch]
                assert reader.position() >= end
                if until in {None, *found}:
                    return found

    async def leave_in_doubt(self, who: str = "w") -> Writer:
        """Return a writer whose transaction holds b"doubtful" in `a`, and failed."""
        writer = await self.writer(who)
        with pytest.raises(RecordRefused):
            await writer.commit([self.out(b"doubtful"), self.too_large()])
        return writer

    def out(self, value: bytes, topic: str | None = None, partition: int = 0) -> Outbound:
        return Outbound(topic or self.a, partition, b"key", value, (("h", b"v"),))

    def too_large(self) -> Outbound:
        return self.out(bytes(2 * SMALL), self.small)

    async def close(self) -> None:
        for stop in reversed(self._stops):
            await stop()


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.stack)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    name = f"t{secrets.token_hex(4)}"
    if request.param == "memory":
        bus: Bus = MemoryBus()
    else:
        bus = KafkaBus(BusSettings(bootstrap_servers=request.getfixturevalue("kafka").bootstrap_servers))
    made = World(bus, name)
    admin = bus.admin()
    await admin.start()
    await admin.create_topics(4, replication_factor=1, min_insync_replicas=1, topics=made.topics)
    await admin.stop()
    try:
        yield made
    finally:
        await made.close()
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()], "tasks were left"


async def gather(reader: Reader, count: int) -> list[Inbound]:
    found: list[Inbound] = []
    while len(found) < count:
        batch = await reader.poll(5.0)
        assert batch, "nothing arrived"
        found += batch
    return found


async def eventually(condition: Callable[[], bool], within_s: float) -> None:
    for _ in range(int(within_s / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"not so within {within_s} s")


# Transactions


async def test_commit_returns_offsets_in_the_order_given(world: World) -> None:
    """Offsets name each record's place, whatever the mix of topics and partitions."""
    writer = await world.writer()
    mixed = [world.out(b"%d" % n, (world.a, world.b)[n % 3 == 0], n % 2 if n % 3 else 0) for n in range(20)]
    offsets = await writer.commit(mixed)
    for record, offset in zip(mixed, offsets, strict=True):
        reader = await world.reader(record.topic, record.partition, position=offset)
        assert (await reader.poll(5.0, 1))[0].value == record.value


async def test_record_arrives_as_sent(world: World) -> None:
    """Key, value, headers, nulls and order survive; topics with append time carry the broker's."""
    writer = await world.writer()
    sent = [
        Outbound(world.a, 1, b"k", b"v", (("x", b"1"), ("x", b"2"), ("y", b""))),
        Outbound(world.a, 1, b"gone", None),
        Outbound(world.a, 1, None, b"keyless"),
    ]
    offsets = await writer.commit(sent)
    got = await gather(await world.reader(partition=1), 3)
    assert [(r.key, r.value, r.headers) for r in got] == [(s.key, s.value, s.headers) for s in sent]
    assert [r.offset for r in got] == offsets
    assert all(r.topic == world.a and r.partition == 1 and r.timestamp_ms > 1_700_000_000_000 for r in got)
    assert got[0].header("x") is None
    assert got[0].header("y") == b""


async def test_empty_commit_writes_nothing(world: World) -> None:
    """No records, no transaction: not even a marker takes an offset."""
    writer = await world.writer()
    assert await writer.commit([]) == []
    reader = await world.reader()
    assert await reader.end_offset() == 0


async def test_more_than_one_batch_keeps_order(world: World) -> None:
    """A transaction larger than a record batch is split, in order, and is still one transaction."""
    writer = await world.writer()
    values = [b"%06d" % n + bytes(300_000) for n in range(9)]
    offsets = await writer.commit([world.out(value) for value in values])
    assert offsets == list(range(9))
    got = await gather(await world.reader(), 9)
    assert [r.value for r in got] == values


async def test_a_refused_record_commits_nothing(world: World) -> None:
    """Rule 1: one record fails, so no record of the transaction is ever seen by a committed reader."""
    await world.leave_in_doubt()
    await (await world.writer()).commit([world.out(b"after")])
    assert await world.values(b"after") == [b"after"]


async def test_in_doubt_writer_is_unusable(world: World) -> None:
    """Rule 2: there is no second try in place, however small."""
    writer = await world.leave_in_doubt()
    with pytest.raises(WriterUnusable):
        await writer.commit([world.out(b"again")])
    with pytest.raises(WriterUnusable):
        await writer.start()


async def test_unstarted_and_stopped_writers_are_unusable(world: World) -> None:
    """A writer has one life: start, commits, stop."""
    writer = world.bus.writer(f"{world.name}-x")
    with pytest.raises(WriterUnusable):
        await writer.commit([world.out(b"early")])
    await writer.start()
    await writer.stop()
    await writer.stop()
    with pytest.raises(WriterUnusable):
        await writer.commit([world.out(b"late")])


async def test_too_large_is_found_before_anything_begins(world: World) -> None:
    """An oversized record of a known topic is named by its index and leaves the writer usable."""
    writer = await world.writer()
    large = Outbound(COMMANDS, 0, b"k", bytes(MAX_COMMAND_BYTES))
    with pytest.raises(RecordTooLarge) as caught:
        await writer.commit([world.out(b"fine"), large])
    assert caught.value.index == 1
    await writer.commit([world.out(b"usable")])
    assert await world.values(b"usable") == [b"usable"]


async def test_cancelled_commit_is_in_doubt(world: World) -> None:
    """Rule 2: a cancellation between begin and commit stays a cancellation and ends the writer."""
    writer = await world.writer()
    task = asyncio.create_task(writer.commit([world.out(b"cancelled")]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(WriterUnusable):
        await writer.commit([world.out(b"again")])


# Taking over


async def test_a_new_writer_fences_the_old(world: World) -> None:
    """Rule 3: once the new writer has started, the old one commits nothing any more."""
    old = await world.writer()
    await old.commit([world.out(b"old")])
    new = await world.writer()
    with pytest.raises(Exception, match="in doubt") as caught:
        await old.commit([world.out(b"zombie")])
    assert caught.type.__name__ == "Fenced"
    await new.commit([world.out(b"new")])
    assert await world.values(b"new") == [b"old", b"new"]


async def test_a_new_writer_settles_the_open_transaction(world: World) -> None:
    """Rule 3: what the predecessor left open is aborted before `start` returns, so the end is final."""
    await (await world.writer()).commit([world.out(b"first")])
    await world.leave_in_doubt()
    await world.writer()
    reader = await world.reader()
    end = await reader.end_offset()
    assert [r.value async for batch in reader.read_to_end() for r in batch] == [b"first"]
    assert reader.position() == end
    assert b"doubtful" in await world.values(committed=False)


async def test_read_to_end_ends_at_markers_and_aborted_records(world: World) -> None:
    """The last places of the log are an aborted record and a marker that no reader returns; it ends all the same."""
    await (await world.writer()).commit([world.out(b"%d" % n) for n in range(3)])
    await world.leave_in_doubt("other")
    await world.writer("other")
    assert await world.values(b"2") == [b"0", b"1", b"2"]
    assert await world.values(committed=False) == [b"0", b"1", b"2", b"doubtful"]


async def test_read_to_end_of_an_empty_partition(world: World) -> None:
    """Nothing there is an end too."""
    assert await world.values(topic=world.b) == []


async def test_read_to_end_does_not_chase_the_writer(world: World) -> None:
    """The end is that of the call: what is written meanwhile does not prolong it."""
    writer = await world.writer()
    await writer.commit([world.out(b"before")])
    await world.values(b"before")
    reader = await world.reader()
    rounds = 0
    async for _ in reader.read_to_end():
        rounds += 1
        await writer.commit([world.out(b"meanwhile")])
    assert 1 <= rounds <= 2


# Readers


async def test_committed_reader_waits_for_open_transactions_others_do_not(world: World) -> None:
    """Rule 5: a stranger's open transaction holds committed readers up, and never a reader of commands."""
    await world.leave_in_doubt("stranger")
    sender = world.bus.sender()
    await sender.start()
    await (await sender.send(world.out(b"command")))
    await sender.stop()
    everything = await world.reader(committed=False)
    assert [r.value for r in await gather(everything, 2)] == [b"doubtful", b"command"]
    committed = await world.reader()
    if await committed.end_offset() == 0:  # Kafka leaves it open; memory has aborted it
        assert await committed.poll(0.3) == []
    await world.writer("stranger")
    assert [r.value for r in await gather(committed, 1)] == [b"command"]


async def test_poll_returns_early_or_empty(world: World) -> None:
    """Records end a poll at once; without any it ends at its timeout, and not before."""
    loop = asyncio.get_running_loop()
    writer, reader = await world.writer(), await world.reader()
    began = loop.time()
    assert await reader.poll(0.2) == []
    assert 0.15 <= loop.time() - began < 1.5
    waiting = asyncio.create_task(reader.poll(10.0))
    await asyncio.sleep(0.05)
    began = loop.time()
    await writer.commit([world.out(b"wake")])
    assert [r.value for r in await waiting] == [b"wake"]
    assert loop.time() - began < 2


async def test_asking_for_the_end_does_not_wait_for_data(world: World) -> None:
    """While a reader waits for records, a broker still answers its questions at once."""
    reader = await world.reader()
    await reader.poll(0.05)
    began = asyncio.get_running_loop().time()
    for _ in range(6):
        assert await reader.end_offset() == 0
    assert asyncio.get_running_loop().time() - began < 1.0


async def test_poll_respects_max_records_and_position_follows(world: World) -> None:
    """The position is that of the next record to return, also in the middle of a batch."""
    writer = await world.writer()
    await writer.commit([world.out(b"%d" % n) for n in range(5)])
    reader = await world.reader()
    assert [r.value for r in await reader.poll(5.0, 2)] == [b"0", b"1"]
    assert reader.position() == 2
    assert [r.value for r in await reader.poll(5.0, 2)] == [b"2", b"3"]
    assert reader.position() == 4


async def test_start_and_seek_stand_where_told(world: World) -> None:
    """A stored position is where reading goes on; seeking is the same for a running reader."""
    writer = await world.writer()
    await writer.commit([world.out(b"%d" % n) for n in range(5)])
    reader = await world.reader(position=3)
    assert [r.value for r in await gather(reader, 2)] == [b"3", b"4"]
    await reader.seek(1)
    assert reader.position() == 1
    assert (await reader.poll(5.0, 1))[0].value == b"1"
    end = await reader.end_offset()
    await reader.seek(end)
    assert await reader.poll(0.05) == []


async def test_position_outside_the_log_is_lost(world: World) -> None:
    """Rule 3: neither before the start nor behind the end is anything made up; a gap is an error."""
    writer = await world.writer()
    await writer.commit([world.out(b"%d" % n) for n in range(5)])
    admin = world.bus.admin()
    await admin.start()
    assert await admin.delete_records(world.a, 0, 3) == 3
    await admin.stop()
    for position in (0, 2, 1000):
        with pytest.raises(PositionLost) as caught:
            await world.reader(position=position)
        assert caught.value.position == position
    assert [r.value for r in await gather(await world.reader(), 2)] == [b"3", b"4"]


async def test_a_gap_under_a_running_reader_is_lost(world: World) -> None:
    """Records that are deleted before they were read stop the reader; it does not skip them."""
    writer, reader = await world.writer(), await world.reader()
    await writer.commit([world.out(b"first"), world.out(b"second")])
    assert len(await reader.poll(5.0, 1)) == 1
    await writer.commit([world.out(bytes(900_000)) for _ in range(60)])  # more than one fetch holds
    admin = world.bus.admin()
    await admin.start()
    end = (await admin.end_offsets(world.a))[0]
    await admin.delete_records(world.a, 0, end)
    await admin.stop()
    with pytest.raises(PositionLost):
        await drain(reader, end)


async def drain(reader: Reader, end: int) -> None:
    while reader.position() < end:
        await reader.poll(2.0, 1)


async def test_caught_up_at_advances_only_with_the_high_watermark(world: World) -> None:
    """It is the time of a watermark that was passed; an open transaction makes it stand still."""
    loop = asyncio.get_running_loop()
    writer, reader = await world.writer(), await world.reader()
    assert reader.caught_up_at() is None
    await writer.commit([world.out(b"1")])
    began = loop.time()
    while (reader.caught_up_at() or 0) < began:
        await reader.poll(0.1)
        assert loop.time() < began + 5
    assert reader.position() == 2
    assert (reader.caught_up_at() or 0) <= loop.time()


# Senders


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


# Topics


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


# Membership


def shared(members: Sequence[Membership], count: int) -> bool:
    """All partitions are wanted, each by one member."""
    sets = [member.wanted for member in members]
    return all(sets) and sum(map(len, sets)) == count and len(frozenset().union(*sets)) == count


async def test_members_share_and_a_dead_one_is_replaced(world: World) -> None:
    """Rule 7: every partition is wanted by exactly one; after a death the others take over, keeping their own."""
    first = world.bus.membership(f"{world.name}-g", world.a, "one")
    second = world.bus.membership(f"{world.name}-g", world.a, "two")
    await first.start()
    try:
        assert await asyncio.wait_for(first.wait_change(), 15) == {0, 1}
        await second.start()
        await eventually(lambda: shared([first, second], 2), 15)
        kept = second.wanted
        await first.stop()
        changed = await asyncio.wait_for(second.wait_change(kept), 20)
        assert changed == {0, 1}
    finally:
        await first.stop()
        await second.stop()


async def test_a_static_member_that_comes_back_moves_nothing(world: World) -> None:
    """Rule 7: a restart gets the same partitions at once, long before the old session ends; nobody else notices."""
    group = f"{world.name}-g"
    first, second = world.bus.membership(group, world.a, "one"), world.bus.membership(group, world.a, "two")
    again = world.bus.membership(group, world.a, "one")
    await first.start()
    await second.start()
    try:
        await eventually(lambda: shared([first, second], 2), 20)
        before, other = first.wanted, second.wanted
        await first.stop()
        await again.start()
        assert await asyncio.wait_for(again.wait_change(), 4) == before
        assert second.wanted == other
    finally:
        for member in (first, second, again):
            await member.stop()
