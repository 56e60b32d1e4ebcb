"""The same command again: ignored while it is in flight, told what came of it, never executed twice."""

import json
from dataclasses import replace

from tests.support.desk import Desk, fresh_registry, outcome_of
from tests.support.people import LIFETIME_MS, Signed, command, document, key_on, signed, signed_by, signer, uuid

from keyfold.events import facts
from keyfold.events.replies import ReplyData, parse_reply
from keyfold.events.signatures import Verifier, reply_message
from keyfold.events.statements import SIGNATURE_HEADER, SIGNER_HEADER

KEY = key_on(2)
CREATE = command("CreateKey", KEY, 1)
ENCRYPT = command("Encrypt", KEY, 2)


def office() -> Desk:
    made = Desk(2, fresh_registry())
    made.decide(CREATE)
    made.finish(outcome_of(decision(made)))
    return made


def decision(desk: Desk) -> facts.PolicyEvent:
    event = desk.last()
    assert isinstance(event, facts.PolicyEvent)
    return event


def replies(desk: Desk) -> list[ReplyData]:
    return [parse_reply(reply.value or b"").data for reply in desk.batches[-1].replies]


def test_in_flight() -> None:
    """A duplicate whose original is in flight gets nothing: the original's own answer is on its way."""
    desk = office()
    desk.decide(ENCRYPT)
    batch = desk.decide(ENCRYPT, ENCRYPT)
    assert (batch.events, batch.tickets, batch.replies, batch.dead_letters) == ([], [], [], [])


def test_within_one_batch() -> None:
    """The same bytes twice in one batch are decided once."""
    desk = office()
    assert len(desk.decide(ENCRYPT, ENCRYPT).events) == 1


def test_finished() -> None:
    """A finished one is answered with what came of it, signed by policy and without a result."""
    desk = office()
    desk.decide(ENCRYPT)
    used = {"items": 1, "bytes": 10, "versions": {"1": 1}, "failures": {}, "mac": "0" * 64}
    desk.finish(outcome_of(decision(desk), facts.KeyUsed, key_id=KEY.removeprefix("key/"), **used))
    batch = desk.decide(ENCRYPT)
    (data,) = replies(desk)
    assert (data.code, data.outcome) == ("AlreadyExecuted", "keyfold.key.used.v1")
    assert (data.command_digest, data.key_id) == (ENCRYPT.digest, KEY.removeprefix("key/"))
    (reply,) = batch.replies
    headers = dict(reply.headers)
    assert headers[SIGNER_HEADER].decode() == signer("policy").fingerprint
    assert headers["kafka_correlationId"] == b"c-2"
    message = reply_message(signer("root").fingerprint, KEY.encode(), reply.value or b"")
    Verifier(signer("policy").public_key).verify(headers[SIGNATURE_HEADER], message)


def test_summaries() -> None:
    """The summary names the version that was made; a failure and a denial name their code."""
    desk = office()
    made = {"version": 2, "key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM", "blob_digest": "0" * 64}
    rotate = command("RotateKey", KEY, 3)
    desk.decide(rotate)
    desk.finish(outcome_of(decision(desk), facts.KeyMaterialGenerated, key_id=KEY.removeprefix("key/"), **made))
    desk.decide(rotate)
    assert [(data.outcome, data.version) for data in replies(desk)] == [("keyfold.key.material-generated.v1", 2)]
    desk.decide(ENCRYPT)
    key_id = KEY.removeprefix("key/")
    desk.finish(outcome_of(decision(desk), facts.OperationFailed, key_id=key_id, code="InvalidBody"))
    desk.decide(ENCRYPT)
    assert [data.outcome for data in replies(desk)] == ["keyfold.operation.failed.v1:InvalidBody"]
    denied = command("EnableKey", key_on(2, 500), 4)
    desk.decide(denied)
    desk.decide(denied)
    assert [data.outcome for data in replies(desk)] == ["keyfold.command.denied.v1:NotFound"]


def test_denied_within_one_batch() -> None:
    """A denied command that stands twice in a batch is denied once; the second is told what came of it."""
    desk = office()
    denied = command("EnableKey", key_on(2, 500), 4)
    batch = desk.decide(denied, denied)
    assert len(batch.events) == 1
    assert [data.code for data in replies(desk)] == ["NotFound", "AlreadyExecuted"]


def variant(**changes: object) -> Signed:
    made = document("Encrypt", KEY, 2)
    made["data"].update(changes)
    return signed(made, KEY)


