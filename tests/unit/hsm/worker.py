"""A worker process on a deployment in memory, put together as its entry point does it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.unit.hsm.deployment import PARTITIONS, Deployment, signer
from tests.unit.hsm.exchange import Answer, Order
from tests.unit.hsm.stand_ins import MemoryCustody, MemorySealing

from keyfold.bus import MemoryBus
from keyfold.custody import Capabilities, HandleCache, InMemory, MaterialProvider, MemoryOperations, Operations
from keyfold.hsm.answers import Answers
from keyfold.hsm.capabilities_duty import CapabilitiesDuty
from keyfold.hsm.control_verbs import ControlVerbs
from keyfold.hsm.data_verbs import DataVerbs
from keyfold.hsm.dispatcher import Dispatcher
from keyfold.hsm.engine import Engine
from keyfold.hsm.keyring import Keyring
from keyfold.hsm.partition import Parts
from keyfold.hsm.sealing_duties import SealingDuties
from keyfold.hsm.settings import HsmSettings
from keyfold.hsm.supervisor import PartitionWorker
from keyfold.log import Author, DeadLetters, RegistryFollower

SETTINGS = HsmSettings(
    poll_s=0.05, token_retry_s=0.2, first_retry_s=0.005, longest_retry_s=0.02, sealing_key_wait_s=0.2
)


@dataclass
class Worker:
    """One worker process: its parts, and a task for each partition."""

    parts: Parts
    custody: Any
    sealing: Any
    deployment: Deployment
    workers: dict[int, PartitionWorker] = field(default_factory=dict)
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    def own(self, *partitions: int) -> None:
        for partition in partitions:
            self.workers[partition] = PartitionWorker(partition, self.parts)
            self.tasks[partition] = asyncio.create_task(self.workers[partition].run())

    async def owned(self, *partitions: int) -> None:
        self.own(*partitions)
        async with asyncio.timeout(5):
            for partition in partitions:
                await self.workers[partition].running.wait()

    async def finished(self, *orders: Order, replied: bool = True) -> None:
        """Wait until every order has its outcome, and (unless told otherwise) a reply."""
        async with asyncio.timeout(10):
            for order in orders:
                while not any(
                    outcome.data.command_id == order.command_id
                    for outcome in self.deployment.outcomes(Deployment.partition(order))
                ):
                    await self._breathe(Deployment.partition(order))
                while replied and not self.deployment.replies(order):
                    await self._breathe(Deployment.partition(order))

    async def execute(self, *orders: Order) -> list[Answer]:
        """Submit orders of one partition together; return their answers."""
        await self.deployment.submit(*orders)
        await self.finished(*orders)
        return [self.deployment.reply(order) for order in orders]

    async def _breathe(self, partition: int) -> None:
        task = self.tasks.get(partition)
        if task is not None and task.done():
            task.result()
        await asyncio.sleep(0.002)

    async def stop(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


@asynccontextmanager
async def worker(
    deployment: Deployment,
    *,
    custody: Any = None,
    sealing: Any = None,
    providers: Mapping[Any, MaterialProvider] | None = None,
    operations: Mapping[Any, Operations] | None = None,
    capabilities: Callable[[], Capabilities] | None = None,
    settings: HsmSettings = SETTINGS,
    own: Iterable[int] = (),
    bus: MemoryBus | None = None,
) -> AsyncIterator[Worker]:
    """Run a worker process. Stopping it is like a crash: only the log remains, and the tokens."""
    bus = bus or MemoryBus(deployment.cluster)
    custody, sealing = custody or MemoryCustody(), sealing or MemorySealing()
    follower, sender = RegistryFollower(bus, deployment.id), bus.sender()
    author = Author(deployment.id, "hsm", signer("hsm").fingerprint, signer("hsm").sign)
    keyring = Keyring(bus, follower, sealing, PARTITIONS, lambda: deployment.now)
    cache = HandleCache(100)
    providers = providers or {"HSM": InMemory(custody.derived), "SOFTWARE": InMemory(custody.derived)}
    verbs = ControlVerbs(custody, cache, sealing, lambda: str(uuid4()))
    operations = operations or {"HSM": MemoryOperations(), "SOFTWARE": MemoryOperations()}
    data_verbs = DataVerbs(custody, cache, providers, operations, sealing_keys=keyring, clock_ms=lambda: deployment.now)
    engine = Engine(keyring, data_verbs, verbs, Answers(author), lambda: deployment.now)
    found = capabilities or (lambda: Capabilities("Memory 1.0", (), {}))
    with ThreadPoolExecutor(1) as threads:
        parts = Parts(
            bus, author, follower, keyring, Dispatcher(engine, threads, settings), cache,
            SealingDuties(sealing, verbs.token, lambda: deployment.now), sender, DeadLetters(sender, "hsm"), settings,
            PARTITIONS, custody, CapabilitiesDuty(found, lambda: deployment.now), lambda: deployment.now,
        )  # fmt: skip
        await sender.start()
        await follower.start()
        await keyring.start()
        tail = asyncio.create_task(follower.run())
        made = Worker(parts, custody, sealing, deployment)
        try:
            await made.owned(*own)
            yield made
        finally:
            await made.stop()
            tail.cancel()
            await asyncio.gather(tail, return_exceptions=True)
            for part in (keyring, follower, sender):
                with suppress(Exception):
                    await part.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so; at most five seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)
