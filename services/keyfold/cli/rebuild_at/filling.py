"""Filling a schema with what one partition of the log said up to a moment, by the projector's own folds.

"As of T" is what stands before the first decision that is later than T, without what others state with a later time of
their own: the same as in `keyfold.deciding.as_of`, whose docstring and docs/time-travel.md say why. An outcome has its
decision's time, so one that the worker stated after T counts, if nothing later than T was decided before it. Records
are believed as the projector believes them, by what root has certified and revoked by now.
"""

from collections.abc import Callable, Sequence
from typing import Final

from keyfold.bus import Bus, Inbound
from keyfold.events import topics
from keyfold.events.trust import Trust
from keyfold.log.believing import Believer, event_of
from keyfold.projections.fold import Leaf, Passed, UseLeaf
from keyfold.projections.folding import Folding
from keyfold.projections.ports import PartitionStore
from keyfold.projections.positions import Offsets
from keyfold.projections.replay import Item, Replay
from keyfold.projections.rows import Report

BATCH: Final = 2_000
_CACHED: Final = 20_000


class Filling:
    """One partition, from its stored offsets to the moment `as_of`. It writes batch by batch and can go on later."""

    def __init__(self, trust: Trust, store: PartitionStore, partitions: int, offsets: Offsets, as_of: str) -> None:
        self._trust, self._store, self._as_of = trust, store, as_of
        self._believer = Believer(offsets.partition, partitions)
        self._replay = Replay(partitions, offsets, self._believer)
        self._places = dict(offsets.places)
        self._folding = Folding(store, cached=_CACHED)
        self._waiting: list[Item] = []
        self.offsets = offsets
        self.reached = False

    async def add(self, records: Sequence[Inbound], position: int) -> int:
        """Fold records and write them; return how many events came into the schema.

        `position` is where the reader stands. `reached` is set at the first decision that is later. Raises `ChainGap`,
        `StateMismatch`, and what the store raises; then nothing of these records is written.
        """
        items = self._before_the_moment(records)
        fold = await self._folding.fold(self.offsets, items)
        batch = fold.batch(self._places, None if self.reached or self._waiting else position)
        await self._store.apply(batch)
        # If we crash here, the batch counts, and filling goes on behind it.
        self.offsets = batch.after
        self._folding.promote(batch)
        return len(batch.audit)

    def _before_the_moment(self, records: Sequence[Inbound]) -> list[Item]:
        """What is passed over counts as read when something behind it counts: the prefix ends with what counts."""
        items: list[Item] = []
        for record, verdict in zip(records, self._believer.accept_all(self._trust, records), strict=False):
            item = self._replay.judged(record, verdict, event_of)
            counts = isinstance(item, Leaf | UseLeaf) and item.time <= self._as_of
            if isinstance(item, Leaf | UseLeaf) and not counts:
                if item.decides:
                    self.reached = True
                    break
                item = Passed(item.kafka_offset, item.accepted)
            self._waiting.append(item)
            if counts or not isinstance(self._waiting[0], Passed):
                items += self._waiting
                self._waiting.clear()
        self._places.update({item.accepted.role: item.accepted.place for item in items if not isinstance(item, Report)})
        return items


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
