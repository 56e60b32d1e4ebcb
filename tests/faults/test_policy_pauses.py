"""When policy waits: for outcomes, a fresh registry, clocks. It waits without spinning, and goes on by itself."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest
from tests.support.deployment import CheckedSender, Deployment, cancelled, until
from tests.support.people import command, key_on

from keyfold.bus import BusUnavailable, Fault, Outbound
from keyfold.events import topics
from keyfold.events.errors import KeyfoldError
from keyfold.log import DeadLetters, settling
from keyfold.log import registry as registry_module
from keyfold.policy import processor as module
from keyfold.policy.processor import Processor

KEY = key_on(2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry soon: how long a pause is matters elsewhere."""
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(settling, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(settling, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(module, "FACTS_PAUSE_SECONDS", 0.001)


@pytest.fixture
async def deployment() -> Deployment:
    made = Deployment()
    await made.begin()
    return made


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Every time that a processor asks whether it may decide."""
    asked: list[bool] = []
    may = Processor._may_decide

    def counted(self: Processor, owned: module.Owned) -> bool:
        asked.append(may(self, owned))
        return asked[-1]

    monkeypatch.setattr(Processor, "_may_decide", counted)
    return asked


async def test_outcomes_that_are_missing_bound_what_is_read(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, looks: list[bool]
) -> None:
    """While too many tickets lack an outcome, commands are not read; each outcome that comes lets some through."""
    monkeypatch.setattr(module, "MAX_BATCH_RECORDS", 3)
    async with deployment.running(2, max_in_flight=6):
        await deployment.send(command("CreateKey", KEY, 1), *(command("Encrypt", KEY, n) for n in range(2, 21)))
        await until(lambda: len(deployment.decisions(2)) == 6)
        looks.clear()
        await asyncio.sleep(0.3)
        assert len(deployment.decisions(2)) == 6
        assert len(looks) < 10, "it spins while it waits"
        for _ in range(20):
            await deployment.execute(2)
            await asyncio.sleep(0.02)
        await until(lambda: len(deployment.decisions(2)) == 20)
    assert [event.data.decision.offset for event in deployment.decisions(2)] == list(range(20))


async def test_denials_do_not_count_as_in_flight(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A denied command has no outcome to wait for."""
    monkeypatch.setattr(module, "MAX_BATCH_RECORDS", 2)
    async with deployment.running(2, max_in_flight=1):
        await deployment.send(*(command("Encrypt", KEY, n) for n in range(1, 11)))
        await until(lambda: len(deployment.decisions(2)) == 10)


async def test_a_hung_registry_pauses_deciding(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, looks: list[bool]
) -> None:
    """Without a fresh registry nothing is decided: a revocation may wait there. It goes on when the registry does."""
    monkeypatch.setattr(registry_module, "FRESH_SECONDS", 0.05)
    parts = await deployment.parts()
    await parts.follower.start()
    task = asyncio.create_task((processor := deployment.processor(parts, 2)).run())
    await processor.running.wait()
    await asyncio.sleep(0.06)
    await deployment.send(command("CreateKey", KEY, 1))
    await asyncio.sleep(0.02)
    looks.clear()
    await asyncio.sleep(0.3)
    assert not deployment.decisions(2)
    assert len(looks) < 10, "it spins while it waits"
    monkeypatch.setattr(registry_module, "FRESH_SECONDS", 5.0)
    tail = asyncio.create_task(parts.follower.run())
    await until(lambda: len(deployment.decisions(2)) == 1)
    await cancelled(task)
    await cancelled(tail)


async def test_an_open_transaction_on_the_registry_pauses_deciding(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer of partition 0 that died inside its transaction holds deciding up until it is taken over."""
    monkeypatch.setattr(registry_module, "FRESH_SECONDS", 0.1)
    async with deployment.running(2) as processor:
        await processor.running.wait()
        dead = deployment.bus.writer("keyfold-policy-0")
        await dead.start()
        deployment.cluster.fail_next_commit(Fault.HANGING, "keyfold-policy-0")
        with pytest.raises(KeyfoldError):
            await dead.commit([Outbound(topics.EVENTS, 0, b"registry", b"{}")])
        await asyncio.sleep(0.35)
        await deployment.send(command("CreateKey", KEY, 1))
        await asyncio.sleep(0.3)
        assert not deployment.decisions(2)
        successor = deployment.bus.writer("keyfold-policy-0")
        await successor.start()
        await until(lambda: len(deployment.decisions(2)) == 1)


@pytest.mark.parametrize("skew_ms", [-30_001, 30_001])
async def test_clocks_that_differ_at_take_over(deployment: Deployment, skew_ms: int) -> None:
    """A broker's clock more than 30 s from ours in either direction stops deciding; corrected, it goes on."""
    ours = deployment.clock_ms - skew_ms
    async with deployment.running(2, clock_ms=lambda: ours) as processor:
        await deployment.send(command("CreateKey", KEY, 1))
        await asyncio.sleep(0.1)
        assert not processor.running.is_set()
        assert not deployment.decisions(2)
        ours = deployment.clock_ms - skew_ms + (1 if skew_ms > 0 else -1)
        await until(lambda: len(deployment.decisions(2)) == 1)


async def test_a_command_stamped_ahead_of_our_clock(deployment: Deployment) -> None:
    """A command stamped more than 30 s ahead waits until our clock agrees; one stamped long ago is ordinary lag."""
    ours = deployment.clock_ms
    async with deployment.running(2, clock_ms=lambda: ours) as processor:
        await processor.running.wait()
        deployment.clock_ms += 30_001
        await deployment.send(command("CreateKey", KEY, 1))
        await asyncio.sleep(0.1)
        assert not deployment.decisions(2)
        ours += 1
        await until(lambda: len(deployment.decisions(2)) == 1)


async def test_lag_is_no_skew(deployment: Deployment) -> None:
    """Commands that waited for minutes are decided at the time they were stamped, not at ours."""
    await deployment.send(command("CreateKey", KEY, 1))
    deployment.clock_ms += 9 * 60_000
    async with deployment.running(2):
        await until(lambda: len(deployment.decisions(2)) == 1)
    assert deployment.decisions(2)[0].type == "keyfold.key.created.v1"


async def test_the_broker_s_clock_goes_back(deployment: Deployment) -> None:
    """The time of decisions never goes back, also across a restart."""
    async with deployment.running(2):
        await deployment.send(command("CreateKey", KEY, 1))
        await until(lambda: len(deployment.decisions(2)) == 1)
        deployment.clock_ms -= 20_000
        await deployment.send(command("Encrypt", KEY, 2))
        await until(lambda: len(deployment.decisions(2)) == 2)
    async with deployment.running(2):
        await deployment.send(command("Encrypt", KEY, 3))
        await until(lambda: len(deployment.decisions(2)) == 3)
    assert len({event.time for event in deployment.decisions(2)}) == 1


async def test_an_idle_processor_rests(
    deployment: Deployment, looks: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without work, a processor looks a few times a second and writes its positions once."""
    monkeypatch.setattr(module, "IDLE_SAVE_SECONDS", 0.05)
    async with deployment.running(2) as processor:
        await processor.running.wait()
        await deployment.send(command("CreateKey", KEY, 1))
        await until(lambda: len(deployment.decisions(2)) == 1)
        await asyncio.sleep(0.7)
        written = deployment.cluster.log(topics.POLICY_STATE, 2).high_watermark
        looks.clear()
        await asyncio.sleep(1.2)
        assert len(looks) < 10
        assert deployment.cluster.log(topics.POLICY_STATE, 2).high_watermark == written


async def test_idle_facts_are_saved(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes that come while nothing is decided are written before long, so that a restart need not read far."""
    monkeypatch.setattr(module, "IDLE_SAVE_SECONDS", 0.05)
    async with deployment.running(2):
        await deployment.send(command("CreateKey", KEY, 1))
        await until(lambda: len(deployment.decisions(2)) == 1)
        await deployment.execute(2)

        def saved() -> bool:
            records = [r for r in deployment.read(topics.POLICY_STATE, 2) if r.key == b"segment/1"]
            return b'"keyfold.command.completed.v1"' in (records[-1].value or b"")

        await until(saved)


class Full(CheckedSender):
    """Some topics take nothing: their buffers are full and nobody empties them."""

    def __init__(self, deployment: Deployment, *full: str) -> None:
        super().__init__(deployment)
        self.full = full
        self.tried = 0

    async def send(self, record: Outbound) -> Awaitable[int]:
        if record.topic in self.full:
            self.tried += 1
            await asyncio.sleep(3600)
            raise BusUnavailable("never")
        return await super().send(record)


async def test_replies_and_dead_letters_that_nobody_takes(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Topics that take nothing hold no partition up for longer than one short wait each."""
    monkeypatch.setattr(module, "REPLY_SECONDS", 0.05)
    parts = await deployment.parts()
    sender = Full(deployment, topics.REPLIES, topics.DEAD_LETTERS)
    await sender.start()
    parts = replace(parts, sender=sender, dead_letters=DeadLetters(sender, "policy"))
    await parts.follower.start()
    tail = asyncio.create_task(parts.follower.run())
    for number in range(60):
        await deployment.raw(Outbound(topics.COMMANDS, 2, KEY.encode(), b"junk"))
        await deployment.send(command("Encrypt", KEY, 100 + number))
    task = asyncio.create_task(deployment.processor(parts, 2).run())
    await deployment.send(command("CreateKey", KEY, 1))
    await until(lambda: len(deployment.decisions(2)) == 61, timeout_s=3)
    assert sender.tried <= 6
    await cancelled(task)
    await cancelled(tail)
