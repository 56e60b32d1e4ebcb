"""Checkpoints must follow each other on their topic as the notary wrote them; whoever changes the topic is seen."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from tests.support.notary_log import NotaryLog
from tests.support.people import DEPLOYMENT, PARTITIONS

from keyfold.auditing.checkpoints import Published
from keyfold.auditing.findings import Finding
from keyfold.auditing.sources import KafkaSource
from keyfold.auditing.succession import succession
from keyfold.bus import MemoryBus, MemoryCluster

Topic = list[Published]


async def topic() -> tuple[NotaryLog, Topic]:
    """Four checkpoints of one tree and two of another, as a reader is given them."""
    cluster = MemoryCluster()
    bus = MemoryBus(cluster)
    admin = bus.admin()
    await admin.start()
    await admin.create_topics(PARTITIONS, replication_factor=1, min_insync_replicas=1)
    log = NotaryLog(bus)
    for number in range(4):
        await log.publish_leaves(1, [sha256(b"%d.%d" % (number, leaf)).digest() for leaf in range(3 + number)])
        if number % 2:
            await log.publish_leaves(2, [sha256(b"%d" % number).digest()])
    return log, [each async for each in KafkaSource(bus, DEPLOYMENT, PARTITIONS).published()]


def found(log: NotaryLog, published: Topic, *kept: tuple[str, Published]) -> list[Finding]:
    """What is out of order."""
    order = succession([log.origin(partition) for partition in range(PARTITIONS)])
    for each in published:
        order.add(each)
    order.miss((name, each.origin, each.note.text) for name, each in kept)
    return order.findings


async def test_as_the_notary_wrote_them() -> None:
    """Nothing is out of order, and what was kept is there."""
    log, published = await topic()
    assert len(published) == 6
    assert found(log, published, ("kept", published[0]), ("newest", published[-1])) == []


def _of_one(published: Topic) -> Topic:
    return [each for each in published if each.origin == published[0].origin]


@pytest.mark.parametrize(
    "change",
    [
        lambda own: [own[0], own[2], own[3]],
        lambda own: own[1:],
        lambda own: [*own, own[0]],
        lambda own: [*own[:3], own[1]],
        lambda own: [own[1], own[0], *own[2:]],
        lambda own: [*own[:3], own[3], own[3]],
        lambda own: [*own[:3], replace(own[3], path=own[2].path)],
        lambda own: [*own[:3], replace(own[3], path=())],
    ],
    ids=["taken out", "the first", "put back", "exchanged for an older one", "swapped", "twice", "proof", "no proof"],
)
async def test_what_was_changed_on_the_topic(change: Callable[[Topic], Topic]) -> None:
    """The tree is named, and the place on the topic."""
    log, published = await topic()
    changed = change(_of_one(published))
    (first, *_) = found(log, changed)
    assert (first.partition, first.code) == (1, "CheckpointOutOfOrder")
    assert "keyfold.checkpoints" in first.found


async def test_the_last_one_is_taken_away() -> None:
    """The topic alone cannot tell; who has kept it can."""
    log, published = await topic()
    own = _of_one(published)
    assert found(log, own[:-1]) == []
    (missing,) = found(log, own[:-1], ("kept.1", own[-1]), ("kept.0", own[0]))
    assert (missing.partition, missing.code) == (1, "CheckpointOutOfOrder")
    assert "kept.1" in missing.expected


async def test_another_logs_checkpoints_are_no_matter() -> None:
    """They are refused elsewhere."""
    log, published = await topic()
    order = succession([log.origin(2)])
    for each in _of_one(published)[::-1]:
        order.add(each)
    assert order.findings == []
