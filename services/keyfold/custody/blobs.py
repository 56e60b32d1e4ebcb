"""The blob: one key version's material in two envelopes, as it lies in the keystore topic. Pure bytes.

All integers are big-endian. Version 1:

    0   4  magic "KFKB"
    4   1  format version = 1
    5   1  protection: 1 = HSM, 2 = SOFTWARE
    6   1  material: 1 = secret key, AES, 256 bits (SYMMETRIC_DEFAULT)
    7   4  storage epoch, u32
    11 12  nonce of the outer envelope
    23     outer envelope: AES-256-GCM under the epoch's key; its associated data is
           "keyfold-outer-v1" ‖ bytes 0–10 ‖ key id (16) ‖ key version (u32)

The outer envelope holds the inner one. HSM: AES-KWP (SP 800-38F) by the key encryption key of (secret key, AES), 40
bytes. SOFTWARE: nonce (12) ‖ AES-256-GCM under the token's software key encryption key, its associated data
"keyfold-inner-v1" ‖ key id ‖ key version; 60 bytes.

The envelopes are opened and made by `keyfold.custody.custody`.
"""

import struct
from typing import Final, NamedTuple

from keyfold.custody.references import InvalidBlob, KeyReference, Protection

MAGIC: Final = b"KFKB"
FORMAT_VERSION: Final = 1
HEADER_BYTES: Final = 11
NONCE_BYTES: Final = 12
MAX_EPOCH: Final = 2**32 - 1

_HEADER: Final = struct.Struct(">4sBBBI")
_IDENTITY: Final = struct.Struct(">16sI")
_AES_256: Final = 1
_CODES: Final[dict[Protection, int]] = {"HSM": 1, "SOFTWARE": 2}


class ParsedBlob(NamedTuple):
    """A blob in its parts; `outer` ends with the tag."""

    protection: Protection
    epoch: int
    header: bytes
    nonce: bytes
    outer: bytes


def header(protection: Protection, epoch: int) -> bytes:
    """Return the first 11 bytes of a blob."""
    return _HEADER.pack(MAGIC, FORMAT_VERSION, _CODES[protection], _AES_256, epoch)


def parse(blob: bytes) -> ParsedBlob:
    """Take a blob apart. Raises `InvalidBlob`."""
    if len(blob) < HEADER_BYTES + NONCE_BYTES:
        raise InvalidBlob("the key blob is too short; restore the keystore from a replica")
    magic, version, code, material, epoch = _HEADER.unpack_from(blob)
    protection = next((name for name, known in _CODES.items() if known == code), None)
    if magic != MAGIC or version != FORMAT_VERSION or material != _AES_256 or protection is None:
        raise InvalidBlob("the key blob is of no known format; is a newer version of this program needed?")
    body = blob[HEADER_BYTES:]
    return ParsedBlob(protection, epoch, blob[:HEADER_BYTES], body[:NONCE_BYTES], body[NONCE_BYTES:])


def outer_associated_data(blob_header: bytes, reference: KeyReference) -> bytes:
    """What the outer envelope is bound to."""
    return b"keyfold-outer-v1" + blob_header + _identity(reference)


def inner_associated_data(reference: KeyReference) -> bytes:
    """What the inner envelope of SOFTWARE material is bound to."""
    return b"keyfold-inner-v1" + _identity(reference)


def _identity(reference: KeyReference) -> bytes:
    return _IDENTITY.pack(reference.key_id, reference.version)
