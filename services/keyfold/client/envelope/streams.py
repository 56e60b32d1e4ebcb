"""Envelopes from and to binary streams, chunk by chunk: never more than two chunks in memory.

Decrypting writes chunks as they are found authentic, but whether the stream is complete is known only at its end: use
nothing of the target before `decrypt_stream` has returned. (`files` takes care of that.)
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from keyfold.client.data_verbs import DataKey
from keyfold.client.envelope.format import (
    CHUNK_BYTES,
    COMMITMENT_BYTES,
    FIXED,
    SALT_BYTES,
    TAG_BYTES,
    Chunks,
    EnvelopeInvalid,
    Header,
    check_chunk_bytes,
    parse_fixed,
)

Unwrap = Callable[[Header], bytes]


def encrypt_stream(
    source: BinaryIO,
    target: BinaryIO,
    *,
    key_id: str,
    data_key: DataKey,
    context: Mapping[str, str] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> int:
    """Write `source` as an envelope to `target`; return the plaintext's size in bytes.

    `data_key` comes from `generate_data_key` of the key `key_id` under the same context. Neither stream is closed.
    """
    check_chunk_bytes(chunk_bytes)
    header = Header(key_id, data_key.ciphertext, os.urandom(SALT_BYTES), chunk_bytes)
    chunks = Chunks(header, data_key.plaintext, context or {})
    target.write(header.encode() + chunks.commitment)
    size = 0
    for chunk, last in _pieces(source, chunk_bytes):
        size += len(chunk)
        target.write(chunks.seal(chunk, last=last))
    return size


def decrypt_stream(
    source: BinaryIO, target: BinaryIO, unwrap: Unwrap, *, context: Mapping[str, str] | None = None
) -> int:
    """Write the plaintext of an envelope to `target`; return its size in bytes. Raises `EnvelopeInvalid`.

    `unwrap` gives the data key for a header, for example
    `lambda header: kms.decrypt(header.key_id, header.encrypted_key, context=context)` with a synchronous client.
    Compare `header.key_id` there if only one key is to be accepted.
    """
    header = read_header(source)
    return decrypt_chunks(header, unwrap(header), source, target, context or {})


def read_header(source: BinaryIO) -> Header:
    """Read up to the salt. Raises `EnvelopeInvalid`."""
    key_id, chunk_bytes, length = parse_fixed(_read(source, FIXED.size))
    rest = _read(source, length + SALT_BYTES)
    if len(rest) != length + SALT_BYTES:
        raise EnvelopeInvalid("the envelope ends inside its header; it was cut off")
    return Header(key_id, rest[:length], rest[length:], chunk_bytes)


def decrypt_chunks(
    header: Header, data_key: bytes, source: BinaryIO, target: BinaryIO, context: Mapping[str, str]
) -> int:
    """Decrypt what follows the header. Raises `EnvelopeInvalid`."""
    chunks = Chunks(header, data_key, context)
    chunks.check_commitment(_read(source, COMMITMENT_BYTES))
    size = 0
    for chunk, last in _pieces(source, header.chunk_bytes + TAG_BYTES):
        plaintext = chunks.open(chunk, last=last)
        size += len(plaintext)
        target.write(plaintext)
    return size


def _pieces(source: BinaryIO, size: int) -> Iterator[tuple[bytes, bool]]:
    """Yield pieces of this size and whether each is the last one; an empty stream is one empty piece."""
    piece = _read(source, size)
    while True:
        following = _read(source, size) if len(piece) == size else b""
        yield piece, not following
        if not following:
            return
        piece = following


def _read(source: BinaryIO, size: int) -> bytes:
    """Read this many bytes, fewer only at the end: pipes return what they have."""
    found = source.read(size)
    while len(found) < size:
        more = source.read(size - len(found))
        if not more:
            break
        found += more
    return found
