"""The latest checkpoints are found from the end of the topic, with the cosignatures that belong to them."""

import asyncio

import pytest
from tests.support.notary_log import NotaryLog, leaves

from keyfold.auditing.checkpoints import NoCheckpoint, checkpoint_topics, parse_published
from keyfold.bus import Inbound, MemoryBus, Outbound
from keyfold.events import topics
from keyfold.events.checkpoints import Checkpoint
from keyfold.events.notes import NoteInvalid, parse_note
from keyfold.events.tree import verify_consistency


async def grown(times: int) -> tuple[MemoryBus, NotaryLog]:
    """Partition 1 grows often; partition 2 once, before."""
    bus = MemoryBus()
    log = NotaryLog(bus)
    await log.publish_leaves(2, leaves(3))
    for leaf in leaves(times, "more"):
        await log.publish_leaves(1, [leaf])
    return bus, log


async def test_the_latest_of_each_origin() -> None:
    """Also of one that was last heard of long ago; one that never was is left out."""
    bus, log = await grown(700)
    async with checkpoint_topics(bus) as reading:
        found = await reading.latest(map(log.origin, (1, 2, 3)))
    assert {origin: one.checkpoint.size for origin, one in found.items()} == {log.origin(1): 700, log.origin(2): 3}
    one = found[log.origin(1)]
    assert (one.old, one.next_offset, one.origin) == (699, 700, log.origin(1))
    tree = log.trees[1]
    verify_consistency(699, 700, tree.root(699), one.checkpoint.root, one.path)


async def test_the_newest_that_covers_a_leaf_and_is_cosigned() -> None:
    """Without a wish the newest; with one, the newest that so many cosigned; what is missing is told."""
    bus, log = await grown(10)
    await log.cosign(log.notes[1][6], "w1")
    await log.cosign(log.notes[1][6], "w2")
    await log.cosign(log.notes[1][8], "w1")
    async with checkpoint_topics(bus) as reading:
        sizes = [(await reading.covering(log.origin(1), 2, cosignatures=k)).checkpoint.size for k in (0, 1, 2)]
        assert sizes == [10, 9, 7]
        for wish in ((log.origin(1), 10, 0), (log.origin(1), 7, 2), (log.origin(1), 2, 3), (log.origin(0), 0, 0)):
            with pytest.raises(NoCheckpoint):
                await reading.covering(wish[0], wish[1], cosignatures=wish[2])
        names = [line.name for line in (await reading.covering(log.origin(1), 2, cosignatures=2)).note.signatures]
    assert names == [log.origin(1), log.origin(1), "w1", "w2"] or names == [log.origin(1), log.origin(1), "w2", "w1"]


async def test_waiting_for_a_checkpoint_ends() -> None:
    """As soon as it is there, or at the deadline."""
    bus, log = await grown(1)
    async with checkpoint_topics(bus) as reading:
        with pytest.raises(NoCheckpoint):
            await reading.wait_covering(log.origin(1), 1, timeout_s=0.3)
        waiting = asyncio.create_task(reading.wait_covering(log.origin(1), 1, timeout_s=5))
        await asyncio.sleep(0.05)
        await log.publish_leaves(1, leaves(1))
        assert (await waiting).checkpoint.size == 2


async def test_what_is_no_checkpoint_is_passed_over() -> None:
    """Junk on both topics, and lines without end, do not keep a reader from what is there."""
    bus, log = await grown(3)
    sender = bus.sender()
    await sender.start()
    junk = [
        Outbound(topics.CHECKPOINTS, 0, b"x", b"junk"),
        Outbound(topics.CHECKPOINTS, 0, b"other", log.notes[1][-1]),
        Outbound(topics.CHECKPOINTS, 0, log.origin(1).encode(), log.notes[1][-1]),
        Outbound(topics.COSIGNATURES, 0, b"x", b"junk"),
        Outbound(topics.COSIGNATURES, 0, None, None),
    ]
    for record in junk:
        await sender.send(record)
    for number in range(40):
        await log.cosign(log.notes[1][-1], f"stranger-{number}")
    async with checkpoint_topics(bus) as reading:
        found = await reading.covering(log.origin(1), 0)
        assert found.checkpoint.size == 3
        assert len(found.note.signatures) == 2 + 16
        assert len([one async for one in reading.all()]) == 4
        assert len([one async for one in reading.cosigned()]) == 40


def test_what_a_checkpoint_record_must_have() -> None:
    """Both headers, and the origin as its key."""
    note = NotaryLog(MemoryBus()).keys
    document = note.note(Checkpoint("keyfold/x/events/1", 1, bytes(32))).to_bytes()
    good = {"kf_consistency": bytes(8), "kf_next": bytes(8)}
    key = parse_note(document).text.partition("\n")[0].encode()
    record = Inbound(topics.CHECKPOINTS, 0, 0, 0, key, document, tuple(good.items()))
    assert parse_published(record).path == ()
    for headers in ({}, good | {"kf_consistency": bytes(9)}, good | {"kf_next": b""}):
        with pytest.raises(NoteInvalid):
            parse_published(Inbound(topics.CHECKPOINTS, 0, 0, 0, key, document, tuple(headers.items())))
