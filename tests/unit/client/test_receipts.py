"""Receipts: the calls of a block collect what the worker signed of them, and prove it later from hashes alone."""

import asyncio
import os
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.support.notary_log import NotaryKeys, NotaryLog
from tests.unit.client.deployment import Deployment, Received

from keyfold.auditing.checkpoints import NoCheckpoint
from keyfold.auditing.proving import check_proof
from keyfold.auditing.trees import NotPublished
from keyfold.bus import MemoryBus, MemoryCluster, Outbound
from keyfold.client import Keyfold, Receipt
from keyfold.events import facts, topics
from keyfold.events.errors import AccessDenied, RecordError
from keyfold.events.log_records import record_of
from keyfold.events.receipts import RECEIPT_HEADER, ReceiptInvalid, SealedRecord, seal_receipt
from keyfold.events.replies import ItemResult, Reply, ReplyData, encode_items, seal
from keyfold.events.statements import SEALED_HEADER
from keyfold.events.times import to_text

KEY = "01890a5d-ac96-774b-bcce-b302099a8057"


@dataclass
class Receipting(Deployment):
    """A deployment whose worker writes outcomes and gives receipts. `spoil` changes what is sent."""

    spoil: Any = field(default=lambda sealed: sealed)
    instead: SealedRecord | None = None

    async def reply_sealed(self, got: Received, data: ReplyData, items: list[ItemResult], **changes: Any) -> None:
        assert got.body is not None
        headers = [(SEALED_HEADER, seal(got.body.reply_key, os.urandom(32), data, encode_items(items)))]
        receipt = await self.commit(got, data)
        if got.command.data.receipt:
            given = self.instead or receipt
            sealed = seal_receipt(got.body.reply_key, os.urandom(32), data.command_digest, given)
            headers.append((RECEIPT_HEADER, self.spoil(sealed)))
        await self._send(got.command, got.record, Reply.new("hsm", data).to_value(), tuple(headers))

    async def commit(self, got: Received, data: ReplyData) -> SealedRecord:
        """Write the outcome of a command to the log."""
        place, at = f"{got.record.partition}.{got.record.offset}", to_text(got.record.timestamp_ms)
        outcome = facts.CommandCompleted.new(
            f"{place}.outcome", got.command.subject, at, offset=got.record.offset,
            command_id=data.command_id, command_digest=data.command_digest,
            principal="alice", verb=got.command.verb,
        )  # fmt: skip
        headers = self.signed(outcome)
        key, value = outcome.subject.encode(), outcome.to_value()
        writer = self.bus.writer(f"hsm-{got.record.partition}")
        await writer.start()
        (offset,) = await writer.commit([Outbound(topics.EVENTS, got.record.partition, key, value, headers)])
        return SealedRecord(offset, record_of(key, value, headers))


@pytest.fixture
async def world() -> Any:
    """The deployment, its notary, and a connected client."""
    made = Receipting(MemoryBus(MemoryCluster(4)), keys={KEY: 1})
    await made.start()
    await made.publish(NotaryKeys().certificate())
    try:
        async with Keyfold.connect(bus=made.bus, identity=made.alice, deployment=made.id, linger_ms=1) as kms:
            yield made, NotaryLog(made.bus, made.id), kms
    finally:
        await made.stop()


async def test_the_calls_of_a_block_get_receipts(world: Any) -> None:
    """Data and control verbs; outside the block nobody asks, and commands are as they were."""
    deployment, _, kms = world
    await kms.encrypt(KEY, b"before")
    with kms.with_receipts() as receipts:
        await kms.encrypt(KEY, b"one")
        await kms.disable_key(KEY)
    await kms.encrypt(KEY, b"after")
    assert [receipt.event.data.verb for receipt in receipts] == ["Encrypt", "DisableKey"]
    asked = [got.command.data.receipt for got in deployment.received]
    assert asked == [False, True, True, False]
    assert [receipt.command_id for receipt in receipts] == [got.command.id for got in deployment.received[1:3]]
    assert b'"receipt"' not in deployment.received[0].record.value


async def test_calls_that_share_a_command_share_its_receipt(world: Any) -> None:
    """One record, one receipt; who does not ask, or asks elsewhere, is in another record."""
    deployment, _, kms = world

    async def other() -> list[Receipt]:
        with kms.with_receipts() as mine:
            await asyncio.gather(*(kms.encrypt(KEY, b"mine") for _ in range(3)))
        return list(mine)

    elsewhere, plain = asyncio.create_task(other()), asyncio.create_task(kms.encrypt(KEY, b"plain"))
    with kms.with_receipts() as receipts:
        await asyncio.gather(*(kms.encrypt(KEY, b"x%d" % number) for number in range(20)))
        await kms.encrypt_batch(KEY, [b"a", b"b"])
    await plain
    assert [got.data.items for got in deployment.received if got.command.id == receipts[0].command_id] == [20]
    assert len(receipts) == 2
    assert len(await elsewhere) == 1
    assert len(deployment.received) == 4


