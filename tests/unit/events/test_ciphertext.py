"""Ciphertexts and encryption contexts: layout only."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyfold.events.ciphertext import Algorithm, encode_context, header, item_nonce, parse, parse_header
from keyfold.events.errors import InvalidCiphertext, InvalidCommand

KEY_ID = bytes(range(16))


def test_golden_ciphertexts_open(vectors: Callable[[str], Any]) -> None:
    """The recorded ciphertexts open by what the layout says, and only under their own context."""
    golden = vectors("ciphertexts")
    material = bytes.fromhex(golden["material_hex"])
    for case in golden["cases"]:
        context = encode_context(case["context"])
        assert context.hex() == case["context_hex"]
        in_token, derived = (parse(bytes.fromhex(case[name])) for name in ("hsm_hex", "software_hex"))
        keys = HKDF(SHA256(), 64, derived.salt, b"keyfold-software-v1" + derived.prefix[:26]).derive(material)
        assert keys[32:] == derived.commitment
        assert (in_token.key_version, derived.nonce) == (2, item_nonce(7))
        for key, each in ((material, in_token), (keys[:32], derived)):
            assert AESGCM(key).decrypt(each.nonce, each.body, each.prefix + context) == b"hello"


def test_header_layout() -> None:
    """Magic, version, key id, key version, algorithm: 26 bytes."""
    made = header(KEY_ID, 258, Algorithm.AES_256_GCM_DERIVED)
    assert made == b"KFCT\x01" + KEY_ID + b"\x00\x00\x01\x02\x02"
    assert parse_header(made) == (KEY_ID, 258, Algorithm.AES_256_GCM_DERIVED)


@pytest.mark.parametrize(("key_id", "version"), [(b"", 1), (bytes(17), 1), (KEY_ID, 0), (KEY_ID, 2**32)])
def test_no_header_for(key_id: bytes, version: int) -> None:
    """An id or version that does not fit is a mistake of the program."""
    with pytest.raises(ValueError, match="16 bytes"):
        header(key_id, version, Algorithm.AES_256_GCM)


def test_every_truncation(vectors: Callable[[str], Any]) -> None:
    """A ciphertext that is too short for its parts is invalid."""
    case = vectors("ciphertexts")["cases"][0]
    for name in ("hsm_hex", "software_hex"):
        whole = bytes.fromhex(case[name])
        for end in range(len(whole) - 5):
            with pytest.raises(InvalidCiphertext):
                parse(whole[:end])


@pytest.mark.parametrize("at", [0, 3, 4, 25])
def test_wrong_header(vectors: Callable[[str], Any], at: int) -> None:
    """Another magic, version or algorithm is invalid."""
    bad = bytearray.fromhex(vectors("ciphertexts")["cases"][0]["hsm_hex"])
    bad[at] = 9
    with pytest.raises(InvalidCiphertext):
        parse(bytes(bad))


def test_version_zero(vectors: Callable[[str], Any]) -> None:
    """Key versions count from 1."""
    bad = bytearray.fromhex(vectors("ciphertexts")["cases"][0]["hsm_hex"])
    bad[21:25] = bytes(4)
    with pytest.raises(InvalidCiphertext):
        parse(bytes(bad))


def test_context_is_sorted_by_bytes() -> None:
    """Pairs are sorted by the raw UTF-8 bytes of their keys, and nothing is normalised."""
    assert encode_context({"b": "1", "a": "2"}) == encode_context({"a": "2", "b": "1"})
    assert encode_context({"é": ""}) != encode_context({"e\u0301": ""})
    high, astral = "\uffff", "\U00010000"
    assert encode_context({astral: "", high: ""}).index(high.encode()) < encode_context({astral: "", high: ""}).index(
        astral.encode()
    )


def test_context_is_unambiguous() -> None:
    """Bytes that move between keys, values and pairs give another encoding."""
    contexts = [{}, {"": ""}, {"a": "b"}, {"ab": ""}, {"": "ab"}, {"a": "", "b": ""}]
    assert len({encode_context(context) for context in contexts}) == len(contexts)
    assert encode_context({"a": "bc"}) == b"\x00\x00\x00\x01a\x00\x00\x00\x02bc"


@pytest.mark.parametrize("context", [{"a": "\ud800"}, {"\ud800": ""}, {"a": 1}, {1: "a"}])
def test_no_context(context: Any) -> None:
    """What is not Unicode text has no encoding."""
    with pytest.raises(InvalidCommand):
        encode_context(context)
