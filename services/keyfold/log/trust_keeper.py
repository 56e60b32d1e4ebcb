"""Keeps the trust of this process up to date: root's statements on events partition 0, from one pinned fingerprint.

It looks at root's records only, whose chain is checked like any other; whoever else writes to partition 0 cannot
change trust. Partition 0 as a projection is a worker's business, like every other partition.
"""

import asyncio

from keyfold.bus import Bus, BusUnavailable, Inbound, Reader
from keyfold.events import topics
from keyfold.events.chains import ChainRepeat
from keyfold.events.errors import KeyfoldError, RecordError
from keyfold.events.statements import UntrustedRecord
from keyfold.events.trust import Trust
from keyfold.log.root_chain import PartitionsDiffer, RootChain
from keyfold.logging import get_logger

_log = get_logger()


class TrustBroken(KeyfoldError):
    """Root's own chain has a gap, or genesis is not what the settings say: nothing can be believed."""

    code = "TrustBroken"


class NoGenesis(BusUnavailable):
    """The log is still empty."""

    code = "NoGenesis"


class TrustKeeper:
    """The one reader of root's statements in this process."""

    def __init__(self, bus: Bus, deployment: str, partitions: int) -> None:
        self._bus = bus
        self._chain = RootChain(deployment, partitions)
        self._reader: Reader | None = None
        self._position = 0
        self._lock = asyncio.Lock()

    @property
    def trust(self) -> Trust:
        """What is known now. Raises `NoGenesis` before the log has a genesis."""
        if self._chain.trust is None:
            raise NoGenesis("the log has no genesis yet; run `keyfold init`")
        return self._chain.trust

    async def catch_up(self) -> Trust:
        """Read partition 0 to its end as it is now, and return the trust then."""
        async with self._lock:
            try:
                reader = await self._started()
                async for records in reader.read_to_end():
                    for record in records:
                        self._fold(record)
                self._position = reader.position()
            except BaseException:
                await self._drop()
                raise
        return self.trust

    async def follow(self, interval_s: float) -> None:
        """Catch up again and again, so that a revocation arrives everywhere; runs until it is cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.catch_up()
            except KeyfoldError as error:
                if not error.retriable:
                    raise
                _log.warning("trust-not-refreshed", code=error.code, reason=str(error))

    async def stop(self) -> None:
        """Release the reader."""
        await self._drop()

    async def _started(self) -> Reader:
        if self._reader is None:
            reader = self._bus.reader(topics.EVENTS, 0, committed=True)
            await reader.start(self._position)
            self._reader = reader
        return self._reader

    async def _drop(self) -> None:
        """The fold may be ahead of `_position`; reading a record again is a repeat, which is harmless here."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.stop()

    def _fold(self, record: Inbound) -> None:
        if not self._chain.claims(record):
            return
        try:
            self._chain.accept(record)
        except (UntrustedRecord, ChainRepeat) as error:
            _log.warning("root-record-refused", offset=record.offset, code=error.code, reason=str(error))
        except PartitionsDiffer as error:
            raise TrustBroken(
                f"genesis fixed {error.fixed} partitions, the settings say {error.told}; correct the settings"
            ) from None
        except RecordError as error:
            raise TrustBroken(f"root's chain breaks at offset {record.offset}: {error}") from None
