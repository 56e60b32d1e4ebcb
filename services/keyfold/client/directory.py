"""The directory, as this client reads it: partition 0 wholly, those of aliases and keys when first asked for.

What is believed, and in which order, is decided in `view`; this is the shell that reads and waits.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from keyfold.bus import Bus
from keyfold.client.errors import DirectoryIncomplete
from keyfold.client.public_keys import PublicKey
from keyfold.client.tail import Tail
from keyfold.client.view import View
from keyfold.events import topics
from keyfold.events.directory import directory_partition, public_key_name
from keyfold.events.errors import NotFound
from keyfold.events.streams import key_stream

_REFRESH_S: Final = 5.0
T = TypeVar("T")


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
        found = await self._find(alias, lambda: self.view.key_of(alias))
        if found is None:
            raise NotFound(f"{alias} is not in the directory; check the name, or create the alias")
        return found

    async def public_key(self, key_id: str, version: int | None) -> PublicKey:
        """Return the public half of a key's version, None for the current one. Raises `NotFound`, as `resolve` does."""
        if version is not None and (known := self.view.public_key(key_id, version)) is not None:
            return known
        name = key_stream(key_id) if version is None else public_key_name(key_id, version)
        found = await self._find(name, lambda: self.view.public_key(key_id, version))
        if found is None:
            what = "key" if version is None else f"version {version} of key"
            raise NotFound(f"no public {what} {key_id} is in the directory; symmetric keys have none, others are late")
        return found

    async def stop(self) -> None:
        """Stop all tails."""
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for tail in self._tails.values():
            await tail.stop()
        self._tails.clear()

    async def _find(self, name: str, known: Callable[[], T | None]) -> T | None:
        """Read the partition of a name, and on for a moment where it does not say what is asked for."""
        tail = await self._tail(self._place(name))
        if (found := known()) is not None:
            return found
        try:
            async with asyncio.timeout(self._alias_wait_s):
                while (found := known()) is None:
                    await tail.next_batch()
        except TimeoutError:
            return None
        return found

    def _place(self, name: str) -> int:
        return directory_partition(name, self.view.partitions or 2)

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
