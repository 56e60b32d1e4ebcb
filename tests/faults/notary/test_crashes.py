"""The notary when transactions fail, tokens fail and processes die.

Whatever happens, all checkpoints that were ever published are one history, which is that of the log.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest
from tests.faults.notary.waves import PARTITION, dies, write_waves
from tests.support.deployment import cancelled
from tests.support.log_lines import log_lines
from tests.support.notary_office import ID, SETTINGS, Office
from tests.support.notary_token import Died, failing

from keyfold.bus import Fault, MemoryBus, Outbound
from keyfold.bus.memory.bus import MemoryWriter
from keyfold.notary import feed
from keyfold.notary import notary as notary_module
from keyfold.notary.notary import Notary


def bus_of(office: Office, kind: type[MemoryWriter]) -> MemoryBus:
    """A bus whose writers are of a kind."""

    class Bus(MemoryBus):
        def writer(self, transactional_id: str) -> MemoryWriter:
            return kind(self.cluster, transactional_id)

    return Bus(office.cluster)


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("fault", Fault)
async def test_a_commit_fails(office: Office, fault: Fault, at: int) -> None:
    """Whatever becomes of the n-th transaction, lost or landed: the history is whole, and nothing is told twice."""
    writes = 0

    class Counting(MemoryWriter):
        async def commit(self, records: Sequence[Outbound]) -> list[int]:
            nonlocal writes
            if writes == at:
                office.cluster.fail_next_commit(fault, ID)
            writes += 1
            return await super().commit(records)

    async with office.notary(bus_of(office, Counting)):
        await write_waves(office)
    assert writes > at
    office.assert_proven()


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("fault", Fault)
async def test_a_process_dies_in_its_commit(office: Office, fault: Fault, at: int) -> None:
    """It does not learn what became of its transaction; its successor finds out from topics and token."""
    died, writes = asyncio.Event(), 0

    class Dying(MemoryWriter):
        async def commit(self, records: Sequence[Outbound]) -> list[int]:
            nonlocal writes
            writes += 1
            if writes <= at:
                return await super().commit(records)
            office.cluster.fail_next_commit(fault, ID)
            try:
                return await super().commit(records)
            finally:
                died.set()
                await asyncio.sleep(3600)

    async with office.notary(bus_of(office, Dying)):
        async with asyncio.timeout(10):
            while not died.is_set():
                await office.write(PARTITION, 2)
                await asyncio.sleep(0.02)
    async with office.notary():
        await office.signed()
    office.assert_proven()


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_token_fails(office: Office, when: str, at: int) -> None:
    """Heads that were not kept, or kept but reported as failed: it restores, and goes on where the token stands."""
    office.token.fail = failing(at, when)
    async with office.notary():
        await write_waves(office)
    office.assert_proven()
    assert len(office.token.kept) > at


@pytest.mark.parametrize("call", ["recover", "heads", "keep"])
async def test_the_token_does_not_answer(office: Office, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that hangs is given up in time, and said; what it does in the end, a round later, does no harm."""
    answer, original, calls = threading.Event(), getattr(office.token, call), 0

    def hanging(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            answer.wait(20)
        return original(*arguments)

    monkeypatch.setattr(office.token, call, hanging)
    try:
        with log_lines(notary_module) as lines:
            async with office.notary(settings=SETTINGS.model_copy(update={"token_s": 0.2})):
                await write_waves(office)
                answer.set()
                await write_waves(office)
    finally:
        answer.set()
    office.assert_proven()
    assert "TokenUnavailable" in [line.get("code") for line in lines]


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_process_dies_at_the_token(office: Office, when: str, at: int) -> None:
    """After the heads were kept, the token is ahead of the topics: the successor reads on to just that tree."""
    office.token.fail = failing(at, when, Died())
    await dies(office)
    kept = office.token.heads()
    async with office.notary():
        await office.signed()
    office.assert_proven()
    # Nothing below what the token knew was signed after it.
    assert all(size <= office.size(partition) for partition, (size, _) in kept.heads.items())


async def test_cancelled_at_every_await(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may be stopped at any await: a new one finishes the work."""

    async def at_once(call: Callable[..., object], *arguments: object) -> object:
        await asyncio.sleep(0)
        return call(*arguments)

    # Then nothing on the way waits for a thread or a timer.
    monkeypatch.setattr(asyncio, "to_thread", at_once)
    monkeypatch.setattr(feed, "_COMPANIONS_S", 0.0)
    finished = False
    for steps in range(0, 1000, 2):
        office = Office()
        await office.begin()
        await office.write(PARTITION, 5)
        task = asyncio.create_task(Notary(await office.parts()).run())
        for _ in range(steps):
            await asyncio.sleep(0)
        finished = office.size(PARTITION) == 5
        await cancelled(task)
        async with office.notary():
            await office.signed()
        office.assert_proven()
        if finished:
            break
    assert finished
    assert steps > 10
