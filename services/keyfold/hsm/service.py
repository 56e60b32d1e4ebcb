"""The worker process put together from its parts: follower, keyring, membership, one worker for each partition."""

import asyncio
from collections.abc import Callable
from typing import Final

from keyfold.bus import Bus, PositionLost
from keyfold.events import topics
from keyfold.events.errors import KeyfoldError
from keyfold.hsm.errors import KeystoreBroken
from keyfold.hsm.partition import Parts
from keyfold.hsm.supervisor import PartitionWorker
from keyfold.log import Ownership
from keyfold.logging import get_logger

GROUP: Final = "keyfold-hsm"
_log = get_logger()


class Service:
    """All partition workers of this process; the follower and the keyring must have started."""

    def __init__(self, parts: Parts, instance: str, ready: Callable[[], None]) -> None:
        self._parts = parts
        membership = parts.bus.membership(GROUP, topics.AUTHORIZED, f"hsm-{instance}")
        self.workers: dict[int, PartitionWorker] = {}
        self.ownership = Ownership(membership, parts.follower, self._worker, ready)

    async def run(self) -> None:
        """Serve until cancelled. Raises what breaks the registry."""
        beside = [asyncio.create_task(work) for work in (self._follow_keys(), self._trim(self._parts.bus))]
        try:
            await self.ownership.run()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _follow_keys(self) -> None:
        """Tail the sealing keys. If that log cannot be believed, what is known goes on opening bodies."""
        try:
            await self._parts.keyring.run()
        except (KeystoreBroken, PositionLost) as error:
            _log.critical("sealing-keys-not-followed", code=error.code, reason=str(error))

    def _worker(self, partition: int) -> PartitionWorker:
        self.workers[partition] = PartitionWorker(partition, self._parts)
        return self.workers[partition]

    async def _trim(self, bus: Bus) -> None:
        """Delete tickets that every transaction has passed: they hold sealed bodies that nobody needs again."""
        while True:
            await asyncio.sleep(self._parts.settings.trim_after_s)
            admin = bus.admin()
            try:
                await admin.start()
                for partition, worker in self.workers.items():
                    if worker.committed:
                        await admin.delete_records(topics.AUTHORIZED, partition, worker.committed)
            except KeyfoldError as error:
                _log.warning("tickets-not-trimmed", code=error.code, reason=str(error))
            finally:
                await admin.stop()
