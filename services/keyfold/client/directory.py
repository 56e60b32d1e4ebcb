"""The directory, as this client reads it: partition 0 wholly, aliases' partitions when first asked for.

What is believed, and in which order, is decided in `view`; this is the shell that reads and waits.
"""

import asyncio

from keyfold.bus import Bus
from keyfold.client.errors import DirectoryIncomplete
from keyfold.client.tail import Tail
from keyfold.client.view import View
from keyfold.events import topics
from keyfold.events.directory import directory_partition
from keyfold.events.errors import NotFound

_REFRESH_S = 5.0


class Directory:
    """Tails of the partitions in use, all folding into one `View`."""

    def __init__(self, bus: Bus, deployment: str, *, alias_wait_s: float) -> None:
        self.view = View(deployment)
        self._bus = bus
        self._alias_wait_s = alias_wait_s
        self._tails: dict[int, Tail] = {}
        self._opening: dict[int, asyncio.Task[Tail]] = {}

    async def start(self, timeout_s: float) -> None:
        """Read partition 0, and wait until it has a genesis of the pinned deployment and a sealing key."""
        try:
            async with asyncio.timeout(timeout_s):
                tail = await self._tail(0)
                while self.view.trust is None or self.view.sealing_key is None:
                    await tail.next_batch()
        except TimeoutError:
            raise DirectoryIncomplete(self._what_is_missing()) from None

    async def refresh(self, alias: str | None = None) -> None:
        """Read on to what is written now: sealing keys, and the alias if one is named."""
        for partition in {0} if alias is None else {0, self._place(alias)}:
            await (await self._tail(partition)).catch_up(_REFRESH_S)

    async def resolve(self, alias: str) -> str:
        """Return the key that an alias points to. Raises `NotFound` after a moment's patience for a late directory."""
        tail = await self._tail(self._place(alias))
        if (key_id := self.view.key_of(alias)) is not None:
            return key_id
        try:
            async with asyncio.timeout(self._alias_wait_s):
                while (key_id := self.view.key_of(alias)) is None:
                    await tail.next_batch()
        except TimeoutError:
            raise NotFound(f"{alias} is not in the directory; check the name, or create the alias") from None
        return key_id

    async def stop(self) -> None:
        """Stop all tails."""
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for tail in self._tails.values():
            await tail.stop()
        self._tails.clear()

    def _place(self, alias: str) -> int:
        return directory_partition(alias, self.view.partitions or 2)

    async def _tail(self, partition: int) -> Tail:
        """Return the tail of a partition, opened once: who waits for it goes on together, so that calls gather."""
        tail = self._tails.get(partition)
        if tail is not None:
            return tail
        opening = self._opening.get(partition)
        if opening is None:
            opening = self._opening[partition] = asyncio.create_task(self._open(partition))
            opening.add_done_callback(lambda done: self._opened(partition, done))
        return await asyncio.shield(opening)

    async def _open(self, partition: int) -> Tail:
        tail = Tail(self._bus, topics.DIRECTORY, partition, committed=True, deliver=self.view.offer)
        try:
            await tail.start_reading_all()
        except BaseException:
            await tail.stop()
            raise
        self._tails[partition] = tail
        return tail

    def _opened(self, partition: int, done: "asyncio.Task[Tail]") -> None:
        """Whoever waits has the error, and the next one tries again; nobody may wait any more."""
        self._opening.pop(partition, None)
        if not done.cancelled():
            done.exception()

    def _what_is_missing(self) -> str:
        if self.view.trust is None:
            return (
                f"the directory has no genesis of deployment {self.view.deployment[:16]}…; check the pinned "
                f"fingerprint and the brokers' address, and that the projector runs ({self.view.untrusted} records "
                "were not believed)"
            )
        return "the directory has no sealing key; check that the HSM worker and the projector run"
