"""From records to a batch: believes each, asks for newer trust once, loads the entities that are missing, folds.

Everything it holds is a draft until the batch is applied; after any error the whole object is dropped and made anew
from the stored offsets.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from keyfold.bus import Inbound
from keyfold.events.chains import ChainGap
from keyfold.events.entities import Entity
from keyfold.events.statements import UntrustedRecord
from keyfold.log import TrustKeeper
from keyfold.log.believing import Believer, event_of
from keyfold.projections.fold import Batch, Fold, Leaf, NotLoaded, wanted
from keyfold.projections.ports import PartitionStore
from keyfold.projections.positions import Offsets, check_revocations
from keyfold.projections.replay import Replay, Strange
from keyfold.projections.rows import Report

_YIELD_EVERY: Final = 100  # other partitions and heartbeats go on while a large batch is folded

Item = Leaf | Strange | Report


class Folding:
    """One partition in one schema, from its stored offsets on."""

    def __init__(
        self, keeper: TrustKeeper, store: PartitionStore, partitions: int, offsets: Offsets, *, cached: int
    ) -> None:
        self._keeper, self._store = keeper, store
        self._believer = Believer(offsets.partition, partitions)
        self._replay = Replay(partitions, offsets, self._believer)
        self._trust = keeper.trust
        self._cached = cached
        self._cache: OrderedDict[str, Entity | None] = OrderedDict()
        self.offsets = offsets
        check_revocations(offsets, self._trust)

    async def fold(self, records: Sequence[Inbound], position: int) -> tuple[Batch, ChainGap | None]:
        """Return the batch of these records; where there is a gap, of those before it, and the gap.

        `position` is where the reader stands. Raises `StateMismatch` and `RebuildNeeded`.
        """
        self._notice_trust()
        items, gap = await self._believe(records)
        loaded = await self._load([item for item in items if isinstance(item, Leaf)])
        fold = Fold(self.offsets, loaded)
        for number, item in enumerate(items):
            await self._add(fold, item, loaded)
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
        return fold.batch(self._replay.chains.places, None if gap else position), gap

    def promote(self, batch: Batch) -> None:
        """The batch is applied: it is the truth from now on."""
        self.offsets = batch.after
        for name, entity in batch.entities.items():
            self._cache[name] = entity
            self._cache.move_to_end(name)
        while len(self._cache) > self._cached:
            self._cache.popitem(last=False)

    def _notice_trust(self) -> None:
        if self._keeper.trust is not self._trust:
            self._trust = self._keeper.trust
            check_revocations(self.offsets, self._trust)

    async def _believe(self, records: Sequence[Inbound]) -> tuple[list[Item], ChainGap | None]:
        items: list[Item] = []
        refreshed = False
        while len(items) < len(records):
            try:
                await self._believe_on(records, items, refreshed=refreshed)
            except ChainGap as gap:
                # What looks like a gap may be what a revocation took back; that has its own remedy.
                await self._keeper.catch_up()
                self._notice_trust()
                return items, gap
            if len(items) < len(records):
                # A signer may have been certified since partition 0 was read: look again, once per batch.
                refreshed = True
                await self._keeper.catch_up()
                self._notice_trust()
        return items, None

    async def _believe_on(self, records: Sequence[Inbound], items: list[Item], *, refreshed: bool) -> None:
        """Append to the items up to the end, or to the first record whose signer is not known, if that may change."""
        rest = records[len(items) :]
        for record, verdict in zip(rest, self._believer.accept_all(self._trust, rest), strict=True):
            if isinstance(verdict, UntrustedRecord) and not refreshed:
                return
            items.append(self._replay.judged(record, verdict, event_of))
            if len(items) % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _load(self, leaves: Sequence[Leaf]) -> dict[str, Entity | None]:
        """Everything that is cached counts as loaded; what is surely needed beyond is loaded at once."""
        loaded = dict(self._cache)
        missing = wanted(leaves) - loaded.keys()
        if missing:
            loaded.update(await self._fetch(missing))
        return loaded

    async def _fetch(self, names: set[str]) -> dict[str, Entity | None]:
        found = await self._store.load(names)
        self._cache.update(found)
        return found

    async def _add(self, fold: Fold, item: Item, loaded: dict[str, Entity | None]) -> None:
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
                loaded.update(await self._fetch({missing.name}))
            else:
                return
