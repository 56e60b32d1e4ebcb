"""What a ticket may bring that cannot be served: each gets its code in the outcome and, where it can, in the reply."""

from dataclasses import replace
from hashlib import sha256

import pytest
from tests.unit.hsm.deployment import NOW, Deployment, signer
from tests.unit.hsm.exchange import Order, results, with_sealed
from tests.unit.hsm.orders import create, new_key, rotate, use
from tests.unit.hsm.worker import Worker

from keyfold.bus import Inbound
from keyfold.events import facts, topics
from keyfold.events.errors import InternalError
from keyfold.events.replies import parse_reply
from keyfold.events.signatures import Verifier, reply_message
from keyfold.events.statements import SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.streams import key_stream


@pytest.fixture
async def key_id(deployment: Deployment, running: Worker) -> str:
    made = new_key()
    await running.execute(create(deployment, made))
    return made


async def test_a_body_of_another_command_is_refused(deployment: Deployment, running: Worker, key_id: str) -> None:
    """Lifted into a command of its own, with a decision that names it: HPKE's info does not fit. No reply key, so the
    error is clear and signed by the worker."""
    victim = use(deployment, "Encrypt", key_id, [(0, b"secret")])
    thief = with_sealed(use(deployment, "Encrypt", key_id, [(0, b"secret")]), victim.sealed)
    (answer,) = await running.execute(thief)
    assert deployment.outcome(thief).data.code == "InvalidBody"
    assert (answer.data.code, answer.data.outcome, answer.items) == ("InvalidBody", "error", None)
    _check_clear(deployment, thief)


async def test_a_body_that_was_not_decided_on_is_refused(deployment: Deployment, running: Worker, key_id: str) -> None:
    """The decision names the digest of another body."""
    order = use(deployment, "Encrypt", key_id, [(0, b"secret")])
    other = with_sealed(order, order.sealed[:-1] + bytes([order.sealed[-1] ^ 1]), decided=False)
    await running.execute(other)
    assert deployment.outcome(other).data.code == "InvalidBody"


@pytest.mark.parametrize("clear", [{"items": 2}, {"bytes": 7}, {"contexts": [{}] * 1, "items": 3}])
async def test_a_body_that_differs_from_the_clear_part_is_refused(
    deployment: Deployment, running: Worker, key_id: str, clear: dict[str, object]
) -> None:
    """Count, bytes and context indexes must be what the clear part says."""
    order = use(
        deployment, "Encrypt", key_id, [(0, b"one"), (1, b"two"), (0, b"")], contexts=[{}, {"a": "b"}], clear=clear
    )
    await running.execute(order)
    assert deployment.outcome(order).data.code == "InvalidBody"


async def test_data_verbs_expire(deployment: Deployment, running: Worker, key_id: str) -> None:
    """On the worker's clock; exactly at the end it is still in time."""
    late = use(deployment, "Encrypt", key_id, [(0, b"x")], expires_ms=NOW - 1)
    just = use(deployment, "Encrypt", key_id, [(0, b"x")], expires_ms=NOW)
    answers = await running.execute(late, just)
    assert (deployment.outcome(late).data.code, answers[0].data.code) == ("Expired", "Expired")
    assert isinstance(deployment.outcome(just), facts.KeyUsed)
    _check_clear(deployment, late)


async def test_control_and_fence_tickets_do_not_expire(deployment: Deployment, running: Worker, key_id: str) -> None:
    """A fence that came late still is a fence."""
    order = deployment.order(
        "DisableKey", key_stream(key_id), expires_ms=NOW - 60_000, decided=(facts.KeyDisabled, {"reason": ""})
    )
    await running.execute(order)
    assert isinstance(deployment.outcome(order), facts.KeyUseCeased)


async def test_facts_stand_whatever_their_body(deployment: Deployment, running: Worker, key_id: str) -> None:
    """A destruction whose body does not open is carried out; only its caller is told in clear."""
    order = deployment.order("DestroyKey", key_stream(key_id), decided=(facts.KeyDestroyed, {"versions": [1]}))
    order = with_sealed(order, b"rubbish")
    (answer,) = await running.execute(order)
    assert deployment.outcome(order).data.erased_versions == [1]
    assert answer.data.code == "InvalidBody"
    _check_clear(deployment, order)


async def test_nothing_is_made_for_a_body_that_does_not_open(deployment: Deployment, running: Worker) -> None:
    """CreateKey fails: policy marks the key as failed, and no blob exists."""
    order = with_sealed(create(deployment, new_key()), b"rubbish")
    await running.execute(order)
    outcome = deployment.outcome(order)
    assert (outcome.data.code, outcome.data.key_id) == ("InvalidBody", order.stream.removeprefix("key/"))
    assert deployment.keystore(deployment.partition(order)) == []


async def test_material_is_made_once(deployment: Deployment, running: Worker, key_id: str) -> None:
    """A second fact about the same version changes nothing that exists."""
    again = create(deployment, key_id)
    await running.execute(again)
    assert deployment.outcome(again).data.code == "AlreadyExists"
    assert len(deployment.keystore(deployment.partition(again))) == 1


