"""Bad records on the topics that the worker reads: each costs itself, is reported, or stops its partition loudly."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.hsm.deployment import PARTITIONS, Deployment, signer
from tests.unit.hsm.exchange import Order
from tests.unit.hsm.orders import create, new_key, use
from tests.unit.hsm.worker import Worker, until, worker

from keyfold.bus import Outbound, PositionLost
from keyfold.events import facts, topics
from keyfold.events.chains import ChainGap
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, Entry
from keyfold.hsm.errors import KeystoreBroken
from keyfold.log import Author, StateCorrupt

ITEM = [(0, b"x")]


@pytest.fixture
async def deployment() -> Deployment:
    made = Deployment()
    await made.initialise()
    return made


@pytest.fixture
async def running(deployment: Deployment) -> AsyncIterator[Worker]:
    async with worker(deployment, own=range(PARTITIONS)) as made:
        yield made


def replaced(record: Outbound, name: str, value: bytes) -> Outbound:
    return replace(record, headers=tuple((n, value if n == name else v) for n, v in record.headers))


def _drop_signature(record: Outbound, _order: Order) -> Outbound:
    return replace(record, headers=tuple(h for h in record.headers if h[0] != SIGNATURE_HEADER))


def _other_stream(deployment: Deployment, order: Order) -> str:
    """A key's stream in the same partition."""
    while True:
        found = create(deployment, new_key())
        if deployment.partition(found) == deployment.partition(order):
            return found.stream


TAMPERED: dict[str, Callable[[Outbound, Order], Outbound]] = {
    "unsigned": _drop_signature,
    "null": lambda record, _: replace(record, value=None),
    "null key": lambda record, _: replace(record, key=None),
    "wrong signature": lambda record, _: replaced(record, SIGNATURE_HEADER, bytes(64)),
    "another body": lambda record, _: replaced(record, SEALED_HEADER, b"another body"),
    "another value": lambda record, _: replace(record, value=(record.value or b"") + b" "),
    "no headers": lambda record, _: replace(record, headers=()),
    "not JSON": lambda record, _: replace(record, value=b"\x00rubbish"),
    "no stream": lambda record, _: replace(record, key=b"nothing"),
    "registry's": lambda record, _: replace(record, key=b"registry"),
    "twice signed": lambda record, _: replace(record, headers=(*record.headers, (SIGNATURE_HEADER, bytes(64)))),
}


@pytest.mark.parametrize("how", sorted(TAMPERED))
async def test_a_record_that_cannot_be_believed_is_passed_over(
    deployment: Deployment, running: Worker, how: str
) -> None:
    """It is reported by place, hash and reason, never executed, and the true one behind it is."""
    order = create(deployment, new_key())
    place = deployment.partition(order)
    (true,) = deployment.sign(deployment.policy, topics.AUTHORIZED, place, [order.entry()])
    await deployment.put([TAMPERED[how](true, order), true])
    await running.finished(order)
    assert len(deployment.outcomes(place)) == 1
    (letter,) = deployment.dead_letters()
    assert letter["topic"] == topics.AUTHORIZED
    assert letter["reason"].startswith("UntrustedRecord")
    assert order.command_id not in str(letter)


async def test_a_misplaced_record_is_passed_over(deployment: Deployment, running: Worker) -> None:
    """A ticket written into another partition than its stream's is nobody's."""
    order = create(deployment, new_key())
    place = deployment.partition(order)
    (record,) = deployment.sign(deployment.policy, topics.AUTHORIZED, place, [order.entry()])
    other = 1 + place % (PARTITIONS - 1)
    await deployment.put([replace(record, partition=other), record])
    await running.finished(order)
    assert deployment.outcomes(other) == []
    assert len(deployment.dead_letters()) == 1


@pytest.mark.parametrize("role", ["hsm", "projector", "stranger"])
async def test_a_ticket_by_another_author_is_passed_over(deployment: Deployment, running: Worker, role: str) -> None:
    """Signed by a certified key of another role, or by one that is not certified: never a ticket."""
    order = create(deployment, new_key())
    key = signer(role)
    author = Author(deployment.id, role, key.fingerprint, key.sign)
    await deployment.write(author, topics.AUTHORIZED, deployment.partition(order), [order.entry()])
    later = create(deployment, order.stream.removeprefix("key/"))
    await running.execute(later)
    assert len(deployment.outcomes(deployment.partition(order))) == 1
    assert len(deployment.dead_letters()) == 1


