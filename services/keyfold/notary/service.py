"""The notary process put together from its parts: trust, membership, and the one notary while it is wanted here."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from keyfold.bus import Membership
from keyfold.events import topics
from keyfold.notary.notary import Notary, Parts

GROUP: Final = "keyfold-notary"


class Service:
    """Follows root and its membership, and works while the one partition of the checkpoints topic is its own.

    Others of the group stand by. Owning is what the writer's fencing gives; membership only says who should.
    """

    def __init__(self, parts: Parts, instance: str, ready: Callable[[], None]) -> None:
        self._parts, self._ready = parts, ready
        self._membership: Membership = parts.bus.membership(GROUP, topics.CHECKPOINTS, f"notary-{instance}")
        self.notary = Notary(parts)

    @property
    def is_wanted(self) -> bool:
        """Whether this is the process that should work."""
        return 0 in self._membership.wanted

    async def run(self) -> None:
        """Serve until cancelled. Raises what only an operator can cure."""
        await self._membership.start()
        follow = asyncio.create_task(self._parts.keeper.follow(self._parts.settings.trust_interval_s))
        announce = asyncio.create_task(self._announce())
        change = asyncio.create_task(self._membership.wait_change())
        work: asyncio.Task[None] | None = None
        try:
            while True:
                waiting = {task for task in (follow, change, announce, work) if task is not None and not _is_over(task)}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in (follow, announce, work):
                    if task is not None and task.done():
                        task.result()
                if change.done():
                    work = await self._want(0 in change.result(), work)
                    change = asyncio.create_task(self._membership.wait_change())
        finally:
            await _cancelled(follow, change, announce, work)
            await self._membership.stop()

    async def _want(self, wanted: bool, work: asyncio.Task[None] | None) -> asyncio.Task[None] | None:
        if wanted and work is None:
            return asyncio.create_task(self.notary.run())
        if not wanted:
            await _cancelled(work)
            return None
        return work

    async def _announce(self) -> None:
        """Say ready once: when all of the log as it was at the start is read for the first time."""
        await self.notary.caught_up.wait()
        self._ready()


def _is_over(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _cancelled(*tasks: asyncio.Task[Any] | None) -> None:
    pending = [task for task in tasks if task is not None]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
