"""The sealed body of a command: its binary layout, and what HPKE binds it to.

Layout (big-endian): version u8 = 1, reply key 32 bytes, item count u32, then per item context index u16, length u32,
bytes. It is sealed with HPKE (RFC 9180) in base mode to the current sealing key, `info` naming the exact command
value, so that nobody can lift a body into a command of their own. Sealing needs randomness and opening needs a private
key: they are in the client and in the HSM worker.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives import hpke

from keyfold.events.errors import InvalidBody

SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
REPLY_KEY_BYTES: Final = 32

_VERSION: Final = 1
_PREFIX: Final = struct.Struct(">B32sI")
_ITEM: Final = struct.Struct(">HI")

Item = tuple[int, bytes]


@dataclass(frozen=True, slots=True, repr=False)
class Body:
    """An opened body: the caller's reply key and (context index, bytes) per item. Never logged."""

    reply_key: bytes
    items: list[Item]


def info(value: bytes) -> bytes:
    """Return the HPKE `info` that binds a body to one command value."""
    return b"keyfold-seal-v1" + sha256(value).digest()


def encode(reply_key: bytes, items: Sequence[Item]) -> bytes:
    """Lay out a body before sealing. Raises `InvalidBody` for what the layout cannot hold."""
    if len(reply_key) != REPLY_KEY_BYTES:
        raise InvalidBody("a reply key has 32 bytes")
    parts = [_PREFIX.pack(_VERSION, reply_key, len(items))]
    pack = _ITEM.pack
    try:
        for index, data in items:
            parts.append(pack(index, len(data)))
            parts.append(data)
    except struct.error:
        raise InvalidBody("a context index fits 16 bits and an item's length 32") from None
    return b"".join(parts)


def decode(body: bytes, *, items: int, total_bytes: int, contexts: int) -> Body:
    """Parse an opened body and hold it against the command's clear part. Raises `InvalidBody`."""
    if len(body) < _PREFIX.size:
        raise InvalidBody("the body is too short")
    version, reply_key, count = _PREFIX.unpack_from(body)
    if version != _VERSION or count != items:
        raise InvalidBody("the body's version or item count is not the command's")
    if len(body) != _PREFIX.size + count * _ITEM.size + total_bytes:
        raise InvalidBody("the body's size is not what the command says")
    return Body(reply_key, _decode_items(body, count, contexts))


def _decode_items(body: bytes, count: int, contexts: int) -> list[Item]:
    found: list[Item] = []
    at, end = _PREFIX.size, len(body)
    unpack, step = _ITEM.unpack_from, _ITEM.size
    for _ in range(count):
        if at + step > end:
            raise InvalidBody("the body ends inside an item")
        index, length = unpack(body, at)
        at += step
        if index >= contexts or at + length > end:
            raise InvalidBody("an item's context or length is out of range")
        found.append((index, body[at : at + length]))
        at += length
    if at != end:
        raise InvalidBody("the body has bytes after its last item")
    return found
