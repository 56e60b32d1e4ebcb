"""Orders: what is written parses as what was meant, is signed, sealed, and in its place."""

import json
import os
import re
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfold.client.contexts import ContextTexts
from keyfold.client.identifiers import uuid7
from keyfold.client.intents import Intent
from keyfold.client.orders import OrderWriter, ReplyPlace, Stamp
from keyfold.client.parcels import index_items
from keyfold.client.view import SealingKey
from keyfold.events import bodies, commands
from keyfold.events.command_envelope import check_scope, source_of
from keyfold.events.replies import CORRELATION_HEADER
from keyfold.events.signatures import Signer, Verifier, command_message
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.streams import UUID_PATTERN, partition_of
from keyfold.identity import Identity

KEY_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
SIGNER = Signer(b"s" * 32)
DEPLOYMENT = "d0" * 32

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
contexts = st.dictionaries(texts, texts, max_size=4)


@pytest.fixture(scope="module")
def sealing() -> Any:
    """A key pair that bodies are sealed to."""
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey

    return MLKEM768X25519PrivateKey(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())


@given(pairs=st.lists(st.tuples(st.binary(max_size=20), contexts), min_size=1, max_size=5), revision=st.integers(0, 99))
def test_an_order_is_the_command_that_was_meant(
    sealing: Any, pairs: list[tuple[bytes, dict[str, str]]], revision: int
) -> None:
    """The service's strict reader finds every field; the body opens and agrees with the clear part."""
    remember = ContextTexts()
    items, distinct = index_items([(data, remember.text(context)) for data, context in pairs])
    writer = OrderWriter(Identity("alice", DEPLOYMENT, SIGNER), DEPLOYMENT, 12, ReplyPlace("keyfold.replies", 3))
    stamp = Stamp(
        uuid7(1_700_000_000_000, os.urandom(10)), os.urandom(32), 1_700_000_000_000, 1_700_000_060_000, revision
    )
    intent = Intent("Encrypt", f"key/{KEY_ID}", data_plane=True, alias="alias/a", retry_of=KEY_ID)
    order = writer.write(intent, items, distinct, SealingKey(KEY_ID, sealing.public_key(), 0), stamp)
    record, value = order.record, order.record.value or b""
    command: Any = commands.parse_command(value)
    check_scope(command)
    assert (record.partition, record.key) == (partition_of(intent.stream, 12), intent.stream.encode())
    assert (order.digest, command.id, command.time) == (sha256(value).hexdigest(), stamp.id, "2023-11-14T22:13:20.000Z")
    data = command.data
    assert (data.principal, data.signing_key, data.expires_at) == (
        "alice", SIGNER.fingerprint, "2023-11-14T22:14:20.000Z",
    )  # fmt: skip
    assert (data.min_registry_revision, data.retry_of, data.alias) == (revision or None, KEY_ID, "alias/a")
    assert data.reply.model_dump() == {"topic": "keyfold.replies", "partition": 3, "correlation_id": stamp.id}
    headers = dict(record.headers)
    assert (headers[CORRELATION_HEADER], headers[SIGNER_HEADER]) == (stamp.id.encode(), SIGNER.fingerprint.encode())
    message = command_message(DEPLOYMENT, record.key or b"", value, headers[SEALED_HEADER])
    Verifier(SIGNER.public_key).verify(headers[SIGNATURE_HEADER], message)
    opened = bodies.SUITE.decrypt(headers[SEALED_HEADER], sealing, bodies.info(value))
    body = bodies.decode(opened, items=data.items, total_bytes=data.bytes, contexts=len(data.contexts))
    assert body.reply_key == stamp.reply_key
    assert [(item, data.contexts[index]) for index, item in body.items] == pairs
    assert len({json.dumps(context, sort_keys=True) for context in data.contexts}) == len(data.contexts)


@given(
    reason=st.one_of(st.none(), texts),
    dry_run=st.booleans(),
    proposal=st.sampled_from([None, KEY_ID]),
    host=st.one_of(st.none(), st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}\Z")),
    data_plane=st.booleans(),
)
def test_an_order_says_why_whether_and_for_which_proposal(
    sealing: Any, reason: str | None, dry_run: bool, proposal: str | None, host: str | None, data_plane: bool
) -> None:
    """What is not said means the same as what is the default."""
    place = ReplyPlace("keyfold.replies", 3)
    writer = OrderWriter(Identity("alice", DEPLOYMENT, SIGNER), DEPLOYMENT, 12, place, host)
    proposal = proposal if data_plane else None
    verb = "Encrypt" if data_plane else "RotateKey"
    intent = Intent(verb, f"key/{KEY_ID}", data_plane=data_plane, reason=reason, dry_run=dry_run, proposal=proposal)
    stamp = Stamp(KEY_ID, b"r" * 32, 1_700_000_000_000, 1_700_000_060_000)
    items, used = ([(0, b"x")], ["{}"]) if data_plane else ([], [])
    order = writer.write(intent, items, used, SealingKey(KEY_ID, sealing.public_key(), 0), stamp)
    command: Any = commands.parse_command(order.record.value or b"")
    check_scope(command)
    assert (command.data.reason, command.data.dry_run) == (reason, dry_run)
    assert getattr(command.data, "proposal", None) == proposal
    assert source_of(command) == (host or "")


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_ids_are_uuids_of_version_7_in_order_of_time(now_ms: int, random: bytes) -> None:
    """RFC 9562, section 5.7."""
    text = uuid7(now_ms, random)
    assert re.fullmatch(UUID_PATTERN, text)
    assert (text[14], text[19] in "89ab", int(text.replace("-", "")[:12], 16)) == ("7", True, now_ms)


def test_equal_contexts_have_one_text_whatever_their_order() -> None:
    """So a record's contexts are distinct; memory is bounded."""
    remember = ContextTexts()
    assert remember.text({"a": "1", "b": "2"}) == remember.text({"b": "2", "a": "1"}) == '{"a":"1","b":"2"}'
    assert remember.text({}) == remember.text(None) == "{}"
    for n in range(10_000):
        remember.text({"n": str(n)})
    assert len(remember._known) <= 8192
