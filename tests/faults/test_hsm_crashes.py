"""The worker under faults of its transactions: every write lost, landed but reported as failed, or left hanging.

Whatever happens, every ticket has exactly one outcome in the log, at most one result reply, and no reply leaves before
its outcome is durable.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from itertools import count
from typing import Any

import pytest
from tests.unit.hsm.deployment import PARTITIONS, Deployment
from tests.unit.hsm.exchange import Order, results
from tests.unit.hsm.orders import create, new_key, rotate, use
from tests.unit.hsm.stand_ins import MemoryCustody, MemorySealing
from tests.unit.hsm.worker import SETTINGS, until, worker

from keyfold.bus import Fault, Outbound
from keyfold.bus.memory.bus import MemorySender, MemoryWriter
from keyfold.events import facts, topics
from keyfold.events.replies import parse_reply
from keyfold.events.streams import key_stream
from keyfold.hsm.keystore import Draft
from keyfold.hsm.supervisor import PartitionWorker

SMALL = SETTINGS.model_copy(update={"batch_tickets": 2})
IN_DOUBT = [Fault.LOST, Fault.LANDED, Fault.HANGING]
ITEM = [(0, b"x")]


@pytest.fixture
async def deployment() -> Deployment:
    made = Deployment()
    await made.initialise()
    return made


@pytest.fixture
async def ready(deployment: Deployment, tokens: dict[str, Any]) -> Deployment:
    """A deployment whose first sealing key is published."""
    async with worker(deployment, own=[0], **tokens):
        pass
    return deployment


@pytest.fixture
def tokens() -> dict[str, Any]:
    """What outlives a worker process beside the log."""
    return {"custody": MemoryCustody(), "sealing": MemorySealing()}


@pytest.fixture(autouse=True)
def no_reply_before_its_outcome(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every reply is looked up in the committed log at the moment that it is handed to the sender."""
    early: list[str] = []
    send = MemorySender.send

    async def checked(self: MemorySender, record: Outbound) -> Awaitable[int]:
        if record.topic == topics.REPLIES:
            command_id = parse_reply(record.value or b"").data.command_id
            done = (o.data.command_id for p in range(PARTITIONS) for o in deployment.outcomes(p))
            early.extend([] if command_id in done else [command_id])
        return await send(self, record)

    monkeypatch.setattr(MemorySender, "send", checked)
    yield
    assert early == []


def life_of_a_key(deployment: Deployment) -> list[Order]:
    """Orders of every kind that changes or reads what a batch builds on."""
    key_id = new_key()
    return [
        create(deployment, key_id),
        use(deployment, "Encrypt", key_id, ITEM),
        rotate(deployment, key_id, 2),
        use(deployment, "Encrypt", key_id, ITEM, version=2),
        use(deployment, "GenerateDataKey", key_id, [(0, b"")], version=2),
        deployment.order("DisableKey", key_stream(key_id), decided=(facts.KeyDisabled, {"reason": ""})),
        deployment.order("DestroyKey", key_stream(key_id), decided=(facts.KeyDestroyed, {"versions": [1, 2]})),
    ]


def check_all_once(deployment: Deployment, orders: list[Order]) -> None:
    """One outcome each, none failed, at most one reply; and the index that a restart reads is empty again."""
    for order in orders:
        assert not isinstance(deployment.outcome(order), facts.OperationFailed), deployment.outcome(order)
        assert len(deployment.replies(order)) <= 1
    kinds = Counter(type(record) for record in deployment.keystore(deployment.partition(orders[0])))
    assert kinds == {facts.KeyMaterialStored: 2, facts.KeyMaterialErased: 1}


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("fault", IN_DOUBT)
async def test_every_transaction_in_doubt(ready: Deployment, tokens: dict[str, Any], fault: Fault, place: int) -> None:
    """The same process restores: nothing is lost and nothing is doubled, whichever transaction it was."""
    orders = life_of_a_key(ready)
    partition = ready.partition(orders[0])
    await ready.submit(*orders)
    async with worker(ready, settings=SMALL, **tokens) as made:
        fail_nth_commit(ready, place, fault, f"keyfold-hsm-{partition}")
        made.own(partition)
        await made.finished(*orders, replied=False)
        # Replies of a transaction that landed are lost with its report; all others arrive.
        batch = orders[2 * place : 2 * place + 2]
        lost = batch if fault is Fault.LANDED else []
        await made.finished(*(order for order in orders if order not in lost))
    check_all_once(ready, orders)
    assert all(ready.replies(order) == [] for order in lost)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("fault", IN_DOUBT)