async def test_denials_have_no_receipt(world: Any) -> None:
    """Policy's answer is its own; the block goes on."""
    deployment, _, kms = world
    deployment.scripts.append(lambda got: "AccessDenied" if got.command.verb == "Decrypt" else None)
    with kms.with_receipts() as receipts:
        with pytest.raises(AccessDenied):
            await kms.decrypt(KEY, b"whatever")
        await kms.encrypt(KEY, b"one")
    assert [receipt.event.data.verb for receipt in receipts] == ["Encrypt"]


async def test_a_receipt_that_is_not_believed_is_left_out(world: Any) -> None:
    """The result stands; what came beside it was spoiled, and is counted."""
    deployment, _, kms = world
    deployment.spoil = lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1])
    with kms.with_receipts() as receipts:
        await kms.encrypt(KEY, b"one")
    assert receipts == []
    assert kms.counters()["unauthentic_replies"] == 1


async def test_the_receipt_of_another_command_is_left_out(world: Any) -> None:
    """A worker that gives one outcome for two commands does not get through with it."""
    deployment, _, kms = world
    with kms.with_receipts() as receipts:
        await kms.encrypt(KEY, b"one")
        deployment.instead = receipts[0].sealed
        await kms.encrypt(KEY, b"two")
    assert len(receipts) == 1
    assert kms.counters()["unauthentic_replies"] == 1


async def test_a_receipt_becomes_a_proof(world: Any) -> None:
    """As soon as a checkpoint covers it; also from bytes that were kept, and where the offset is not the log's."""
    _, log, kms = world
    with kms.with_receipts() as receipts:
        for number in range(5):
            await kms.encrypt(KEY, b"%d" % number)
    with pytest.raises(NotPublished):
        await kms.proof(receipts[0], timeout_s=0.3)
    waiting = asyncio.create_task(kms.proof(receipts[3], timeout_s=5))
    await asyncio.sleep(0.05)
    await log.publish()
    partition = receipts[3].partition
    keys = log.keys.vkeys(log.origin(partition))
    proven = check_proof(await waiting, keys)
    assert proven.event == receipts[3].event
    assert proven.index == 3
    kept = Receipt.from_bytes(receipts[1].to_bytes())
    assert kept == receipts[1]
    assert check_proof(await kms.proof(kept), keys).index == 1
    for offset in (receipts[2].sealed.offset, 0, 10_000):
        moved = Receipt(replace(kept.sealed, offset=offset), kept.event)
        assert check_proof(await kms.proof(moved, timeout_s=0.3), keys).index == 1


async def test_what_is_no_receipt_is_not_proven(world: Any) -> None:
    """One that the worker did not sign, one that holds no outcome, and bytes that are none."""
    deployment, _, kms = world
    with kms.with_receipts() as receipts:
        await kms.encrypt(KEY, b"one")
    sealed = receipts[0].sealed
    forged = replace(sealed.record, value=sealed.record.value.replace(b"Encrypt", b"Decrypt"))
    with pytest.raises(RecordError):
        await kms.proof(Receipt.from_bytes(SealedRecord(0, forged).to_bytes()))
    genesis = deployment.genesis()
    record = record_of(b"registry", genesis.to_value(), deployment.signed(genesis))
    for wrong in (b"", bytes(8), SealedRecord(0, record).to_bytes()):
        with pytest.raises((ReceiptInvalid, RecordError)):
            Receipt.from_bytes(wrong)
    other = replace(sealed, record=record)
    with pytest.raises(RecordError):
        await kms.proof(Receipt(other, receipts[0].event))


async def test_a_checkpoint_that_never_comes_is_told(world: Any) -> None:
    """Tiles without a checkpoint make no proof."""
    _, log, kms = world
    with kms.with_receipts() as receipts:
        await kms.encrypt(KEY, b"one")
    tree = log.trees[receipts[0].partition]
    tree.append(receipts[0].sealed.record.leaf, receipts[0].sealed.offset)
    writer = kms._bus.writer("keyfold-notary-0")
    await writer.start()
    await writer.commit(tree.runs(receipts[0].partition, 0, 8192))
    with pytest.raises(NoCheckpoint):
        await kms.proof(receipts[0], timeout_s=0.3)
