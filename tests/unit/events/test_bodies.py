"""Sealed bodies: layout, and what HPKE binds them to."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

from keyfold.events import bodies
from keyfold.events.errors import InvalidBody

KEY = bytes(range(32))
ITEMS = [(0, b"hello"), (1, b""), (0, b"world!")]


def decode(body: bytes, *, items: int = 3, total_bytes: int = 11, contexts: int = 2) -> bodies.Body:
    return bodies.decode(body, items=items, total_bytes=total_bytes, contexts=contexts)


def test_layout() -> None:
    """Version, reply key, count, then per item context index, length and bytes, big-endian."""
    made = bodies.encode(KEY, [(1, b"ab")])
    assert made == b"\x01" + KEY + b"\x00\x00\x00\x01" + b"\x00\x01" + b"\x00\x00\x00\x02" + b"ab"


def test_round_trip() -> None:
    """What was laid out is read back."""
    opened = decode(bodies.encode(KEY, ITEMS))
    assert (opened.reply_key, opened.items) == (KEY, ITEMS)


def test_no_items() -> None:
    """A control verb's body holds the reply key alone."""
    opened = decode(bodies.encode(KEY, []), items=0, total_bytes=0, contexts=0)
    assert (opened.reply_key, opened.items) == (KEY, [])


@pytest.mark.parametrize(
    "clear",
    [{"items": 2}, {"items": 4}, {"total_bytes": 10}, {"total_bytes": 12}, {"contexts": 1}, {"contexts": 0}],
    ids=str,
)
def test_differs_from_the_clear_part(clear: dict[str, int]) -> None:
    """A body whose count, bytes or context indexes are not the command's is refused."""
    with pytest.raises(InvalidBody):
        decode(bodies.encode(KEY, ITEMS), **clear)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_version(version: int) -> None:
    """Only version 1 is read."""
    with pytest.raises(InvalidBody, match="version"):
        decode(bytes([version]) + bodies.encode(KEY, ITEMS)[1:])


def test_every_truncation() -> None:
    """A body that ends early is refused, wherever it ends."""
    body = bodies.encode(KEY, ITEMS)
    for end in range(len(body)):
        with pytest.raises(InvalidBody):
            decode(body[:end])


def test_lengths_that_shift() -> None:
    """Item lengths that add up but leave no room for the next item are refused."""
    body = bytearray(bodies.encode(KEY, ITEMS))
    body[37 + 2 : 37 + 6] = (5 + 6 + 6 + 6).to_bytes(4, "big")  # the first item swallows all that follows
    with pytest.raises(InvalidBody, match="ends inside an item"):
        decode(bytes(body))


def test_bytes_after_the_last_item() -> None:
    """Bytes that no item covers are refused, also where the total is right."""
    body = bytearray(bodies.encode(KEY, ITEMS))
    body[-10:-6] = (5).to_bytes(4, "big")
    with pytest.raises(InvalidBody, match="after its last item"):
        decode(bytes(body))


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_reply_key_has_32_bytes(key: bytes) -> None:
    """A reply key of another size is not laid out."""
    with pytest.raises(InvalidBody, match="32 bytes"):
        bodies.encode(key, [])


@pytest.mark.parametrize("index", [-1, 65_536])
def test_index_that_does_not_fit(index: int) -> None:
    """A context index that the layout cannot hold is a typed error."""
    with pytest.raises(InvalidBody, match="16 bits"):
        bodies.encode(KEY, [(index, b"")])


def test_repr_shows_nothing() -> None:
    """An opened body does not show its reply key or items when it is printed."""
    shown = repr(decode(bodies.encode(KEY, ITEMS)))
    assert "hello" not in shown
    assert "reply_key" not in shown


def test_info_names_the_exact_value() -> None:
    """HPKE's info is the purpose and the digest of the command's value."""
    assert bodies.info(b"value") == b"keyfold-seal-v1" + sha256(b"value").digest()


def test_golden_layouts(vectors: Callable[[str], Any]) -> None:
    """Layouts are as recorded."""
    for case in vectors("bodies")["cases"]:
        items = [(item["context"], bytes.fromhex(item["data_hex"])) for item in case["items"]]
        assert bodies.encode(bytes.fromhex(case["reply_key_hex"]), items).hex() == case["body_hex"]


def recorded(vectors: Callable[[str], Any]) -> tuple[MLKEM768X25519PrivateKey, dict[str, Any]]:
    case = vectors("hpke")["cases"][0]
    ml_kem = MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(case["ml_kem_768_seed_hex"]))
    x25519 = X25519PrivateKey.from_private_bytes(bytes.fromhex(case["x25519_private_hex"]))
    return MLKEM768X25519PrivateKey(ml_kem, x25519), case


def test_recorded_body_opens(vectors: Callable[[str], Any]) -> None:
    """The recorded sealed body opens with its key and command, and holds what was laid out."""
    private, case = recorded(vectors)
    info = bodies.info(case["command_value"].encode())
    assert info.hex() == case["info_hex"]
    opened = bodies.SUITE.decrypt(bytes.fromhex(case["sealed_hex"]), private, info)
    assert opened.hex() == case["plaintext_hex"]
    assert decode(opened).items == ITEMS


def test_recorded_body_is_bound_to_its_command(vectors: Callable[[str], Any]) -> None:
    """Lifted into another command, or altered in its encapsulation, ciphertext or tag, a body does not open."""
    private, case = recorded(vectors)
    sealed, info = bytes.fromhex(case["sealed_hex"]), bytes.fromhex(case["info_hex"])
    with pytest.raises(InvalidTag):
        bodies.SUITE.decrypt(sealed, private, bodies.info(b"another command"))
    for at in (0, 1100, 1120, len(sealed) - 1):
        altered = bytearray(sealed)
        altered[at] ^= 1
        with pytest.raises(InvalidTag):
            bodies.SUITE.decrypt(bytes(altered), private, info)


def test_published_key_is_ml_kem_then_x25519(vectors: Callable[[str], Any]) -> None:
    """The public key is 1,216 bytes: ML-KEM-768, then X25519."""
    private, case = recorded(vectors)
    raw = bytes.fromhex(case["public_key_hex"])
    assert len(raw) == 1184 + 32
    ml_kem, x25519 = MLKEM768PublicKey.from_public_bytes(raw[:1184]), X25519PublicKey.from_public_bytes(raw[1184:])
    sealed = bodies.SUITE.encrypt(b"body", MLKEM768X25519PublicKey(ml_kem, x25519), b"info")
    assert bodies.SUITE.decrypt(sealed, private, b"info") == b"body"
