"""From records to a batch: believes each, asks for newer trust once, and folds.

Everything it holds is a draft until the batch is applied; after any error the whole object is dropped and made anew
from the stored offsets.
"""

import asyncio
from collections.abc import Sequence

from keyfold.bus import Inbound
from keyfold.events.chains import ChainGap
from keyfold.events.statements import UntrustedRecord
from keyfold.log import TrustKeeper
from keyfold.log.believing import Believer, begin_of_last_statement, event_of
from keyfold.projections import folding
from keyfold.projections.fold import Batch
from keyfold.projections.ports import PartitionStore
from keyfold.projections.positions import Offsets, check_revocations
from keyfold.projections.replay import Item, Replay


class Folding:
    """One partition in one schema, from its stored offsets on."""

    def __init__(
        self, keeper: TrustKeeper, store: PartitionStore, partitions: int, offsets: Offsets, *, cached: int
    ) -> None:
        self._keeper = keeper
        self._believer = Believer(offsets.partition, partitions)
        self._replay = Replay(partitions, offsets, self._believer)
        self._trust = keeper.trust
        self._held: list[Inbound] = []
        self._folding = folding.Folding(store, cached=cached)
        self.offsets = offsets
        check_revocations(offsets, self._trust)

    async def fold(
        self, records: Sequence[Inbound], position: int, *, more: bool = False
    ) -> tuple[Batch, ChainGap | None]:
        """Return the batch of these records; where there is a gap, of those before it, and the gap.

        `position` is where the reader stands. Where there is `more` to come, records whose statement may go on wait for
        the rest of it: a statement that is whole is believed with much less work. Raises `StateMismatch` and
        `RebuildNeeded`.
        """
        self._notice_trust()
        records = [*self._held, *records]
        cut = begin_of_last_statement(records) if more else len(records)
        records, self._held = (records[:cut], records[cut:]) if cut else (records, [])
        if self._held:
            position = self._held[0].offset
        items, gap = await self._believe(records)
        fold = await self._folding.fold(self.offsets, items)
        return fold.batch(self._replay.chains.places, None if gap else position), gap

    def promote(self, batch: Batch) -> None:
        """Fold on from this batch. The one before it must be applied."""
        self.offsets = batch.after
        self._folding.promote(batch)

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
            if len(items) % folding.YIELD_EVERY == 0:
                await asyncio.sleep(0)
