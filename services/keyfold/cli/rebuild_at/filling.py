"""Filling a schema with what one partition of the log said up to a moment, by the projector's own folds.

"As of T" is a prefix of each partition by its monotone time: everything before the first event that is later than T.
An outcome has its decision's time, so one that the worker stated after T may lie in the prefix, if nothing later than
T stands before it. Records are believed as the projector believes them, by what root has certified and revoked by now.
"""

from collections.abc import Callable, Sequence
from typing import Final

from keyfold.bus import Bus, Inbound
from keyfold.events import topics
from keyfold.events.entities import Entity
from keyfold.events.trust import Trust
from keyfold.log.believing import Believer, event_of
from keyfold.projections.fold import Batch, Fold, Leaf, NotLoaded, wanted
from keyfold.projections.ports import PartitionStore
from keyfold.projections.positions import Offsets
from keyfold.projections.replay import Replay, Strange
from keyfold.projections.rows import Report

BATCH: Final = 2_000
_CACHED: Final = 20_000

Item = Leaf | Strange | Report


class Filling:
    """One partition, from its stored offsets to the moment `as_of`. It writes batch by batch and can go on later."""

    def __init__(self, trust: Trust, store: PartitionStore, partitions: int, offsets: Offsets, as_of: str) -> None:
        self._trust, self._store, self._as_of = trust, store, as_of
        self._believer = Believer(offsets.partition, partitions)
        self._replay = Replay(partitions, offsets, self._believer)
        self._places = dict(offsets.places)
        self._cache: dict[str, Entity | None] = {}
        self.offsets = offsets
        self.reached = False

    async def add(self, records: Sequence[Inbound], position: int) -> int:
        """Fold records and write them; return how many events came into the schema.

        `position` is where the reader stands. `reached` is set at the first event that is later. Raises `ChainGap`,
        `StateMismatch`, and what the store raises; then nothing of these records is written.
        """
        items = self._before_the_moment(records)
        fold = Fold(self.offsets, self._cache)
        await self._load(wanted(item for item in items if isinstance(item, Leaf)))
        for item in items:
            await self._fold(fold, item)
        batch = fold.batch(self._places, None if self.reached else position)
        await self._store.apply(batch)
        # If we crash here, the batch counts, and filling goes on behind it.
        self._promote(batch)
        return len(batch.audit)

    def _before_the_moment(self, records: Sequence[Inbound]) -> list[Item]:
        items: list[Item] = []
        for record, verdict in zip(records, self._believer.accept_all(self._trust, records), strict=False):
            item = self._replay.judged(record, verdict, event_of)
            if isinstance(item, Leaf) and item.event.time > self._as_of:
                self.reached = True
                break
            if not isinstance(item, Report):
                self._places[item.accepted.role] = item.accepted.place
            items.append(item)
        return items

    async def _fold(self, fold: Fold, item: Item) -> None:
        if isinstance(item, Report):
            fold.refuse(item)
            return
        if isinstance(item, Strange):
            fold.strange(item.accepted, item.report)
            return
        while True:
            try:
                fold.add(item)
            except NotLoaded as missing:
                await self._load({missing.name})
            else:
                return

    async def _load(self, names: set[str]) -> None:
        missing = names - self._cache.keys()
        if missing:
            self._cache.update(await self._store.load(missing))

    def _promote(self, batch: Batch) -> None:
        self.offsets = batch.after
        self._cache.update(batch.entities)
        if len(self._cache) > _CACHED:
            self._cache.clear()


async def fill(bus: Bus, filling: Filling, partition: int, progress: Callable[[int], None], batch: int = BATCH) -> None:
    """Read a partition from where its filling stands to the moment, or to its end as it is now."""
    reader = bus.reader(topics.EVENTS, partition, committed=True)
    await reader.start(filling.offsets.next)
    try:
        end = await reader.end_offset()
        while reader.position() < end and not filling.reached:
            records = await reader.poll(0.5, batch)
            progress(await filling.add(records, reader.position()))
    finally:
        await reader.stop()