async def test_a_process_that_dies_in_doubt(
    ready: Deployment, tokens: dict[str, Any], fault: Fault, place: int
) -> None:
    """It never learns what became of its transaction; its successor does everything that is left, once."""
    orders = life_of_a_key(ready)
    partition = ready.partition(orders[0])
    await ready.submit(*orders)
    patient = SMALL.model_copy(update={"first_retry_s": 60, "longest_retry_s": 60})
    async with worker(ready, settings=patient, **tokens) as made:
        fail_nth_commit(ready, place, fault, f"keyfold-hsm-{partition}")
        made.own(partition)
        await until_down(made.workers[partition])
    async with worker(ready, own=[partition], settings=SMALL, **tokens) as made:
        await made.finished(*orders, replied=False)
    check_all_once(ready, orders)


async def test_killed_at_any_moment(ready: Deployment, tokens: dict[str, Any]) -> None:
    """A worker is killed after one step more of the event loop each time, and another one goes on."""
    orders = life_of_a_key(ready)
    partition = ready.partition(orders[0])
    await ready.submit(*orders)
    alone = SETTINGS.model_copy(update={"batch_tickets": 1})
    for steps in count(1):
        async with worker(ready, settings=alone, **tokens) as made:
            made.own(partition)
            for _ in range(steps):
                await asyncio.sleep(0)
        if len(ready.outcomes(partition)) == len(orders):
            break
    assert steps > 20
    check_all_once(ready, orders)


async def test_an_aborted_batch_leaves_no_material_behind(ready: Deployment, tokens: dict[str, Any]) -> None:
    """A key was created and opened on a draft that was dropped: what protects afterwards is the material that the log
    knows, not the one that is still open."""
    key_id = new_key()
    orders = [create(ready, key_id), use(ready, "Encrypt", key_id, ITEM)]
    partition = ready.partition(orders[0])
    ready.cluster.fail_next_commit(Fault.LOST, f"keyfold-hsm-{partition}")
    await ready.submit(*orders)
    async with worker(ready, own=[partition], **tokens) as made:
        await made.finished(*orders)
        ciphertext = results(ready.reply(orders[1]))[0]
    async with worker(ready, own=[partition], **tokens) as made:
        (answer,) = await made.execute(use(ready, "Decrypt", key_id, [(0, ciphertext)]))
    assert results(answer) == [b"x"]


