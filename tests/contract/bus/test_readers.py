"""Readers of the bus, in memory and with Kafka alike: ends, positions, gaps, and what of a log is committed."""

import asyncio

import pytest
from tests.contract.bus.world import World, gather

from keyfold.bus import PositionLost, Reader


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