def test_another_digest_or_body_under_the_same_id() -> None:
    """The same id with other bytes or another body is a conflict, whether in flight, finished or in one batch."""
    desk = office()
    other_body = signed_by(signer("alice"), ENCRYPT.value, KEY, b"another body")
    for other in (variant(items=2), other_body, replace(ENCRYPT, value=ENCRYPT.value + b" ")):
        again = signed_by(signer("alice"), other.value, KEY, other.sealed)
        desk.decide(ENCRYPT, again)
        assert [data.code for data in replies(desk)][-1:] == ["IdempotencyConflict"]
    desk.finish(outcome_of(decision(desk)))
    desk.decide(variant(items=3))
    assert [data.code for data in replies(desk)] == ["IdempotencyConflict"]
    assert len(desk.events) == 2


def test_ids_belong_to_their_principal() -> None:
    """Two principals may use the same id: one cannot answer or block for the other."""
    desk = office()
    desk.decide(ENCRYPT)
    assert len(desk.decide(command("Encrypt", KEY, 2, principal="bob")).events) == 1


def test_remembered_until_it_expires() -> None:
    """A command is remembered as long as it could be accepted, and forgotten then: the id is free again."""
    desk = office()
    desk.decide(ENCRYPT)
    desk.finish(outcome_of(decision(desk)))
    desk.now_ms += LIFETIME_MS - 1
    desk.decide(ENCRYPT)
    assert [data.code for data in replies(desk)] == ["AlreadyExecuted"]
    desk.now_ms += 1
    desk.decide(ENCRYPT)
    assert [data.code for data in replies(desk)] == ["Expired"]
    assert not desk.batches[-1].events
    desk.decide(command("Encrypt", KEY, 3, issued_ms=desk.now_ms))
    assert desk.state.memory.recall(("alice", uuid(2))) is None
    assert len(desk.decide(command("Encrypt", KEY, 2, issued_ms=desk.now_ms)).events) == 1


def test_forgotten_by_time_not_by_chance() -> None:
    """An expired id is free whether its record was dropped already or not: that depends on how batches fell."""
    desk = office()
    desk.decide(ENCRYPT)
    desk.finish(outcome_of(decision(desk)))
    desk.now_ms += LIFETIME_MS
    assert len(desk.decide(command("Encrypt", KEY, 2, issued_ms=desk.now_ms, items=2)).events) == 1


def test_in_flight_is_remembered_beyond_its_expiry() -> None:
    """A command without an outcome is remembered however late it is: its outcome must find it."""
    desk = office()
    desk.decide(ENCRYPT)
    event = decision(desk)
    desk.now_ms += 10 * LIFETIME_MS
    desk.decide(command("Encrypt", KEY, 3, issued_ms=desk.now_ms))
    assert desk.state.memory.in_flight == 2
    desk.finish(outcome_of(event))
    assert desk.state.memory.in_flight == 1
    desk.decide(command("Encrypt", KEY, 4, issued_ms=desk.now_ms))
    assert desk.state.memory.recall(("alice", uuid(2))) is None


def test_outcomes_for_nobody() -> None:
    """An outcome for a command that is unknown or has one already changes nothing."""
    desk = office()
    desk.decide(ENCRYPT)
    first = outcome_of(decision(desk))
    desk.finish(first)
    failed = outcome_of(decision(desk), facts.OperationFailed, key_id=KEY.removeprefix("key/"), code="InvalidBody")
    desk.finish(failed)
    desk.decide(ENCRYPT)
    assert [data.outcome for data in replies(desk)] == ["keyfold.command.completed.v1"]


def test_replies_echo_nothing() -> None:
    """A refusal holds a code, digests and ids: no text that the client chose."""
    desk = office()
    desk.decide(command("Encrypt", KEY, 5, contexts=[{"tenant": "blue", "patient": "4711"}], items=1001))
    (reply,) = desk.batches[-1].replies
    assert set(json.loads(reply.value or b"{}")["data"]) <= {
        "command_id", "command_digest", "outcome", "code", "key_id", "version", "decision", "registry_revision",
    }  # fmt: skip
    assert b"4711" not in (reply.value or b"")


def test_dead_letters_name_the_principal_where_it_was_verified() -> None:
    """A conflict and an expired command are somebody's; what a stranger signed is nobody's."""
    desk = office()
    desk.decide(ENCRYPT)
    another = command("Encrypt", KEY, 2, contexts=[{"other": "context"}])
    late = command("Encrypt", KEY, 3)
    stranger = signed_by(signer("stranger"), ENCRYPT.value, KEY)
    letters = desk.decide(another, stranger).dead_letters
    assert [(letter.code, letter.principal) for letter in letters] == [
        ("IdempotencyConflict", "alice"), ("UnknownPrincipal", None)
    ]  # fmt: skip
    desk.now_ms += 10 * LIFETIME_MS
    (letter,) = desk.decide(late).dead_letters
    assert (letter.code, letter.principal) == ("Expired", "alice")