async def test_an_unexpected_error_costs_its_ticket_only(
    deployment: Deployment, running: Worker, key_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug that one ticket meets: InternalError for it, the neighbours in the same batch are served; and nothing of
    the error's text is logged or told."""
    provider = running.parts.dispatcher.engine._data_verbs._providers["SOFTWARE"]
    protect = provider.protect

    def broken(handle: object, contexts: object, items: list[tuple[int, bytes]]) -> list[bytes]:
        if items[0][1] == b"poison":
            raise RuntimeError("poison secret")
        return protect(handle, contexts, items)  # type: ignore[arg-type]

    monkeypatch.setattr(provider, "protect", broken)
    orders = [use(deployment, "Encrypt", key_id, [(0, text)]) for text in (b"a", b"poison", b"b")]
    answers = await running.execute(*orders)
    assert [answer.data.code for answer in answers] == [None, InternalError.code, None]
    assert deployment.outcome(orders[1]).data.code == InternalError.code


async def test_a_reply_that_is_too_large_is_an_error(
    deployment: Deployment, running: Worker, key_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would not fit one reply record is not counted as used."""
    monkeypatch.setattr("keyfold.hsm.engine.MAX_PLAINTEXT_BYTES", 100)
    order = use(deployment, "Encrypt", key_id, [(0, b"x" * 100)])
    (answer,) = await running.execute(order)
    assert (deployment.outcome(order).data.code, answer.data.code) == ("ReplyTooLarge", "ReplyTooLarge")


@pytest.mark.parametrize(
    "reply", [{"partition": 99}, {"topic": "keyfold.replies.nobody"}, {"topic": topics.EVENTS, "partition": 1}]
)
async def test_a_reply_address_that_does_not_exist_is_dropped(
    deployment: Deployment, running: Worker, key_id: str, reply: dict[str, object]
) -> None:
    """Unknown topic or partition, and above all a topic that is no reply topic: the outcome stands, nothing is sent."""
    before = {topic: _end(deployment, topic) for topic in (topics.EVENTS, topics.REPLIES)}
    order = use(deployment, "Encrypt", key_id, [(0, b"x")], reply=reply)
    follower = use(deployment, "Encrypt", key_id, [(0, b"x")])
    await deployment.submit(order, follower)
    await running.finished(order, replied=False)
    await running.finished(follower)
    assert isinstance(deployment.outcome(order), facts.KeyUsed)
    assert deployment.replies(order) == []
    assert _end(deployment, topics.EVENTS) == before[topics.EVENTS] + 2
    assert _end(deployment, topics.REPLIES) == before[topics.REPLIES] + 1


async def test_a_command_of_a_newer_version_gets_its_outcome(deployment: Deployment, running: Worker) -> None:
    """Policy knew the verb, this worker does not: `UnsupportedVersion`, to the address that it names."""
    order = create(deployment, new_key())
    decision = order.event.data.decision
    text = decision.command.replace("keyfold.command.CreateKey.v1", "keyfold.command.CreateKey.v9")
    digest = sha256(text.encode()).hexdigest()
    changed = decision.model_copy(update={"command": text, "command_digest": digest})
    event = order.event.model_copy(update={"data": order.event.data.model_copy(update={"decision": changed})})
    order = replace(order, event=event, digest=digest)
    (answer,) = await running.execute(order)
    outcome = deployment.outcome(order)
    assert (outcome.data.code, outcome.data.verb) == ("UnsupportedVersion", "CreateKey")
    assert answer.data.code == "UnsupportedVersion"


async def test_the_batch_is_one_order(deployment: Deployment, running: Worker) -> None:
    """Create, encrypt, rotate, encrypt, destroy, encrypt, all pipelined in one transaction: each meets its state."""
    key_id = new_key()
    item = [(0, b"x")]
    orders = [
        create(deployment, key_id, "HSM"),
        use(deployment, "Encrypt", key_id, item, protection="HSM"),
        rotate(deployment, key_id, 2, "HSM"),
        use(deployment, "Encrypt", key_id, item, protection="HSM", version=2),
        deployment.order("DestroyKey", key_stream(key_id), decided=(facts.KeyDestroyed, {"versions": [1, 2]})),
        use(deployment, "Encrypt", key_id, item, protection="HSM", version=2),
    ]
    answers = await running.execute(*orders)
    assert [answer.data.code for answer in answers] == [None] * 5 + ["InvalidState"]
    assert len(results(answers[3])) == 1
    statements = {record.header("kf_statement") for record in _events(deployment, orders[0])}
    assert len(statements) == 1


async def test_a_short_body_is_refused(deployment: Deployment, running: Worker, key_id: str) -> None:
    """A body that opens and is no body."""
    order = use(deployment, "Encrypt", key_id, [(0, b"x")])
    value = order.event.data.decision.command.encode()
    order = with_sealed(order, deployment.seal(b"abc", value))
    await running.execute(order)
    assert deployment.outcome(order).data.code == "InvalidBody"


def _events(deployment: Deployment, order: Order) -> list[Inbound]:
    return deployment.records(topics.EVENTS, deployment.partition(order))


def _end(deployment: Deployment, topic: str) -> int:
    """Records of any partition but 0."""
    return sum(len(deployment.records(topic, partition, committed=False)) for partition in (1, 2, 3))


def _check_clear(deployment: Deployment, order: Order) -> None:
    """The clear reply is signed by the worker over deployment, stream and value."""
    for record in deployment.records(topics.REPLIES, 1):
        if parse_reply(record.value or b"").data.command_id == order.command_id:
            worker = signer("hsm")
            assert record.header(SIGNER_HEADER) == worker.fingerprint.encode()
            message = reply_message(deployment.id, order.stream.encode(), record.value or b"")
            Verifier(worker.public_key).verify(record.header(SIGNATURE_HEADER) or b"", message)
            assert record.key == order.stream.encode()
            return
    raise AssertionError("no clear reply")