async def test_a_signed_record_that_is_no_ticket_is_passed_over(deployment: Deployment, running: Worker) -> None:
    """A denial by policy, and an event of the worker's own kind signed by policy, are leaves and no tickets."""
    order = create(deployment, new_key())
    denied = facts.CommandDenied.new(
        "denied", order.stream, order.event.time, decision=order.event.data.decision,
        verb="CreateKey", principal="alice", code="AccessDenied",
    )  # fmt: skip
    foreign = facts.SealingKeyErased.new("foreign", order.stream, order.event.time, sealing_key=new_key())
    entries = [Entry(order.stream.encode(), event.to_value()) for event in (denied, foreign)]
    place = deployment.partition(order)
    await deployment.write(deployment.policy, topics.AUTHORIZED, place, [*entries, order.entry()])
    await running.finished(order)
    assert len(deployment.outcomes(place)) == 1
    assert [letter["reason"].split(":")[0] for letter in deployment.dead_letters()] == ["UntrustedRecord"] * 2


async def test_a_replayed_ticket_is_executed_once(deployment: Deployment, running: Worker) -> None:
    """The same record again, a moment later and after a restart: reported, no second outcome, no second reply."""
    orders = [create(deployment, new_key())]
    place = deployment.partition(orders[0])
    orders.append(use(deployment, "Encrypt", orders[0].stream.removeprefix("key/"), ITEM))
    records = await deployment.submit(*orders)
    await deployment.put(records)
    last = use(deployment, "Encrypt", orders[0].stream.removeprefix("key/"), ITEM)
    await running.execute(last)
    assert len(deployment.outcomes(place)) == 3
    assert [len(deployment.replies(order)) for order in orders] == [1, 1]
    assert [letter["reason"].split(":")[0] for letter in deployment.dead_letters()] == ["ChainRepeat"] * 2


@pytest.mark.parametrize("how", ["dropped", "dropped leaf", "swapped", "swapped leaves"])
async def test_a_gap_stops_its_partition_alone(deployment: Deployment, running: Worker, how: str) -> None:
    """A ticket dropped or out of order: that partition stops before it, loudly; the others go on."""
    key_id = new_key()
    first = create(deployment, key_id)
    place = deployment.partition(first)
    await running.execute(first)
    orders = [use(deployment, "Encrypt", key_id, ITEM) for _ in range(3)]
    if "lea" in how:
        entries = [order.entry() for order in orders]
        records = deployment.sign(deployment.policy, topics.AUTHORIZED, place, entries)
    else:
        signed = (deployment.sign(deployment.policy, topics.AUTHORIZED, place, [o.entry()]) for o in orders)
        records = [record for (record,) in signed]
    records = [records[0], records[2]] if "dropped" in how else [records[0], records[2], records[1]]
    await deployment.put(records)
    with pytest.raises(ChainGap):
        await asyncio.wait_for(running.tasks[place], 5)
    done = {outcome.data.command_id for outcome in deployment.outcomes(place)}
    assert not done & {order.command_id for order in orders[1:]}
    elsewhere = create(deployment, new_key())
    while deployment.partition(elsewhere) == place:
        elsewhere = create(deployment, new_key())
    (answer,) = await running.execute(elsewhere)
    assert answer.data.code is None


async def test_tickets_deleted_before_they_were_read_stop_the_partition(deployment: Deployment) -> None:
    """A position that the log no longer has is a loss, never skipped over."""
    key_id = new_key()
    async with worker(deployment, own=range(PARTITIONS)) as made:
        first = create(deployment, key_id)
        await made.execute(first)
    place = deployment.partition(first)
    await deployment.submit(*(use(deployment, "Encrypt", key_id, ITEM) for _ in range(3)))
    log = deployment.cluster.log(topics.AUTHORIZED, place)
    log.delete_before(log.high_watermark)
    async with worker(deployment) as made:
        made.own(place)
        with pytest.raises(PositionLost):
            await asyncio.wait_for(made.tasks[place], 5)


async def test_a_new_policy_key_is_learnt_when_it_is_met(deployment: Deployment, running: Worker) -> None:
    """Certified after the worker started: no record of it is lost."""
    other = signer("policy-2")
    await deployment.write_root(deployment.certificate("policy", "policy-2"))
    deployment.policy = Author(deployment.id, "policy", other.fingerprint, other.sign)
    (answer,) = await running.execute(create(deployment, new_key()))
    assert answer.data.code is None
    assert deployment.dead_letters() == []


