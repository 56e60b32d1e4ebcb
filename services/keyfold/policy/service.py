"""Which partitions this process decides: it follows its membership and runs one processor for each.

Membership only says what is wanted; owning is what fencing gives. A partition whose log cannot be believed stops
alone, loudly, and stays stopped until the process is started again.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from keyfold.events import topics
from keyfold.events.signatures import Signer
from keyfold.logging import get_logger
from keyfold.policy.admission import Place
from keyfold.policy.answers import Answerer
from keyfold.policy.batch import Decider
from keyfold.policy.cedar import Authorizer
from keyfold.policy.processor import Parts, Processor
from keyfold.policy.state import State

GROUP: Final = "keyfold-policy"
_log = get_logger()


class Service:
    """All processors of this process, the registry follower and the membership."""

    def __init__(self, parts: Parts, signer: Signer, instance: str, ready: Callable[[], None]) -> None:
        self._parts, self._instance, self._ready = parts, instance, ready
        self._answerer = Answerer(parts.author.deployment, signer)
        self._authorizer = Authorizer()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.processors: dict[int, Processor] = {}

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._parts.follower.start()
        tail = asyncio.create_task(self._parts.follower.run())
        membership = self._parts.bus.membership(GROUP, topics.COMMANDS, f"policy-{self._instance}")
        await membership.start()
        change = asyncio.create_task(membership.wait_change())
        try:
            while True:
                await asyncio.wait({tail, change, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
                if tail.done():
                    tail.result()
                self._reap()
                if change.done():
                    await self._own(change.result())
                    change = asyncio.create_task(membership.wait_change())
        finally:
            change.cancel()
            tail.cancel()
            await self._own(frozenset())
            await asyncio.gather(tail, change, return_exceptions=True)
            await membership.stop()

    async def _own(self, wanted: frozenset[int]) -> None:
        gone = [self._tasks.pop(partition) for partition in list(self._tasks) if partition not in wanted]
        await _cancelled(gone)
        for partition in sorted(wanted - self._tasks.keys()):
            processor = Processor(partition, self._parts, self._decider_of(partition))
            self.processors[partition] = processor
            self._tasks[partition] = asyncio.create_task(processor.run(), name=f"policy-{partition}")
        if wanted:
            await asyncio.wait(
                [asyncio.create_task(self.processors[partition].running.wait()) for partition in wanted], timeout=30
            )
            self._ready()

    def _decider_of(self, partition: int) -> Callable[[State], Decider]:
        def make(_state: State) -> Decider:
            partitions = self._parts.follower.deployment_entity.partitions
            place = Place(self._parts.author.deployment, partition, partitions)
            registry = None if partition == 0 else self._parts.follower.view
            return Decider(place, registry, self._authorizer, self._answerer)

        return make

    def _reap(self) -> None:
        for partition, task in list(self._tasks.items()):
            if task.done() and not task.cancelled():
                error = task.exception()
                _log.critical("partition-stopped", partition=partition, reason=f"{type(error).__name__}: {error}")
                del self._tasks[partition]


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    pending = list(tasks)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
