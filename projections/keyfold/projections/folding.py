"""Folding believed records with the entities of a store: the part that the projector and `rebuild --at` share.

It knows no bus and believes nothing. Everything it holds is a draft until the batch is applied; after any error the
whole object is dropped and made anew from the stored offsets.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from keyfold.events.entities import Entity
from keyfold.projections.fold import Batch, Fold, Leaf, NotLoaded, Passed, UseLeaf, wanted
from keyfold.projections.ports import PartitionStore
from keyfold.projections.positions import Offsets
from keyfold.projections.replay import Item, Strange
from keyfold.projections.rows import Report

YIELD_EVERY: Final = 100
"""Records after which others have their turn: other partitions, heartbeats, and what is being written."""


class Folding:
    """Entities of one partition in one schema, as they are after the batch that was promoted last.

    Batches may be folded ahead of the store: what a promoted batch changed is kept until the next one is promoted, so a
    batch must be applied before the one after it is promoted.
    """

    def __init__(self, store: PartitionStore, *, cached: int) -> None:
        """`cached` entities are kept at most, beside those that a batch needs."""
        self._store, self._cached = store, cached
        self._known: OrderedDict[str, Entity | None] = OrderedDict()

    async def fold(self, offsets: Offsets, items: Sequence[Item]) -> Fold:
        """Fold records onto these offsets; load what is missing. Raises `StateMismatch`."""
        await self._load(wanted(item for item in items if isinstance(item, Leaf | UseLeaf)))
        fold = Fold(offsets, self._known)
        for number, item in enumerate(items, 1):
            await self._add(fold, item)
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        return fold

    def promote(self, batch: Batch) -> None:
        """Fold on from this batch."""
        for name, entity in batch.entities.items():
            self._known[name] = entity
            self._known.move_to_end(name)
        while len(self._known) > max(self._cached, len(batch.entities)):
            self._known.popitem(last=False)

    async def _add(self, fold: Fold, item: Item) -> None:
        while True:
            try:
                _fold(fold, item)
            except NotLoaded as missing:
                await self._load({missing.name})
            else:
                return

    async def _load(self, names: set[str]) -> None:
        missing = names - self._known.keys()
        if missing:
            self._known.update(await self._store.load(missing))


def _fold(fold: Fold, item: Item) -> None:
    match item:
        case UseLeaf():
            fold.use(item)
        case Leaf():
            fold.add(item)
        case Passed():
            fold.pass_over(item)
        case Strange():
            fold.strange(item.accepted, item.report)
        case Report():
            fold.refuse(item)
