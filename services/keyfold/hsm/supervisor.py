"""Keeps one partition going: takes it over, runs it, and takes it over again after whatever went wrong.

What the log itself says is wrong (a gap, a lost position, a corrupt state or keystore) is not tried again: the
partition stops, loudly and alone, until somebody acts and the process starts anew. Everything else is restored after
a pause.
"""

import asyncio
from typing import Final

from keyfold.bus import PositionLost
from keyfold.events.chains import ChainGap
from keyfold.events.errors import KeyfoldError
from keyfold.hsm import metrics
from keyfold.hsm.errors import KeystoreBroken
from keyfold.hsm.isolation import Isolation
from keyfold.hsm.partition import Partition, Parts
from keyfold.hsm.restore import Restorer
from keyfold.log import StateCorrupt
from keyfold.logging import get_logger

STOPPING: Final = (ChainGap, PositionLost, StateCorrupt, KeystoreBroken)
_log = get_logger()


class PartitionWorker:
    """One per wanted partition. `running` is set while it is owned; `committed` is its last durable position."""

    def __init__(self, partition: int, parts: Parts) -> None:
        self._number, self._parts = partition, parts
        self._restorer = Restorer(parts.bus, parts.follower, parts.author, parts.partitions)
        self._isolation = Isolation(parts.settings.aborts_before_isolation)
        self._owned: Partition | None = None
        self.running = asyncio.Event()

    @property
    def stepped_s(self) -> float | None:
        """When its loop last came round (monotonic); None while it is not owned, or waits for the token."""
        waits = self._parts.dispatcher.watch.is_down
        return None if self._owned is None or waits or not self.running.is_set() else self._owned.stepped_s

    @property
    def committed(self) -> int:
        """Every ticket below this offset has its outcome; 0 while that is not known."""
        return 0 if self._owned is None else self._owned.position

    async def run(self) -> None:
        """Work until cancelled. Raises what only an operator can cure, after which the partition stays stopped."""
        settings = self._parts.settings
        pause = settings.first_retry_s
        while True:
            try:
                await self._own()
            except STOPPING:
                metrics.STOPPED.labels(self._number).set(1)
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the log knows what is true: restore
                self._note(error)
                pause = settings.first_retry_s if self._worked() else pause
            metrics.RESTORES.labels(self._number).inc()
            await asyncio.sleep(pause)
            pause = min(2 * pause, settings.longest_retry_s)

    async def _own(self) -> None:
        self._owned = None
        live = await self._restorer.take_over(self._number)
        try:
            # A draft that was dropped may have opened keys that the log does not know.
            await self._parts.dispatcher.call(self._parts.cache.clear)
            partition = Partition(self._parts, live, self._isolation, self._number)
            # What follows asks the token: while it is down, restoring again and again would not bring it back.
            await self._parts.dispatcher.watch.available()
            await partition.adopt_epoch()
            if self._number == 0:
                await partition.first_duties()
            self._owned = partition
            metrics.STOPPED.labels(self._number).set(0)
            self.running.set()
            _log.info("partition-owned", partition=self._number, position=live.heads.position)
            await partition.run()
        finally:
            self.running.clear()
            await live.stop()

    def _worked(self) -> bool:
        return self._owned is not None and self._owned.batches > 0

    def _note(self, error: Exception) -> None:
        known = isinstance(error, KeyfoldError)
        reason = str(error) if known else type(error).__name__
        code = error.code if isinstance(error, KeyfoldError) else "Unexpected"
        _log.warning("partition-restored-again", partition=self._number, code=code, reason=reason)
