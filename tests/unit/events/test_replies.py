"""Replies: sealed results, clear errors and the usage MAC."""

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyfold.events.errors import InvalidCommand
from keyfold.events.replies import (
    SALT_BYTES,
    ItemResult,
    Reply,
    ReplyData,
    ReplyInvalid,
    decode_items,
    encode_items,
    parse_reply,
    seal,
    unseal,
    usage_mac,
)

KEY, SALT = bytes(range(32)), bytes(32)
DATA = ReplyData(
    command_id="0193f3a0-7c00-7000-8000-00000000000a",
    command_digest="d" * 64,
    outcome="keyfold.key.used.v1",
    key_id="0193f3a0-7c00-7000-8000-00000000000b",
    version=2,
)
ITEMS = [ItemResult(b"data"), ItemResult(b"", "InvalidCiphertext"), ItemResult(b"")]


def test_document_round_trip() -> None:
    """A reply's exact bytes parse to the same document, whose id names command and author."""
    reply = Reply.new("hsm", DATA)
    assert reply.id == f"{DATA.command_id}.hsm"
    assert parse_reply(reply.to_value()) == reply
    assert parse_reply(reply.to_value()).to_value() == reply.to_value()


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b'{"a":1,"a":1}', b"\xff"])
def test_no_reply(value: bytes) -> None:
    """What is not a reply is refused."""
    with pytest.raises(InvalidCommand):
        parse_reply(value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version":2', b'"version":-1'),
        (b'"version":2', b'"version":"2"'),
        (b"reply.v1", b"reply.v2"),
        (b'"version":2', b'"version":2,"more":1'),
        (b"dddd", b"DDDD"),
    ],
)
def test_malformed_reply(old: bytes, new: bytes) -> None:
    """A wrong or additional field is refused."""
    with pytest.raises(InvalidCommand):
        parse_reply(Reply.new("hsm", DATA).to_value().replace(old, new))


def test_item_layout() -> None:
    """Count, then per item status, length and bytes; a code takes the place of data."""
    made = encode_items([ItemResult(b"ab"), ItemResult(b"", "Expired")])
    assert made == b"\x00\x00\x00\x02" + b"\x00\x00\x00\x00\x02ab" + b"\x01\x00\x00\x00\x07Expired"


def test_items_round_trip() -> None:
    """Results and errors are read back, item by item."""
    assert decode_items(encode_items(ITEMS)) == ITEMS
    assert decode_items(encode_items([])) == []


def test_every_truncation_of_items() -> None:
    """A layout that ends early, or goes on, is refused."""
    made = encode_items(ITEMS)
    for bad in (*(made[:end] for end in range(len(made))), made + b"\x00"):
        with pytest.raises(ReplyInvalid):
            decode_items(bad)


@pytest.mark.parametrize("bad", [b"\x02\x00\x00\x00\x01a", b"\xff\x00\x00\x00\x01a", b"\x01\x00\x00\x00\x01\xff"])
def test_item_with_unknown_status_or_code(bad: bytes) -> None:
    """A status other than 0 and 1, or a code that is not ASCII, is refused."""
    with pytest.raises(ReplyInvalid):
        decode_items(b"\x00\x00\x00\x01" + bad)


def test_count_beyond_the_bytes() -> None:
    """A huge count over few bytes is refused at once."""
    with pytest.raises(ReplyInvalid):
        decode_items(b"\xff\xff\xff\xff")


def test_seal_and_unseal() -> None:
    """A sealed reply starts with its salt and opens with the same key and data."""
    sealed = seal(KEY, SALT, DATA, b"result")
    assert sealed[:SALT_BYTES] == SALT
    assert b"result" not in sealed
    assert unseal(KEY, DATA, sealed) == b"result"


@pytest.mark.parametrize(
    "change",
    [
        {"command_digest": "e" * 64},
        {"outcome": "keyfold.command.completed.v1"},
        {"code": "InternalError"},
        {"key_id": None},
        {"key_id": "0193f3a0-7c00-7000-8000-00000000000c"},
        {"version": 3},
        {"decision": "another"},
        {"registry_revision": 0},
    ],
    ids=str,
)
def test_everything_said_is_bound(change: dict[str, Any]) -> None:
    """A reply whose clear part was altered does not open."""
    sealed = seal(KEY, SALT, DATA, b"result")
    with pytest.raises(ReplyInvalid, match="does not open"):
        unseal(KEY, DATA.model_copy(update=change), sealed)


def test_every_altered_byte() -> None:
    """A reply does not open with one byte of salt, ciphertext or tag changed."""
    sealed = seal(KEY, SALT, DATA, b"result")
    for at in range(len(sealed)):
        altered = bytearray(sealed)
        altered[at] ^= 1
        with pytest.raises(ReplyInvalid):
            unseal(KEY, DATA, bytes(altered))


def test_truncated_or_foreign() -> None:
    """A reply that ends early, is empty, or was sealed under another reply key does not open."""
    sealed = seal(KEY, SALT, DATA, b"result")
    for end in range(len(sealed)):
        with pytest.raises(ReplyInvalid):
            unseal(KEY, DATA, sealed[:end])
    with pytest.raises(ReplyInvalid):
        unseal(bytes(32), DATA, sealed)


def test_usage_mac_by_hand() -> None:
    """The MAC is HMAC-SHA-256 under HKDF(reply key, purpose and command digest) over both digests."""
    key = HKDF(SHA256(), 32, None, b"keyfold-mac-v1" + bytes.fromhex("d" * 64)).derive(KEY)
    message = sha256(b"body").digest() + sha256(b"reply").digest()
    assert usage_mac(KEY, "d" * 64, b"body", b"reply") == hmac.new(key, message, sha256).hexdigest()


def test_usage_mac_depends_on_everything() -> None:
    """Another key, command, body or reply gives another MAC."""
    base = (KEY, "d" * 64, b"body", b"reply")
    others = [(bytes(32), *base[1:]), (KEY, "e" * 64, *base[2:]), (*base[:2], b"x", b"reply"), (*base[:3], b"x")]
    assert len({usage_mac(*each) for each in (base, *others)}) == 5


def test_repr_shows_nothing() -> None:
    """A result does not show its data when it is printed."""
    assert "data" not in repr(ItemResult(b"data"))


def test_golden_vectors(vectors: Callable[[str], Any]) -> None:
    """Documents, sealed bytes, item layout and MAC are as recorded."""
    golden = vectors("replies")
    for case in golden["cases"]:
        reply = parse_reply(case["value"].encode())
        key, plaintext = bytes.fromhex(case["reply_key_hex"]), bytes.fromhex(case["plaintext_hex"])
        assert reply.to_value().decode() == case["value"]
        assert unseal(key, reply.data, bytes.fromhex(case["sealed_hex"])) == plaintext
        assert seal(key, bytes.fromhex(case["salt_hex"]), reply.data, plaintext).hex() == case["sealed_hex"]
    layout = golden["item_layout"]
    items = decode_items(bytes.fromhex(layout["plaintext_hex"]))
    assert [{"data_hex": item.data.hex(), "code": item.code} for item in items] == layout["items"]
    assert parse_reply(golden["clear_reply"].encode()).data.code == "AccessDenied"
    mac = golden["usage_mac"]
    body, reply_text = bytes.fromhex(mac["opened_body_hex"]), bytes.fromhex(mac["reply_plaintext_hex"])
    assert usage_mac(bytes.fromhex(mac["reply_key_hex"]), mac["command_digest"], body, reply_text) == mac["mac"]
