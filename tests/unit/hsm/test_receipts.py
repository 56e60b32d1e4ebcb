"""Who asks for a receipt gets the outcome's record as it was committed, sealed; who does not, what it always got."""

from typing import Any

import pytest
from tests.unit.hsm.deployment import Deployment, signer
from tests.unit.hsm.exchange import Order, with_sealed
from tests.unit.hsm.orders import create, new_key, random_bytes, use
from tests.unit.hsm.worker import Worker

from keyfold.bus import Inbound, Outbound
from keyfold.events import facts, topics
from keyfold.events.log_records import record_of
from keyfold.events.receipts import RECEIPT_HEADER, ReceiptInvalid, SealedRecord, open_receipt
from keyfold.events.streams import key_stream
from keyfold.events.trust import Trust
from keyfold.hsm.engine import Work
from keyfold.hsm.receipts import with_receipts

ASKED = {"receipt": True}


def asked_use(deployment: Deployment, key_id: str, *, receipt: bool = True, **more: Any) -> Order:
    return use(deployment, "Encrypt", key_id, [(0, b"one")], clear=ASKED if receipt else {}, **more)


def reply_record(deployment: Deployment, order: Order) -> Inbound:
    found = [
        r
        for r in deployment.records(topics.REPLIES, 1, committed=False)
        if order.command_id.encode() in (r.value or b"")
    ]
    assert len(found) == 1
    return found[0]


def receipt(deployment: Deployment, order: Order) -> SealedRecord:
    sealed = reply_record(deployment, order).header(RECEIPT_HEADER)
    assert sealed is not None
    return open_receipt(order.reply_key, order.digest, sealed)


def logged(deployment: Deployment, order: Order, event: facts.Event) -> Inbound:
    place = deployment.partition(order)
    return next(r for r in deployment.records(topics.EVENTS, place) if r.value == event.to_value())


def trusting(deployment: Deployment) -> Trust:
    trust = Trust.pin(deployment.id, signer("root").public_key)
    for event in deployment.events(0):
        trust = trust.with_event(event)
    return trust


async def test_a_receipt_is_the_outcome_as_it_was_committed(deployment: Deployment, running: Worker) -> None:
    """In a batch of several, for control and data verbs alike, each caller gets its own, and only who asked."""
    key_id = new_key()
    plain = create(deployment, key_id)
    made = deployment.order(
        "CreateKey", key_stream(key_id), arguments={"key_spec": "SYMMETRIC_DEFAULT", "protection": "SOFTWARE"},
        decided=(type(plain.event), plain.event.data.model_dump(exclude={"decision", "key_id"})), clear=ASKED,
    )  # fmt: skip
    await running.execute(made)
    orders = [asked_use(deployment, key_id, receipt=number != 1) for number in range(4)]
    await running.execute(*orders)
    for order in (made, orders[0], orders[2], orders[3]):
        found, outcome = receipt(deployment, order), deployment.outcome(order)
        record = logged(deployment, order, outcome)
        assert found == SealedRecord(record.offset, record_of(record.key, record.value, record.headers))
        assert found.verify(trusting(deployment)) == outcome
        assert outcome.data.command_id == order.command_id
    assert reply_record(deployment, orders[1]).header(RECEIPT_HEADER) is None


async def test_a_failure_has_a_receipt_too(deployment: Deployment, running: Worker) -> None:
    """What failed was decided and is in the log; a body that does not open leaves no key to seal a receipt with."""
    key_id = new_key()
    await running.execute(create(deployment, key_id))
    failed = asked_use(deployment, key_id, expires_ms=1)
    await running.execute(failed)
    unopened = with_sealed(asked_use(deployment, key_id), b"not sealed to anybody")
    await running.execute(unopened)
    assert isinstance(deployment.outcome(unopened), facts.OperationFailed)
    assert reply_record(deployment, unopened).header(RECEIPT_HEADER) is None
    wrong = asked_use(deployment, new_key())
    await running.execute(wrong)
    found = receipt(deployment, wrong).verify(trusting(deployment))
    assert isinstance(found, facts.OperationFailed)


async def test_nobody_else_opens_a_receipt(deployment: Deployment, running: Worker) -> None:
    """It is sealed to the caller's reply key, and bound to the command."""
    order = deployment.order(
        "GenerateRandom", random_bytes(deployment, 1, 8).stream, [(0, b"")], arguments={"number_of_bytes": 8},
        clear=ASKED,
    )  # fmt: skip
    await running.execute(order)
    sealed = reply_record(deployment, order).header(RECEIPT_HEADER)
    assert sealed is not None
    digest = order.digest
    for key, named, content in (
        (bytes(32), digest, sealed),
        (order.reply_key, "0" * 64, sealed),
        (order.reply_key, digest, sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (order.reply_key, digest, b""),
    ):
        with pytest.raises(ReceiptInvalid):
            open_receipt(key, named, content)
    assert isinstance(receipt(deployment, order).verify(trusting(deployment)), facts.CommandCompleted)


async def test_a_result_that_fills_its_reply_leaves_no_room(deployment: Deployment, running: Worker) -> None:
    """The result matters more than the receipt."""
    order = create(deployment, new_key())
    ticket: Any = _Ticket(order)
    for size, there in ((1000, True), (topics.MAX_REPLY_BYTES - 4096, False)):
        reply = Outbound(topics.REPLIES, 1, b"k", b"{}", (("kf_sealed", bytes(size)),))
        work = Work((order.event,), reply=reply, ticket=ticket, receipt_key=bytes(32))
        record = Outbound(topics.EVENTS, 1, b"k", b"v")
        (done,) = with_receipts([work], [record], [7])
        assert done.reply is not None
        assert (RECEIPT_HEADER in dict(done.reply.headers)) is there


class _Ticket:
    """What a receipt needs to know of a ticket."""

    def __init__(self, order: Order) -> None:
        self.decision = order.event.data.decision
