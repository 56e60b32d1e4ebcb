"""Policy when transactions fail and processes die: each accepted command has one decision and one ticket, always."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.deployment import Deployment, cancelled, until
from tests.support.desk import fold
from tests.support.people import Signed, command, key_on, signer

from keyfold.bus import Fault, Inbound, MemoryBus, Outbound, RecordTooLarge
from keyfold.bus.memory.bus import MemoryWriter
from keyfold.events import facts, topics
from keyfold.events.entities import Entity
from keyfold.events.errors import KeyfoldError
from keyfold.log import Author, StateTopic, settling
from keyfold.policy import processor as module
from keyfold.policy.state import State

KEY = key_on(2)
ID = "keyfold-policy-2"
WAVES = (
    (command("CreateKey", KEY, 1), command("Encrypt", KEY, 2)),
    (command("RotateKey", KEY, 3), command("Encrypt", key_on(2, 500), 4), command("DisableKey", KEY, 5)),
    (command("Encrypt", KEY, 6), command("EnableKey", KEY, 7), command("Encrypt", KEY, 8, items=5)),
)
COMMANDS = [each for wave in WAVES for each in wave]


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


def decided(deployment: Deployment) -> list[str]:
    return [event.data.decision.command_digest for event in deployment.decisions(2)]


async def restored(deployment: Deployment, partition: int = 2) -> State:
    """Restore as a successor would, with every check."""
    key = signer("policy")
    topic = StateTopic(
        Author(signer("root").fingerprint, "policy", key.fingerprint, key.sign), topics.POLICY_STATE, partition
    )
    reader = deployment.bus.reader(topics.POLICY_STATE, partition, committed=True)
    found = await topic.restore(reader, deployment.trust())
    return State.from_records(found.head, found.records)


async def assert_exactly_once(deployment: Deployment, commands: Sequence[Signed] = COMMANDS) -> None:
    """Everything that was accepted is decided once, in order, and the state is what its events say."""
    assert decided(deployment) == [each.digest for each in commands]
    accepted = [e.id for e in deployment.decisions(2) if not isinstance(e, facts.CommandDenied)]
    assert [ticket.id for ticket in deployment.tickets(2)] == accepted
    told = Counter(reply.data.decision for reply in deployment.replies() if reply.data.decision is not None)
    assert set(told) <= {event.id for event in deployment.decisions(2)}
    assert not told or max(told.values()) == 1
    state = await restored(deployment)
    view: dict[str, Entity] = {}
    for _, event in deployment.verified(topics.EVENTS, 2):
        fold(view, event)
    assert state.entities == view
    assert state.head.commands == deployment.cluster.log(topics.COMMANDS, 2).high_watermark


async def send_waves(deployment: Deployment) -> None:
    """Produce in waves, each after the one before was decided."""
    count = 0
    for wave in WAVES:
        await deployment.send(*wave)
        count += len(wave)
        await until(lambda: len(deployment.decisions(2)) >= count)  # noqa: B023 - awaited at once


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("fault", Fault)
async def test_commit_fails(deployment: Deployment, fault: Fault, at: int) -> None:
    """Whatever happens to the n-th transaction (the first is the take-over's own), everything is decided once."""
    writes = 0

    class Counting(MemoryWriter):
        async def commit(self, records: Sequence[Outbound]) -> list[int]:
            nonlocal writes
            if writes == at:
                deployment.cluster.fail_next_commit(fault, ID)
            writes += 1
            return await super().commit(records)

    async with deployment.running(2, bus_of(deployment, Counting)):
        await send_waves(deployment)
    assert writes > at
    await assert_exactly_once(deployment)


@pytest.mark.parametrize("fault", Fault)
async def test_process_dies_in_its_commit(deployment: Deployment, fault: Fault) -> None:
    """A process that dies without learning what came of its transaction leaves nothing to guess for the next."""
    died = asyncio.Event()

    class Dying(MemoryWriter):
        async def commit(self, records: Sequence[Outbound]) -> list[int]:
            if any(record.topic == topics.EVENTS for record in records):
                deployment.cluster.fail_next_commit(fault, ID)
                try:
                    return await super().commit(records)
                finally:
                    died.set()
                    await asyncio.sleep(3600)
            return await super().commit(records)

    async with deployment.running(2, bus_of(deployment, Dying)):
        await deployment.send(*COMMANDS)
        await died.wait()
        assert not deployment.replies()
    async with deployment.running(2):
        await until(lambda: len(deployment.decisions(2)) == len(COMMANDS))
        await until(lambda: fault in {Fault.LANDED, Fault.UNMARKED} or len(deployment.replies()) == 2)
    await assert_exactly_once(deployment)


async def test_cancelled_at_every_await(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may be stopped at any await, from its start to its last reply: a new one finishes the work."""
    monkeypatch.setattr(module, "FACTS_PAUSE_SECONDS", 0)  # then nothing on the way waits for a timer
    reached = 0
    for steps in range(1000):
        deployment = Deployment()
        await deployment.begin()
        await deployment.send(*COMMANDS)
        async with deployment.following() as parts:
            task = asyncio.create_task(deployment.processor(parts, 2).run())
            for _ in range(steps):
                await asyncio.sleep(0)
            await cancelled(task)
            finished = len(deployment.replies()) == 2
            reached = max(reached, len(deployment.decisions(2)))
            task = asyncio.create_task(deployment.processor(parts, 2).run())
            await until(lambda: len(deployment.decisions(2)) == len(COMMANDS))  # noqa: B023 - awaited at once
            await cancelled(task)
        await assert_exactly_once(deployment)
        if finished:
            break
    assert steps > 10
    assert reached == len(COMMANDS)


async def test_two_owners(deployment: Deployment) -> None:
    """Two processes that both believe to own a partition fence each other; every command is still decided once."""
    async with deployment.running(2), deployment.running(2):
        sent = [command("CreateKey", key_on(2, 40 * number + 1), number + 1) for number in range(25)]
        for each in sent:
            await deployment.send(each)
            await asyncio.sleep(0.004)
        await until(lambda: len(deployment.decisions(2)) == len(sent), timeout_s=20)
    await assert_exactly_once(deployment, sent)


async def test_the_old_owner_is_fenced(deployment: Deployment) -> None:
    """After a take-over, the transaction that the old owner has begun cannot be committed any more."""
    held, go = asyncio.Event(), asyncio.Event()

    class Held(MemoryWriter):
        async def commit(self, records: Sequence[Outbound]) -> list[int]:
            if any(record.topic == topics.EVENTS for record in records):
                held.set()
                await go.wait()
            return await super().commit(records)

    async with deployment.following(bus_of(deployment, Held)) as parts:
        old = asyncio.create_task(deployment.processor(parts, 2)._own())
        await deployment.send(*COMMANDS)
        await held.wait()
        async with deployment.running(2):
            await until(lambda: len(deployment.decisions(2)) == len(COMMANDS))
            go.set()
            with pytest.raises(KeyfoldError) as caught:
                await old
        assert caught.value.code == "Fenced"
    await assert_exactly_once(deployment)


async def test_a_draft_is_not_seen_before_its_commit(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a transaction is under way, the state is the one before: nothing is promoted, nothing is said."""
    states: list[State] = []
    make = State.from_records

    def made(*given: Any) -> State:
        states.append(make(*given))
        return states[-1]

    monkeypatch.setattr(State, "from_records", made)
    looked = 0

    class Looking(MemoryWriter):
        async def commit(self, records: Sequence[Outbound]) -> list[int]:
            nonlocal looked
            new = {record.key for record in records if record.topic == topics.EVENTS}
            if KEY.encode() in new and not looked:
                await asyncio.sleep(0.02)
                looked += 1
                assert KEY not in states[-1].entities
                assert states[-1].memory.in_flight == 0
                assert not states[-1].memory.segments
                assert states[-1].head.events_head.n == 0
                assert not deployment.replies()
            return await super().commit(records)

    async with deployment.running(2, bus_of(deployment, Looking)):
        await deployment.send(*COMMANDS)
        await until(lambda: len(deployment.replies()) == 2)
    assert looked == 1
    assert KEY in states[-1].entities


# Rule 6: an error that a record causes


def bus_of(deployment: Deployment, writer: type[MemoryWriter]) -> MemoryBus:
    """A view of the deployment's cluster whose policy writers are of another kind."""

    class Bus(MemoryBus):
        def writer(self, transactional_id: str) -> MemoryWriter:
            return writer(self.cluster, transactional_id)

    return Bus(deployment.cluster)


def refusing(deployment: Deployment, marker: bytes, *, at_once: bool, attempts: list[int]) -> MemoryBus:
    """The broker (or the size check, `at_once`) refuses every ticket that holds a marker."""

    class Refusing(MemoryWriter):
        async def commit(self, records: Sequence[Outbound]) -> list[int]:
            tickets = [record for record in records if record.topic == topics.AUTHORIZED]
            bad = any(marker in (record.value or b"") for record in tickets)
            attempts.extend([len(tickets)] * bad)
            if bad and at_once:
                raise RecordTooLarge(0, topics.AUTHORIZED, 2, 1)
            if bad:
                deployment.cluster.fail_next_commit(Fault.REFUSED, ID)
            return await super().commit(records)

    return bus_of(deployment, Refusing)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_record_that_breaks_its_transaction(deployment: Deployment, at_once: bool) -> None:
    """After three aborts records are decided one by one: the bad one is denied, those around it are not."""
    attempts: list[int] = []
    bad = command("Encrypt", KEY, 3, contexts=[{"marker": "poison"}])
    sent = [command("CreateKey", KEY, 1), command("Encrypt", KEY, 2), bad, command("Encrypt", KEY, 4)]
    async with deployment.running(2, refusing(deployment, b"poison", at_once=at_once, attempts=attempts)):
        await deployment.send(*sent)
        await until(lambda: len(deployment.decisions(2)) == len(sent))
        await until(lambda: len(deployment.replies()) == 1)
        await deployment.send(after := command("Encrypt", KEY, 5))
        await until(lambda: len(deployment.decisions(2)) == len(sent) + 1)
    assert attempts in ([3, 3, 3, 1], [4, 4, 4, 1])
    codes = [getattr(event.data, "code", None) for event in deployment.decisions(2)]
    assert codes == [None, None, "InternalError", None, None]
    assert [reply.data.code for reply in deployment.replies()] == ["InternalError"]
    await assert_exactly_once(deployment, [*sent, after])


async def test_unavailability_never_counts_as_a_record_s_fault(deployment: Deployment) -> None:
    """Transactions that are lost for other reasons, however many, cost no command."""
    async with deployment.running(2) as processor:
        await processor.running.wait()
        for fault in [Fault.LOST, Fault.HANGING] * 4:
            deployment.cluster.fail_next_commit(fault, ID)
        await deployment.send(*COMMANDS)
        await until(lambda: len(deployment.decisions(2)) == len(COMMANDS))
    assert "InternalError" not in {getattr(event.data, "code", None) for event in deployment.decisions(2)}
    await assert_exactly_once(deployment)


async def test_the_cluster_is_away_for_a_while(deployment: Deployment) -> None:
    """A processor waits for a cluster that does not answer and goes on where it was."""
    async with deployment.running(2) as processor:
        await deployment.send(*WAVES[0])
        await until(lambda: len(deployment.decisions(2)) == 2)
        deployment.cluster.down = True
        await until(lambda: not processor.running.is_set())
        deployment.cluster.down = False
        await deployment.send(*WAVES[1], *WAVES[2])
        await until(lambda: len(deployment.decisions(2)) == len(COMMANDS), timeout_s=10)
    await assert_exactly_once(deployment)


async def test_junk_makes_no_transaction(deployment: Deployment) -> None:
    """What is no command becomes dead letters only; they are rate limited, and no partition writes for them."""
    junk = [Outbound(topics.COMMANDS, 2, KEY.encode(), b"junk %d" % number) for number in range(100)]
    async with deployment.running(2) as processor:
        await processor.running.wait()
        before = deployment.cluster.log(topics.POLICY_STATE, 2).high_watermark
        for record in junk:
            await deployment.raw(record)
        await until(lambda: len(deployment.dead_letters()) >= 50)
        await asyncio.sleep(0.05)
        assert deployment.cluster.log(topics.POLICY_STATE, 2).high_watermark == before
        assert not deployment.read(topics.EVENTS, 2, committed=False)
        await deployment.send(command("CreateKey", KEY, 1))
        await until(lambda: len(deployment.decisions(2)) == 1)
    letters: list[Inbound] = deployment.dead_letters()
    assert 50 <= len(letters) < 70
    assert b"junk" not in b"".join(letter.value or b"" for letter in letters)


async def test_partitions_do_not_share_fate(deployment: Deployment) -> None:
    """While one partition's transactions fail, another's commands are decided."""
    other = key_on(1)
    async with deployment.running(2), deployment.running(1):
        for _ in range(200):
            deployment.cluster.fail_next_commit(Fault.LOST, ID)
        await deployment.send(command("CreateKey", KEY, 1), command("CreateKey", other, 2))
        await until(lambda: len(deployment.decisions(1)) == 1)
        assert not deployment.decisions(2)
