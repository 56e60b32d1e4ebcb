"""Feeds generated histories to folds and stores, without signatures: what the projector does between bus and store."""

import random
from collections.abc import Sequence
from types import MappingProxyType

from tests.unit.projections.histories import PARTITIONS, SERVICES

from keyfold.events import facts
from keyfold.events.chains import Accepted, Place
from keyfold.events.entities import Bucket, Entity
from keyfold.events.evolve import evolve
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.streams import partition_of
from keyfold.projections.fold import Batch, Fold, Leaf, NotLoaded, wanted
from keyfold.projections.ports import PartitionStore
from keyfold.projections.positions import Offsets

HEADERS = (("kf_signer", b"s"), ("kf_statement", b"{}"), ("kf_signature", b"\x00\xff"), ("kf_path", b"p"), ("x", b"y"))


def leaf(event: facts.Event, kafka_offset: int, n: int = 1) -> Leaf:
    """A believed record, as if it had been signed."""
    place = Place(ChainHead(n, "ab" * 32), 0, 1)
    entry = Entry(event.subject.encode(), event.to_value())
    return Leaf(kafka_offset, Accepted(event.role, SERVICES[event.role].fingerprint, place, entry), event, HEADERS)


def by_partition(events: Sequence[facts.Event]) -> dict[int, list[Leaf]]:
    """Place events into partitions; offsets have holes as transaction markers leave them."""
    found: dict[int, list[Leaf]] = {partition: [] for partition in range(PARTITIONS)}
    for event in events:
        leaves = found[partition_of(event.subject, PARTITIONS)]
        leaves.append(leaf(event, 2 * len(leaves), len(leaves) + 1))
    return found


async def fold_batch(store: PartitionStore, offsets: Offsets, leaves: Sequence[Leaf]) -> Batch:
    """Fold records, loading what is missing."""
    loaded = await store.load(wanted(leaves))
    fold = Fold(offsets, loaded)
    for one in leaves:
        while True:
            try:
                fold.add(one)
                break
            except NotLoaded as missing:
                loaded.update(await store.load([missing.name]))
    places = {one.accepted.role: one.accepted.place for one in leaves}
    return fold.batch(MappingProxyType({**offsets.places, **places}))


async def feed(store: PartitionStore, leaves: Sequence[Leaf], sizes: random.Random, partition: int) -> Offsets:
    """Apply records in batches of random size, from where the store stands."""
    offsets = await store.offsets(partition)
    left = [one for one in leaves if one.kafka_offset >= offsets.next]
    while left:
        size = sizes.randint(1, 40)
        batch = await fold_batch(store, offsets, left[:size])
        await store.apply(batch)
        offsets, left = batch.after, left[size:]
    return offsets


async def feed_all(store: PartitionStore, events: Sequence[facts.Event], sizes: random.Random) -> None:
    """Apply a whole history, one partition after the other: partitions are independent."""
    for partition, leaves in by_partition(events).items():
        await feed(store, leaves, sizes, partition)


def evolved(events: Sequence[facts.Event]) -> dict[str, Entity]:
    """What `evolve` alone says: the truth that every projection must equal. Levels of limits stand in `levels`."""
    view: dict[str, Entity] = {}
    for event in events:
        for name, entity in evolve(view, event).items():
            if entity is None:
                view.pop(name, None)
            else:
                view[name] = entity
    return {name: entity for name, entity in view.items() if not isinstance(entity, Bucket)}


def levels(events: Sequence[facts.Event]) -> dict[tuple[int, str], Bucket]:
    """How full limits are by partition and name: the last decision of the partition that was charged says it."""
    found: dict[tuple[int, str], Bucket] = {}
    for event in events:
        if isinstance(event, facts.PolicyEvent):
            partition = partition_of(event.subject, PARTITIONS)
            for name, level in event.data.decision.charges.items():
                found[partition, name] = Bucket(level=level, updated_at=event.time)
    return found
