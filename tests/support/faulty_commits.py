"""Worker processes that die by one of their commits: it is lost, landed but not reported, or left hanging.

A process that dies learns nothing of what became of its transaction; its successor has the log and the tokens only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

from tests.unit.hsm.deployment import PARTITIONS, Deployment
from tests.unit.hsm.exchange import Order
from tests.unit.hsm.worker import SETTINGS, Worker

from keyfold.bus import Fault

IN_DOUBT = [Fault.LOST, Fault.LANDED, Fault.HANGING]
DYING = SETTINGS.model_copy(update={"first_retry_s": 60, "longest_retry_s": 60, "batch_tickets": 1})
Start = Callable[..., AbstractAsyncContextManager[Worker]]


@contextmanager
def trap(deployment: Deployment, partition: int, fault: Fault, place: int = 0) -> Iterator[asyncio.Event]:
    """Let the commit with this number, from 0, of a partition meet a fault; the event says when it did."""
    sprung, seen, wanted = asyncio.Event(), 0, f"keyfold-hsm-{partition}"
    cluster = deployment.cluster
    take = cluster.take_fault

    def taken(asked: str) -> Fault | None:
        nonlocal seen
        if asked == wanted and not sprung.is_set():
            seen += 1
            if seen > place:
                sprung.set()
                return fault
        return take(asked)

    cluster.__dict__["take_fault"] = taken
    try:
        yield sprung
    finally:
        del cluster.__dict__["take_fault"]


async def die(
    start: Start,
    deployment: Deployment,
    partition: int,
    fault: Fault,
    act: Callable[[], Awaitable[object]],
    place: int = 0,
) -> None:
    """Run a process that owns one partition and dies by its next commit (or the one with this number) after `act`."""
    async with start(deployment, settings=DYING) as running:
        with trap(deployment, partition, fault, place) as sprung:
            running.own(partition)
            await act()
            async with asyncio.timeout(60):
                await sprung.wait()
            # The process still hears of it; what it does then is the same as dying, its retries being far away.
            await asyncio.sleep(0.01)


async def crash(start: Start, deployment: Deployment, fault: Fault, order: Order) -> None:
    """Let a process die by the commit of an order; its successor has done it when this returns."""
    partition = deployment.partition(order)
    await die(start, deployment, partition, fault, lambda: deployment.submit(order))
    async with start(deployment, own=range(PARTITIONS)) as running, asyncio.timeout(60):
        while not any(o.data.command_id == order.command_id for o in deployment.outcomes(partition)):
            await asyncio.sleep(0.01)
        await running.finished(order, replied=False)
