"""What the notary reads of one partition in a round: every committed record becomes a leaf, authentic or not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from keyfold.bus import Inbound, PositionLost, Reader
from keyfold.events.chains import ChainGap
from keyfold.events.errors import KeyfoldError, RecordError
from keyfold.events.statements import UntrustedRecord
from keyfold.log import TrustKeeper
from keyfold.log.believing import leaves_of
from keyfold.logging import get_logger
from keyfold.notary.checking import Checker
from keyfold.notary.errors import LogContradictsHead, LogEndsEarly
from keyfold.notary.position import Batch, Position, Restored, Run, advance

_COMPANIONS_S: Final = 0.02
"""How long a partition that had something is asked for more: what came since its last fetch is on its way."""

_YIELD_EVERY: Final = 200
_log = get_logger()
Report = Callable[[Inbound, str], Awaitable[None]]


class Budget:
    """How many records a round may still read, of all partitions together, and of one at once.

    Partitions read beside each other, so a round may read a little more: what each had asked for already.
    """

    def __init__(self, records: int, at_once: int) -> None:
        self.left, self._at_once = records, at_once

    @property
    def most(self) -> int:
        """How many to ask for now; 0 when the round is full."""
        return max(0, min(self.left, self._at_once))


class Feed:
    """One partition: the committed position, and the draft behind it. `trouble` says why it is not signed any more."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        restored: Restored,
        reader: Reader,
        report: Report,
    ) -> None:
        position = restored.position
        self.partition, self.position, self.expected = partition, position, restored.expected
        self.stored = restored.stored
        self._reader, self._report = reader, report
        self._checker = Checker(partition, partitions, position.places, position.signers)
        self._leaves: list[bytes] = []
        self._offsets: list[int] = []
        self._untrusted = 0
        self._until = 0
        self.trouble: KeyfoldError | None = None
        self._short_since: float | None = None
        self._short: LogEndsEarly | None = None

    @property
    def complaint(self) -> str | None:
        """The code of what is wrong with the partition, if anything is."""
        wrong = self.trouble or self._short
        return None if wrong is None else wrong.code

    async def start(self) -> None:
        """Stand at the position. A log that does not have it, or contradicts what was signed, stops this partition."""
        try:
            advance(self.partition, self.position, self._batch(), self.expected)
            await self._reader.start(self.position.next)
            self._until = await self._reader.end_offset()
        except (PositionLost, LogContradictsHead) as error:
            self.stop_for(error)

    async def stop(self) -> None:
        """Release the reader."""
        await self._reader.stop()

    def stop_for(self, error: KeyfoldError) -> None:
        """Stop this partition alone, loudly, until the process starts anew."""
        self.trouble = error
        _log.critical("partition-stopped", partition=self.partition, code=error.code, reason=str(error))

    async def read(self, keeper: TrustKeeper, budget: Budget) -> None:
        """Add what is there now to the draft."""
        wait_s = 0.0
        while self.trouble is None and budget.most:
            try:
                records = await self._reader.poll(wait_s, budget.most)
            except PositionLost as error:
                self.stop_for(error)
                return
            if not records:
                return
            budget.left -= len(records)
            wait_s = _COMPANIONS_S
            await self._take(keeper, records)

    async def _take(self, keeper: TrustKeeper, records: list[Inbound]) -> None:
        trust, asked = keeper.trust, False
        verdicts = self._checker.believe(trust, records)
        for at, (record, leaf) in enumerate(zip(records, leaves_of(records), strict=True)):
            verdict = next(verdicts)
            if isinstance(verdict, UntrustedRecord) and not asked:
                # Its signer may have been certified since partition 0 was read: look again, once for a batch.
                before, trust, asked = trust, await keeper.catch_up(), True
                if trust is not before:
                    verdicts = self._checker.believe(trust, records[at:])
                    verdict = next(verdicts)
            refused = verdict if isinstance(verdict, RecordError) else self._checker.refusal(verdict)
            if isinstance(refused, ChainGap) and self._size >= self.expected.floor:
                self.stop_for(refused)
                return
            # A gap below the signed head is not new; whether the log was changed there, its root will say.
            if refused is not None:
                await self._tell(record, refused)
            self._leaves.append(leaf)
            self._offsets.append(record.offset)
            if (at + 1) % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _tell(self, record: Inbound, error: RecordError) -> None:
        """Report a record. Of many, the log has one line for each round; dead letters are limited by themselves."""
        self._untrusted += 1
        if self._untrusted == 1:
            _log.error(
                "record-not-authentic",
                partition=self.partition, offset=record.offset, leaf=self._size,
                code=error.code, reason=str(error), advice="find out who can write to keyfold.events",
            )  # fmt: skip
        await self._report(record, f"{error.code}: {error}")

    @property
    def _size(self) -> int:
        """How many leaves the draft's tree has."""
        return self.position.tree.size + len(self._leaves)

    @property
    def drafted(self) -> int:
        """How many leaves the draft has."""
        return len(self._leaves)

    def has_caught_up(self) -> bool:
        """Tell whether the log is read as far as it went at the start. A partition that has stopped reads no more."""
        return self.trouble is not None or self._reader.position() >= self._until

    def has_reached(self, size: int) -> bool:
        """Tell whether a tree of this size has led to all that was signed."""
        return self.trouble is None and size >= self.expected.floor

    def draft(self) -> tuple[Position, list[Run]]:
        """Return the position behind the draft and its runs. Raises `LogContradictsHead`."""
        return advance(self.partition, self.position, self._batch(), self.expected)

    def forget(self) -> None:
        """Drop the draft of a partition that has stopped."""
        self._leaves, self._offsets, self._untrusted = [], [], 0

    def look_for_end(self, now_s: float, patience_s: float) -> None:
        """Say so where the log has ended for a while before the head that was signed of it (monotonic seconds)."""
        size = self._size
        if self.trouble or self._leaves or size >= self.expected.floor:
            self._short_since, self._short = None, None
        elif self._short_since is None:
            self._short_since = now_s
        elif self._short is None and now_s - self._short_since >= patience_s:
            self._short = LogEndsEarly(self.partition, size, self.expected.floor)
            _log.critical("log-ends-early", partition=self.partition, code=self._short.code, reason=str(self._short))

    def promote(self, position: Position, stored: bytes) -> None:
        """The draft is committed. If we crash before, it is read again."""
        self.position, self.stored = position, stored
        self._leaves, self._offsets, self._untrusted = [], [], 0

    def _batch(self) -> Batch:
        untrusted = self.position.untrusted + self._untrusted
        return Batch(self._leaves, self._offsets, self._checker.places, self._checker.signers, untrusted)
