"""Transactions of the bus, kept by memory and by Kafka alike: all or nothing, one life of a writer, taking over."""

import asyncio

import pytest
from tests.contract.bus.world import World, gather

from keyfold.bus import Outbound, RecordTooLarge, WriterUnusable
from keyfold.events.topics import COMMANDS, MAX_COMMAND_BYTES


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
