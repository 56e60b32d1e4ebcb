"""Properties of ciphertexts and encryption contexts, over generated ones."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfold.custody import DerivedKeys, InMemory, KeyReference
from keyfold.custody.derived import derive
from keyfold.custody.references import MemoryHandle
from keyfold.events import ciphertext as fmt
from keyfold.events.ciphertext import Algorithm, encode_context, header, parse, parse_header
from keyfold.events.errors import InvalidCiphertext, InvalidCommand

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
CONTEXT = st.dictionaries(TEXT, TEXT, max_size=4)
KEY_ID = st.binary(min_size=16, max_size=16)
VERSION = st.integers(1, 2**32 - 1)
MATERIAL = st.binary(min_size=32, max_size=32)


def handle(key_id: bytes, version: int, material: bytes) -> MemoryHandle:
    reference = KeyReference(key_id, version, "SYMMETRIC_DEFAULT", "SOFTWARE")
    return MemoryHandle(reference, material, lambda _: None)


def open_one(opened: MemoryHandle, context: bytes, data: bytes) -> bytes | InvalidCiphertext:
    memory = InMemory(DerivedKeys())
    key_id, version, *_ = opened.reference
    return memory.unprotect(key_id, lambda v: opened if v == version else None, [context], [(0, data)])[0]


@given(KEY_ID, VERSION, MATERIAL, CONTEXT, st.lists(st.binary(max_size=50), max_size=5))
def test_round_trip(
    key_id: bytes, version: int, material: bytes, context: dict[str, str], plaintexts: list[bytes]
) -> None:
    """What was protected opens, with the same key, version and context."""
    memory, opened = InMemory(DerivedKeys()), handle(key_id, version, material)
    encoded = [encode_context(context)]
    made = memory.protect(opened, encoded, [(0, data) for data in plaintexts])
    items = [(0, data) for data in made]
    assert memory.unprotect(key_id, lambda _: opened, encoded, items) == plaintexts
    for index, data in enumerate(made):
        parsed = parse(data)
        assert (parsed.key_id, parsed.key_version) == (key_id, version)
        assert parsed.nonce == fmt.item_nonce(index)
        assert parsed.prefix + parsed.nonce[-4:] + parsed.body == data


@given(st.data())
def test_every_bit_flip_is_refused(data: st.DataObject) -> None:
    """Any bit, anywhere."""
    opened, context = handle(bytes(16), 1, bytes(32)), encode_context({"a": "b"})
    (made,) = InMemory(DerivedKeys()).protect(opened, [context], [(0, data.draw(st.binary(max_size=40)))])
    at = data.draw(st.integers(0, len(made) * 8 - 1))
    flipped = bytearray(made)
    flipped[at // 8] ^= 1 << at % 8
    assert isinstance(open_one(opened, context, bytes(flipped)), InvalidCiphertext)


@given(CONTEXT, CONTEXT, st.binary(max_size=20))
def test_a_wrong_context_is_refused(right: dict[str, str], wrong: dict[str, str], plaintext: bytes) -> None:
    """Opens exactly when the contexts are equal as mappings."""
    opened = handle(bytes(16), 1, bytes(32))
    (made,) = InMemory(DerivedKeys()).protect(opened, [encode_context(right)], [(0, plaintext)])
    result = open_one(opened, encode_context(wrong), made)
    assert (result == plaintext) if right == wrong else isinstance(result, InvalidCiphertext)


@given(st.tuples(KEY_ID, VERSION, MATERIAL), st.tuples(KEY_ID, VERSION, MATERIAL))
def test_another_key_or_version_is_refused(right: tuple[bytes, int, bytes], wrong: tuple[bytes, int, bytes]) -> None:
    """Id, version and material all have to be the same."""
    (made,) = InMemory(DerivedKeys()).protect(handle(*right), [b""], [(0, b"x")])
    result = open_one(handle(*wrong), b"", made)
    assert (result == b"x") if right == wrong else isinstance(result, InvalidCiphertext)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_parsing_raises_one_error_only(data: bytes) -> None:
    """Whatever the bytes are, with a plausible beginning too."""
    for attempt in (data, fmt.MAGIC + b"\x01" + data, header(bytes(16), 1, Algorithm.AES_256_GCM_DERIVED) + data):
        try:
            parsed = parse(attempt)
        except InvalidCiphertext:
            continue
        assert attempt.endswith(parsed.body)
        assert attempt.startswith(parsed.prefix)


@given(KEY_ID, VERSION, st.sampled_from(Algorithm))
def test_headers_round_trip(key_id: bytes, version: int, algorithm: Algorithm) -> None:
    """26 bytes that say what they were made of."""
    made = header(key_id, version, algorithm)
    assert len(made) == fmt.HEADER_BYTES
    assert parse_header(made) == (key_id, version, algorithm)


@pytest.mark.parametrize(("key_id", "version"), [(bytes(15), 1), (bytes(17), 1), (bytes(16), 0), (bytes(16), 2**32)])
def test_an_impossible_header_is_a_mistake(key_id: bytes, version: int) -> None:
    """Found by whoever builds it."""
    with pytest.raises(ValueError, match="16 bytes"):
        header(key_id, version, Algorithm.AES_256_GCM)


def test_version_zero_is_no_version() -> None:
    """Versions count from 1; a header that says 0 is refused like any other damage."""
    made = header(bytes(16), 1, Algorithm.AES_256_GCM)
    with pytest.raises(InvalidCiphertext):
        parse_header(made[:21] + bytes(4) + made[25:])


@given(CONTEXT)
def test_contexts_encode_without_ambiguity(context: dict[str, str]) -> None:
    """Order of insertion does not matter; reading the lengths gives the pairs back, sorted by raw bytes."""
    encoded = encode_context(context)
    assert encode_context(dict(reversed(context.items()))) == encoded
    pairs, at = [], 0
    while at < len(encoded):
        parts = []
        for _ in range(2):
            length = int.from_bytes(encoded[at : at + 4], "big")
            parts.append(encoded[at + 4 : at + 4 + length])
            at += 4 + length
        pairs.append(tuple(parts))
    assert at == len(encoded)
    assert pairs == sorted(pairs)
    assert {key.decode(): value.decode() for key, value in pairs} == context


@given(CONTEXT, CONTEXT)
def test_different_contexts_encode_differently(one: dict[str, str], other: dict[str, str]) -> None:
    """The encoding is injective."""
    assert (encode_context(one) == encode_context(other)) == (one == other)


def test_contexts_are_not_normalised() -> None:
    """Two ways to write ü are two contexts: what a person sees as equal is not silently made equal."""
    assert encode_context({"name": "\u00fc"}) != encode_context({"name": "u\u0308"})


@pytest.mark.parametrize("context", [{"a": "\ud800"}, {"\udfff": "b"}, {"a": 1}, {1: "a"}, {"a": None}, {"a": b"x"}])
def test_a_context_that_is_not_text_is_refused(context: dict[str, str]) -> None:
    """Lone surrogates and other types: a typed error."""
    with pytest.raises(InvalidCommand, match="Unicode"):
        encode_context(context)


def test_the_commitment_is_compared() -> None:
    """A ciphertext made to open under two keys does not: its commitment can be one key's only."""
    salt, head = os.urandom(32), header(bytes(16), 1, Algorithm.AES_256_GCM_DERIVED)
    mine, theirs = derive(bytes(32), salt, head), derive(os.urandom(32), salt, head)
    for commitment, opens in ((mine.commitment, True), (theirs.commitment, False)):
        prefix = head + salt + commitment
        body = mine.aead.encrypt(fmt.item_nonce(0), b"x", prefix)
        result = open_one(handle(bytes(16), 1, bytes(32)), b"", prefix + bytes(4) + body)
        assert (result == b"x") is opens


