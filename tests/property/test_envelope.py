"""Envelopes: what was sealed comes back, and whatever was changed does not."""

import io
import os
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfold.client import DataKey
from keyfold.client.envelope import EnvelopeInvalid, decrypt_stream, encrypt_stream
from keyfold.client.envelope.format import FIXED, TAG_BYTES

KEY_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
DATA_KEY = DataKey(b"k" * 32, b"encrypted data key")
HEADER = FIXED.size + len(DATA_KEY.ciphertext) + 32 + 32

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
contexts = st.dictionaries(texts, texts, max_size=3)
plaintexts = st.binary(max_size=100)
sizes = st.integers(1, 20)


def sealed(plaintext: bytes, context: Mapping[str, str], chunk_bytes: int) -> bytes:
    target = io.BytesIO()
    size = encrypt_stream(
        io.BytesIO(plaintext), target, key_id=KEY_ID, data_key=DATA_KEY, context=context, chunk_bytes=chunk_bytes
    )
    assert size == len(plaintext)
    return target.getvalue()


def opened(envelope: bytes, context: Mapping[str, str], data_key: bytes = DATA_KEY.plaintext) -> bytes:
    target = io.BytesIO()
    decrypt_stream(io.BytesIO(envelope), target, lambda header: data_key, context=context)
    return target.getvalue()


@given(plaintexts, contexts, sizes)
def test_what_was_sealed_comes_back(plaintext: bytes, context: dict[str, str], chunk_bytes: int) -> None:
    """Of any size, also empty and in whole chunks; the size is as the format says."""
    envelope = sealed(plaintext, context, chunk_bytes)
    assert opened(envelope, context) == plaintext
    chunks = max(1, -(-len(plaintext) // chunk_bytes))
    assert len(envelope) == HEADER + len(plaintext) + TAG_BYTES * chunks


@given(plaintexts, sizes, st.data())
def test_every_flipped_bit_is_refused(plaintext: bytes, chunk_bytes: int, data: st.DataObject) -> None:
    """In the header, the commitment and every chunk."""
    envelope = bytearray(sealed(plaintext, {"a": "b"}, chunk_bytes))
    bit = data.draw(st.integers(0, 8 * len(envelope) - 1))
    envelope[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EnvelopeInvalid):
        opened(bytes(envelope), {"a": "b"})


@given(plaintexts, sizes, st.data())
def test_every_truncation_is_refused(plaintext: bytes, chunk_bytes: int, data: st.DataObject) -> None:
    """At any byte, also at the border of a chunk."""
    envelope = sealed(plaintext, {}, chunk_bytes)
    with pytest.raises(EnvelopeInvalid):
        opened(envelope[: data.draw(st.integers(0, len(envelope) - 1))], {})


@given(st.integers(0, 6), sizes, st.integers(1, 5))
def test_truncation_at_a_chunks_border_is_refused(rest: int, chunk_bytes: int, kept: int) -> None:
    """The chunk that is last then was not sealed as the last."""
    envelope = sealed(os.urandom(5 * chunk_bytes + 1 + rest), {}, chunk_bytes)
    with pytest.raises(EnvelopeInvalid):
        opened(envelope[: HEADER + kept * (chunk_bytes + TAG_BYTES)], {})


@given(plaintexts, sizes, st.binary(min_size=1, max_size=60))
def test_every_extension_is_refused(plaintext: bytes, chunk_bytes: int, more: bytes) -> None:
    """Nothing may follow the last chunk."""
    with pytest.raises(EnvelopeInvalid):
        opened(sealed(plaintext, {}, chunk_bytes) + more, {})


@given(st.permutations(range(4)), sizes)
def test_reordered_chunks_are_refused(order: list[int], chunk_bytes: int) -> None:
    """Every chunk knows its place."""
    plaintext = os.urandom(4 * chunk_bytes)
    envelope = sealed(plaintext, {}, chunk_bytes)
    step = chunk_bytes + TAG_BYTES
    chunks = [envelope[HEADER + n * step : HEADER + (n + 1) * step] for n in range(4)]
    moved = envelope[:HEADER] + b"".join(chunks[n] for n in order)
    if order == sorted(order):
        assert opened(moved, {}) == plaintext
    else:
        with pytest.raises(EnvelopeInvalid):
            opened(moved, {})


@given(sizes, st.integers(0, 3), st.integers(0, 4))
def test_duplicated_and_removed_chunks_are_refused(chunk_bytes: int, which: int, where: int) -> None:
    """Also the first and the last."""
    envelope = sealed(os.urandom(4 * chunk_bytes), {}, chunk_bytes)
    step = chunk_bytes + TAG_BYTES
    chunks = [envelope[HEADER + n * step : HEADER + (n + 1) * step] for n in range(4)]
    with pytest.raises(EnvelopeInvalid):
        opened(envelope[:HEADER] + b"".join([*chunks[:where], chunks[which], *chunks[where:]]), {})
    del chunks[which]
    with pytest.raises(EnvelopeInvalid):
        opened(envelope[:HEADER] + b"".join(chunks), {})


@given(contexts, contexts)
def test_another_context_is_refused(context: dict[str, str], other: dict[str, str]) -> None:
    """Whatever the difference; the order of names is none."""
    envelope = sealed(b"x", context, 16)
    assert opened(envelope, dict(reversed(context.items()))) == b"x"
    if other != context:
        with pytest.raises(EnvelopeInvalid):
            opened(envelope, other)


@given(st.binary(min_size=32, max_size=32))
def test_another_data_key_is_refused(data_key: bytes) -> None:
    """By the commitment, before anything is decrypted."""
    with pytest.raises(EnvelopeInvalid, match="data key or encryption context differ"):
        opened(sealed(b"x", {}, 16), {}, data_key)


@given(plaintexts, plaintexts, sizes)
def test_chunks_of_another_envelope_are_refused(one: bytes, two: bytes, chunk_bytes: int) -> None:
    """Also under the same data key and context: every envelope has a salt."""
    first, second = sealed(one, {}, chunk_bytes), sealed(two, {}, chunk_bytes)
    with pytest.raises(EnvelopeInvalid):
        opened(first[:HEADER] + second[HEADER:], {})


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_garbage_is_refused(garbage: bytes) -> None:
    """With the same error as everything else."""
    with pytest.raises(EnvelopeInvalid):
        opened(garbage, {})
    with pytest.raises(EnvelopeInvalid):
        opened(b"KFENV\x01" + garbage, {})


@given(plaintexts, sizes, st.lists(st.integers(1, 7), min_size=1))
def test_streams_may_return_less_than_was_asked_for(plaintext: bytes, chunk_bytes: int, steps: list[int]) -> None:
    """Pipes do."""

    class Pipe(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            steps.append(steps.pop(0))
            return super().read(min(size or 0, steps[-1]))

    target, back = io.BytesIO(), io.BytesIO()
    encrypt_stream(Pipe(plaintext), target, key_id=KEY_ID, data_key=DATA_KEY, chunk_bytes=chunk_bytes)
    decrypt_stream(Pipe(target.getvalue()), back, lambda header: DATA_KEY.plaintext)
    assert back.getvalue() == plaintext
