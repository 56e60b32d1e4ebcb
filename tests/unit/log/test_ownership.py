"""Which partitions a process works on: follows its membership, stops what cannot be believed, says when it is ready."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.deployment import Deployment, until
from tests.support.people import DEPLOYMENT

from keyfold.log import Ownership, RegistryBroken, RegistryFollower


class Membership:
    """A membership whose wanted set a test decides."""

    def __init__(self) -> None:
        self.wanted = frozenset[int]()
        self.stopped = False
        self._told = frozenset[int]()
        self._changed = asyncio.Event()

    async def start(self) -> None: ...

    def want(self, *partitions: int) -> None:
        self.wanted = frozenset(partitions)
        self._changed.set()

    async def wait_change(self, known: frozenset[int] | None = None) -> frozenset[int]:
        while self.wanted == self._told:
            self._changed.clear()
            await self._changed.wait()
        self._told = self.wanted
        return self.wanted

    async def stop(self) -> None:
        self.stopped = True


class Worker:
    """A runner that runs until it is told to fail."""

    def __init__(self, partition: int, *, starts: bool = True) -> None:
        self.partition, self.starts = partition, starts
        self.running = asyncio.Event()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = False

    async def run(self) -> None:
        try:
            if self.starts:
                self.running.set()
            await self.failure
        finally:
            self.running.clear()
            await asyncio.sleep(0)
            self.ended = True


class House:
    """An ownership with everything that it needs."""

    def __init__(self, follower: RegistryFollower, late: frozenset[int]) -> None:
        self.membership, self.follower, self.late = Membership(), follower, late
        self.made: list[Worker] = []
        self.told = 0
        self.ownership = Ownership(self.membership, follower, self._make, self._ready)

    def _make(self, partition: int) -> Worker:
        self.made.append(Worker(partition, starts=partition not in self.late))
        return self.made[-1]

    def _ready(self) -> None:
        self.told += 1

    def working(self) -> set[int]:
        return {worker.partition for worker in self.made if not worker.ended}

    async def wants(self, *partitions: int) -> None:
        self.membership.want(*partitions)
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def house(*late: int) -> AsyncIterator[tuple[House, "asyncio.Task[None]"]]:
    deployment = Deployment()
    await deployment.begin()
    follower = RegistryFollower(deployment.bus, DEPLOYMENT)
    await follower.start()
    before = asyncio.all_tasks()
    made = House(follower, frozenset(late))
    task = asyncio.create_task(made.ownership.run())
    try:
        yield made, task
    finally:
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0.01)
        assert not {each for each in asyncio.all_tasks() - before if not each.done()}, "tasks leaked"
        assert all(worker.ended for worker in made.made)
        assert made.membership.stopped


async def test_it_follows_its_membership() -> None:
    """Wanted partitions run, others are ended before new ones begin; what stays is left alone."""
    async with house() as (made, _):
        await made.wants(0, 1)
        assert made.working() == {0, 1}
        await made.wants(1, 2)
        assert made.working() == {1, 2}
        assert [worker.partition for worker in made.made] == [0, 1, 2]
        await made.wants()
        assert made.working() == set()
        await made.wants(0)
        assert made.working() == {0}


async def test_a_stopped_partition_stays_stopped() -> None:
    """A partition whose work failed stops alone and is not begun again, whatever the membership says later."""
    async with house() as (made, task):
        await made.wants(0, 1)
        made.made[0].failure.set_exception(ValueError("the log has a gap"))
        await asyncio.sleep(0.01)
        assert made.working() == {1}
        await made.wants(0, 1, 2)
        assert made.working() == {1, 2}
        await made.wants(1)
        await made.wants(0, 1)
        assert made.working() == {1}
        assert not task.done()


@pytest.mark.parametrize("how", ["cancelled", "returned"])
async def test_work_that_ends_in_another_way(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that ends without an error counts as stopped too; nothing spins over what is left of it."""
    async with house() as (made, _):
        await made.wants(0, 1)
        if how == "cancelled":
            made.made[0].failure.cancel()
        else:
            made.made[0].failure.set_result(None)
        await asyncio.sleep(0.01)
        waits = 0
        wait = asyncio.wait

        async def counted(*given: Any, **options: Any) -> Any:
            nonlocal waits
            waits += 1
            return await wait(*given, **options)

        monkeypatch.setattr(asyncio, "wait", counted)
        await asyncio.sleep(0.05)
        monkeypatch.undo()
        assert waits < 5, "it spins"
        assert made.working() == {1}


async def test_ready_once_everything_is_owned() -> None:
    """It is ready when all that was wanted is owned, and says so once."""
    async with house(1) as (made, _):
        await made.wants(0, 1)
        assert made.told == 0
        made.made[1].running.set()
        await until(lambda: made.told == 1)
        await made.wants(0, 1, 2)
        await asyncio.sleep(0.01)
        assert made.told == 1


async def test_waiting_to_be_ready_holds_nothing_up() -> None:
    """While a partition takes its time, membership is followed: what is not wanted any more is given up at once."""
    async with house(1) as (made, _):
        await made.wants(0, 1)
        await made.wants(0)
        assert made.working() == {0}
        await until(lambda: made.told == 1)


async def test_a_stopped_partition_does_not_keep_the_others_from_being_ready() -> None:
    """A partition that stopped has said so itself; the rest is ready without it. With nothing owned, nothing is."""
    async with house(0, 1) as (made, _):
        await made.wants(0, 1)
        made.made[0].failure.set_exception(ValueError("corrupt"))
        await asyncio.sleep(0.01)
        assert made.told == 0
        made.made[1].running.set()
        await until(lambda: made.told == 1)
    async with house(0) as (made, _):
        await made.wants(0)
        made.made[0].failure.set_exception(ValueError("corrupt"))
        await asyncio.sleep(0.02)
        assert made.told == 0


async def test_a_broken_registry_ends_everything() -> None:
    """When the registry cannot be believed, nothing may go on: the process ends with its error."""
    async with house() as (made, task):
        await made.wants(0, 1)
        made.follower._broken = RegistryBroken("a gap")
        with pytest.raises(RegistryBroken):
            async with asyncio.timeout(2):
                await task
        assert made.working() == set()