def test_derived_keys_are_bounded_and_forgotten() -> None:
    """The memory of derived keys keeps its bound, keeps nothing for made-up salts, and forgets a destroyed key."""
    derived, opened = DerivedKeys(capacity=3), handle(bytes(16), 1, bytes(32))
    memory = InMemory(derived)
    for _ in range(5):
        (made,) = memory.protect(opened, [b""], [(0, b"x")])
        assert memory.unprotect(bytes(16), lambda _: opened, [b""], [(0, made)]) == [b"x"]
    assert len(derived) == 3
    fake = made[:26] + os.urandom(64) + made[90:]
    memory.unprotect(bytes(16), lambda _: opened, [b""], [(0, fake)])
    assert len(derived) == 3
    derived.forget(opened.reference)
    assert len(derived) == 0


def test_the_golden_vectors_hold() -> None:
    """The frozen bytes of tests/vectors: made by `scripts/vectors`, opened here by the code."""
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "ciphertexts.json").read_text())
    opened = handle(*_golden(vectors))
    for case in vectors["cases"]:
        if "software_hex" not in case:
            continue
        context = encode_context(case["context"])
        assert context.hex() == case["context_hex"]
        assert open_one(opened, context, bytes.fromhex(case["software_hex"])) == bytes.fromhex(vectors["plaintext_hex"])


def _golden(vectors: dict[str, str]) -> tuple[bytes, int, bytes]:
    material = bytes.fromhex(vectors["material_hex"])
    return bytes.fromhex(vectors["key_id"].replace("-", "")), int(vectors["key_version"]), material