async def test_a_draft_is_promoted_only_after_the_commit(
    ready: Deployment, tokens: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a draft is promoted, its records are in the committed log."""
    order = create(ready, new_key())
    partition = ready.partition(order)
    seen: list[int] = []
    promote = Draft.promote

    def watched(self: Draft) -> None:
        if self._keys:
            seen.append(len(ready.keystore(partition)))
        promote(self)

    monkeypatch.setattr(Draft, "promote", watched)
    for fault in (Fault.LOST, Fault.HANGING):
        ready.cluster.fail_next_commit(fault, f"keyfold-hsm-{partition}")
    async with worker(ready, own=[partition], **tokens) as made:
        await made.execute(order)
    assert seen == [1]


async def test_a_fenced_worker_writes_nothing_more(ready: Deployment, tokens: dict[str, Any]) -> None:
    """Two processes that both believe they own a partition: every ticket has one outcome all the same."""
    key_id = new_key()
    first = create(ready, key_id)
    partition = ready.partition(first)
    async with (
        worker(ready, own=[partition], settings=SMALL, **tokens) as one,
        worker(ready, own=[partition], settings=SMALL, **tokens) as two,
    ):
        await ready.submit(first)
        await two.finished(first, replied=False)
        orders = [use(ready, "Encrypt", key_id, ITEM) for _ in range(20)]
        for order in orders:
            await ready.submit(order)
            await asyncio.sleep(0.002)
        await one.finished(*orders, replied=False)
    for order in orders:
        assert isinstance(ready.outcome(order), facts.KeyUsed)
        assert len(ready.replies(order)) <= 1


async def test_a_record_that_the_broker_refuses_costs_itself_only(
    ready: Deployment, tokens: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three aborts of the batch, then one by one, and the guilty ticket fails as InternalError (rule 6)."""
    key_id = new_key()
    made_key = create(ready, key_id)
    orders = [use(ready, "Encrypt", key_id, [(0, text)]) for text in (b"a", b"guilty", b"c", b"d")]
    partition = ready.partition(made_key)
    async with worker(ready, own=[partition], **tokens) as made:
        await made.execute(made_key)
        refused = refuse_commits_with(ready, orders[1].command_id, monkeypatch)
        await ready.submit(*orders)
        await made.finished(*orders)
    assert [type(ready.outcome(order)) for order in orders] == [
        facts.KeyUsed, facts.OperationFailed, facts.KeyUsed, facts.KeyUsed,
    ]  # fmt: skip
    assert ready.outcome(orders[1]).data.code == "InternalError"
    assert ready.reply(orders[1]).data.code == "InternalError"
    assert refused[:3] == [4, 4, 4]
    assert refused[3:] == [1]


async def test_unavailability_is_never_a_records_fault(ready: Deployment, tokens: dict[str, Any]) -> None:
    """Many aborts in a row that no record caused: the batch goes whole, and nothing is given up."""
    key_id = new_key()
    made_key, order = create(ready, key_id), use(ready, "Encrypt", key_id, ITEM)
    partition = ready.partition(order)
    for _ in range(8):
        ready.cluster.fail_next_commit(Fault.LOST, f"keyfold-hsm-{partition}")
    await ready.submit(made_key, order)
    async with worker(ready, own=[partition], **tokens) as made:
        await made.finished(made_key, order)
    assert isinstance(ready.outcome(order), facts.KeyUsed)
    statements = [r.header("kf_statement") for r in ready.records(topics.EVENTS, partition)]
    assert len(set(statements)) == 1


async def test_a_cluster_that_is_down_for_a_while(ready: Deployment, tokens: dict[str, Any]) -> None:
    """Nothing is lost while it is away, and work goes on by itself afterwards."""
    key_id = new_key()
    first, second = create(ready, key_id), use(ready, "Encrypt", key_id, ITEM)
    async with worker(ready, own=range(PARTITIONS), **tokens) as made:
        await made.execute(first)
        ready.cluster.down = True
        await asyncio.sleep(0.1)
        ready.cluster.down = False
        (answer,) = await made.execute(second)
    assert answer.data.code is None


def fail_nth_commit(deployment: Deployment, place: int, fault: Fault, transactional_id: str) -> None:
    """Let the commit with this number, from 0, of this id meet a fault."""
    take, seen = deployment.cluster.take_fault, count()

    def counted(asked: str) -> Fault | None:
        if asked == transactional_id and next(seen) == place:
            return fault
        return take(asked)

    deployment.cluster.__dict__["take_fault"] = counted


def refuse_commits_with(deployment: Deployment, command_id: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Refuse every transaction with a use by this command; returns the number of outcomes in each."""
    refused: list[int] = []
    commit = MemoryWriter.commit

    async def picky(self: MemoryWriter, records: list[Outbound]) -> list[int]:
        uses = [r for r in records if r.topic == topics.EVENTS and b"keyfold.key.used" in (r.value or b"")]
        if any(command_id.encode() in (record.value or b"") for record in uses):
            refused.append(len(uses))
            deployment.cluster.fail_next_commit(Fault.REFUSED, self._id)
        return await commit(self, records)

    monkeypatch.setattr(MemoryWriter, "commit", picky)
    return refused


async def until_down(partition: PartitionWorker) -> None:
    """Wait until it was owned and is not any more."""
    await asyncio.wait_for(partition.running.wait(), 5)
    await until(lambda: not partition.running.is_set())
