"""Which partitions a process works on: it follows its membership and runs one task for each.

Membership only says what is wanted; owning is what a writer's fencing gives. A partition whose log cannot be believed
stops alone, loudly, and stays stopped until the process is started again. It knows nothing of what the work is.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from keyfold.bus import Membership
from keyfold.log.registry import RegistryFollower
from keyfold.logging import get_logger

_log = get_logger()


class Runner(Protocol):
    """One partition's work. `running` is set while it is owned; `run` returns only by an error nothing here cures.

    `stepped_s` is when its loop last came round (monotonic), None while there is none or it waits for others.
    """

    running: asyncio.Event

    @property
    def stepped_s(self) -> float | None: ...

    async def run(self) -> None: ...


class Ownership:
    """Runs the wanted partitions of one process until cancelled."""

    def __init__(
        self,
        membership: Membership,
        follower: RegistryFollower,
        make: Callable[[int], Runner],
        ready: Callable[[], None],
    ) -> None:
        self._membership, self._follower, self._make, self._ready = membership, follower, make, ready
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stopped: set[int] = set()
        self._told_ready = False
        self.runners: dict[int, Runner] = {}

    @property
    def working(self) -> Mapping[int, Runner]:
        """What runs now, owned already or not, by partition."""
        return {partition: self.runners[partition] for partition in self._tasks}

    @property
    def stopped(self) -> frozenset[int]:
        """The partitions that stay stopped until this process is started again."""
        return frozenset(self._stopped)

    async def run(self) -> None:
        """Serve until cancelled; the follower must have started. Raises what breaks the registry."""
        await self._membership.start()
        tail = asyncio.create_task(self._follower.run())
        change = asyncio.create_task(self._membership.wait_change())
        announce = asyncio.create_task(self._announce(frozenset()))
        try:
            while True:
                await asyncio.wait({tail, change, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
                if tail.done():
                    tail.result()
                self._reap()
                if change.done():
                    wanted = change.result()
                    await self._want(wanted)
                    await _cancelled([announce])
                    announce = asyncio.create_task(self._announce(wanted))
                    change = asyncio.create_task(self._membership.wait_change())
        finally:
            await _cancelled([tail, change, announce, *self._tasks.values()])
            await self._membership.stop()

    async def _want(self, wanted: frozenset[int]) -> None:
        await _cancelled([self._tasks.pop(partition) for partition in list(self._tasks) if partition not in wanted])
        for partition in sorted(wanted - self._tasks.keys() - self._stopped):
            self.runners[partition] = self._make(partition)
            self._tasks[partition] = asyncio.create_task(self.runners[partition].run())

    async def _announce(self, wanted: frozenset[int]) -> None:
        """Say ready once, when every wanted partition is owned or has stopped, and one at least is owned.

        A partition that stopped has said so itself. Waiting for it would take the others down too: who is never ready
        is stopped by who started it.
        """
        if self._told_ready or not any(await asyncio.gather(*(self._owned(partition) for partition in wanted))):
            return
        self._told_ready = True
        self._ready()

    async def _owned(self, partition: int) -> bool:
        """Wait until a partition is owned or its task has ended; tell which."""
        task, running = self._tasks.get(partition), self.runners[partition].running
        if task is None:
            return False
        owned = asyncio.create_task(running.wait())
        try:
            await asyncio.wait({task, owned}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            owned.cancel()
        return running.is_set()

    def _reap(self) -> None:
        for partition, task in list(self._tasks.items()):
            if not task.done():
                continue
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            _log.critical("partition-stopped", partition=partition, reason=f"{type(error).__name__}: {error}")
            self._stopped.add(partition)
            del self._tasks[partition]


async def _cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    pending = list(tasks)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
