"""The layout of a ciphertext and of an encryption context: pure bytes, frozen by golden vectors.

It parses and builds; it holds no key, opens nothing and draws no nonce (`keyfold.custody` does). All integers are
big-endian. Every ciphertext starts with the *header*, 26 bytes:

    0   4  magic "KFCT"
    4   1  format version = 1
    5  16  key id (the bytes of a UUID)
    21  4  key version, u32
    25  1  algorithm: 1 = AES-256-GCM in a token, 2 = AES-256-GCM under a key derived per command

Algorithm 1 goes on with 12 bytes of nonce, then body ‖ tag (16 bytes); its associated data is header ‖ context.

Algorithm 2 goes on with 32 bytes of salt, 32 bytes of key commitment, u32 item index, then body ‖ tag. With
HKDF-SHA256 (RFC 5869; salt = the salt, info = "keyfold-software-v1" ‖ header) the key's material gives 64 bytes: the
AES-256 key, then the commitment. The nonce is the item index as 12 bytes. Its associated data is
header ‖ salt ‖ commitment ‖ context. The nonce or index is not repeated in the associated data, GCM itself binds it:
so every byte of a ciphertext is authenticated.

A *context* is encoded as, per pair, u32 length ‖ key ‖ u32 length ‖ value in UTF-8, sorted by the key's bytes, without
any Unicode normalisation; no pairs encode to no bytes. The part before the context has a fixed length, so the
concatenation is unambiguous.
"""

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from keyfold.events.errors import InvalidCiphertext, InvalidCommand

MAGIC: Final = b"KFCT"
FORMAT_VERSION: Final = 1
HEADER_BYTES: Final = 26
KEY_ID_BYTES: Final = 16
NONCE_BYTES: Final = 12
SALT_BYTES: Final = 32
COMMITMENT_BYTES: Final = 32
INDEX_BYTES: Final = 4
TAG_BYTES: Final = 16
MAX_KEY_VERSION: Final = 2**32 - 1

SOFTWARE_PREFIX_BYTES: Final = HEADER_BYTES + SALT_BYTES + COMMITMENT_BYTES
HSM_BODY_AT: Final = HEADER_BYTES + NONCE_BYTES
SOFTWARE_BODY_AT: Final = SOFTWARE_PREFIX_BYTES + INDEX_BYTES

_HEADER: Final = struct.Struct(">4sB16sIB")
_LENGTH: Final = struct.Struct(">I")
_INDEX_PADDING: Final = bytes(NONCE_BYTES - INDEX_BYTES)


class Algorithm(IntEnum):
    """How a body was made, and so what lies between header and body."""

    AES_256_GCM = 1
    AES_256_GCM_DERIVED = 2


class ParsedCiphertext(NamedTuple):
    """A ciphertext in its parts. `prefix` is what the associated data starts with; the context follows it.

    `salt` and `commitment` are empty for algorithm 1; `body` ends with the 16-byte tag.
    """

    key_id: bytes
    key_version: int
    algorithm: Algorithm
    salt: bytes
    commitment: bytes
    nonce: bytes
    prefix: bytes
    body: bytes


def header(key_id: bytes, key_version: int, algorithm: Algorithm) -> bytes:
    """Return the 26 bytes that every ciphertext of this key version starts with. Raises ValueError on a bad id."""
    if len(key_id) != KEY_ID_BYTES or not 1 <= key_version <= MAX_KEY_VERSION:
        raise ValueError("a key id has 16 bytes and a key version is 1 to 2^32-1")
    return _HEADER.pack(MAGIC, FORMAT_VERSION, key_id, key_version, algorithm)


def parse_header(data: bytes) -> tuple[bytes, int, Algorithm]:
    """Return (key id, key version, algorithm) of the first 26 bytes. Raises `InvalidCiphertext`."""
    if len(data) < HEADER_BYTES:
        raise InvalidCiphertext
    magic, version, key_id, key_version, algorithm = _HEADER.unpack_from(data)
    if magic != MAGIC or version != FORMAT_VERSION or not key_version:
        raise InvalidCiphertext
    try:
        return key_id, key_version, Algorithm(algorithm)
    except ValueError:
        raise InvalidCiphertext from None


def parse(ciphertext: bytes) -> ParsedCiphertext:
    """Take a ciphertext apart. Raises `InvalidCiphertext`, whatever is wrong with it."""
    key_id, key_version, algorithm = parse_header(ciphertext)
    in_token = algorithm is Algorithm.AES_256_GCM
    prefix_end, body_at = (HEADER_BYTES, HSM_BODY_AT) if in_token else (SOFTWARE_PREFIX_BYTES, SOFTWARE_BODY_AT)
    if len(ciphertext) < body_at + TAG_BYTES:
        raise InvalidCiphertext
    prefix, between = ciphertext[:prefix_end], ciphertext[prefix_end:body_at]
    return ParsedCiphertext(
        key_id=key_id,
        key_version=key_version,
        algorithm=algorithm,
        salt=prefix[HEADER_BYTES : HEADER_BYTES + SALT_BYTES],
        commitment=prefix[HEADER_BYTES + SALT_BYTES :],
        nonce=between if in_token else _INDEX_PADDING + between,
        prefix=prefix,
        body=ciphertext[body_at:],
    )


def item_nonce(index: int) -> bytes:
    """Return the GCM nonce of a SOFTWARE item; its last four bytes stand in the ciphertext."""
    return index.to_bytes(NONCE_BYTES, "big")


def encode_context(context: Mapping[str, str]) -> bytes:
    """Encode an encryption context for the associated data.

    Raises `InvalidCommand` for text that has no UTF-8 form (a lone surrogate) and for what is not text.
    """
    try:
        pairs = sorted((key.encode(), value.encode()) for key, value in context.items())
    except (UnicodeEncodeError, AttributeError):
        raise InvalidCommand("an encryption context maps Unicode text to Unicode text; correct it") from None
    length = _LENGTH.pack
    return b"".join(length(len(key)) + key + length(len(value)) + value for key, value in pairs)