async def test_a_keystore_that_lost_its_end_stops_the_partition(deployment: Deployment) -> None:
    """The state's head says where the keystore's chain ends: a keystore cut off is not served from."""
    async with worker(deployment, own=range(PARTITIONS)) as made:
        order = create(deployment, new_key())
        await made.execute(order)
    place = deployment.partition(order)
    deployment.cluster.log(topics.KEYSTORE, place)._entries.clear()
    await _stops(deployment, place, KeystoreBroken)


async def test_a_record_missing_inside_the_keystore_stops_the_partition(deployment: Deployment) -> None:
    """Removed from the middle."""
    key_id = new_key()
    async with worker(deployment, own=range(PARTITIONS)) as made:
        order = create(deployment, key_id)
        for each in (order, use(deployment, "Encrypt", key_id, ITEM)):
            await made.execute(each)
        again = create(deployment, new_key())
        while deployment.partition(again) != deployment.partition(order):
            again = create(deployment, new_key())
        await made.execute(again)
    place = deployment.partition(order)
    del deployment.cluster.log(topics.KEYSTORE, place)._entries[0]
    await _stops(deployment, place, KeystoreBroken)


async def test_strangers_records_in_the_keystore_are_ignored(deployment: Deployment) -> None:
    """An unsigned blob for an existing version, an erasure by policy: the key goes on as it was."""
    key_id = new_key()
    async with worker(deployment, own=range(PARTITIONS)) as made:
        order = create(deployment, key_id)
        await made.execute(order)
        sealing, custody = made.sealing, made.custody
    place = deployment.partition(order)
    erased = facts.KeyMaterialErased.new("x", order.stream, order.event.time, key_id=key_id, versions=[1])
    entry = Entry(order.stream.encode(), erased.to_value())
    await deployment.put([Outbound(topics.KEYSTORE, place, entry.key, entry.value)])
    await deployment.write(deployment.policy, topics.KEYSTORE, place, [entry])
    async with worker(deployment, own=range(PARTITIONS), sealing=sealing, custody=custody) as made:
        (answer,) = await made.execute(use(deployment, "Encrypt", key_id, ITEM))
    assert answer.data.code is None


@pytest.mark.parametrize("how", ["forged head", "added record", "unsigned head"])
async def test_a_changed_state_stops_the_partition(deployment: Deployment, how: str) -> None:
    """Whoever can write to the state topic cannot make the worker read tickets again, or skip some."""
    async with worker(deployment, own=range(PARTITIONS)) as made:
        order = create(deployment, new_key())
        await made.execute(order)
    place = deployment.partition(order)
    head = deployment.records(topics.HSM_STATE, place)[-1]
    changed: dict[str, Any] = {
        "forged head": (b"head", (head.value or b"").replace(b'"n":1', b'"n":0'), head.headers),
        "added record": (b"extra", b"{}", ()),
        "unsigned head": (b"head", head.value, ()),
    }
    key, value, headers = changed[how]
    await deployment.put([Outbound(topics.HSM_STATE, place, key, value, headers)])
    await _stops(deployment, place, StateCorrupt)


async def test_the_worker_writes_nothing_for_what_it_does_not_believe(deployment: Deployment, running: Worker) -> None:
    """Only its position moves; it survives a restart, so that the same rubbish is not reported for ever."""
    order = create(deployment, new_key())
    place = deployment.partition(order)
    await deployment.put([Outbound(topics.AUTHORIZED, place, order.stream.encode(), b"rubbish")])
    await until(lambda: running.workers[place].committed >= 1)
    assert deployment.outcomes(place) == []
    async with worker(deployment, own=[place]):
        await asyncio.sleep(0.05)
    assert len(deployment.dead_letters()) == 1


async def _stops(deployment: Deployment, place: int, error: type[Exception]) -> None:
    async with worker(deployment) as made:
        made.own(place)
        with pytest.raises(error):
            await asyncio.wait_for(made.tasks[place], 5)
        other = 1 + place % (PARTITIONS - 1)
        with suppress(TimeoutError):
            await made.owned(other)
        assert made.workers[other].running.is_set()
