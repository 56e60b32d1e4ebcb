"""The blob: one key version's material in two envelopes, as it lies in the keystore topic. Pure bytes.

All integers are big-endian. Version 1:

    0   4  magic "KFKB"
    4   1  format version = 1
    5   1  protection: 1 = HSM, 2 = SOFTWARE, 3 = HSM, resident in the token
    6   1  material: the key's spec and usage, by the table `keyfold.custody.forms` (1 = SYMMETRIC_DEFAULT)
    7   4  storage epoch, u32
    11 12  nonce of the outer envelope
    23     outer envelope: AES-256-GCM under the epoch's key; its associated data is
           "keyfold-outer-v1" ‖ bytes 0–10 ‖ key id (16) ‖ key version (u32)

The outer envelope holds the inner one. HSM: AES-KWP (SP 800-38F) by the key encryption key of the material's kind, of
the secret key or of the private key as PKCS #8. Resident: SHA-256 of the public key (SubjectPublicKeyInfo), 32 bytes:
the private key is in the token under the id `keyfold:key:<key id in hexadecimal>:<version>`. SOFTWARE: nonce (12) ‖
AES-256-GCM under the token's software key encryption key; the plaintext is a secret key, a seed (ML-DSA, ML-KEM) or
PKCS #8 in DER; the associated data is "keyfold-inner-v1" ‖ key id ‖ key version for material 1, and for all others
"keyfold-inner-v2" ‖ key id ‖ key version ‖ material (1).

The blob of an import key has the import's id in place of the key id, and version 1.

The envelopes are opened and made by `keyfold.custody.envelopes`.
"""

import struct
from typing import Final, NamedTuple

from keyfold.custody.forms import SPECS, SYMMETRIC_CODE, form_of
from keyfold.custody.references import InvalidBlob, KeyReference, Protection

MAGIC: Final = b"KFKB"
FORMAT_VERSION: Final = 1
HEADER_BYTES: Final = 11
NONCE_BYTES: Final = 12
MAX_EPOCH: Final = 2**32 - 1

_HEADER: Final = struct.Struct(">4sBBBI")
_IDENTITY: Final = struct.Struct(">16sI")
_HSM: Final = 1
_SOFTWARE: Final = 2
_RESIDENT: Final = 3


class ParsedBlob(NamedTuple):
    """A blob in its parts; `outer` ends with the tag."""

    protection: Protection
    is_resident: bool
    material: int
    epoch: int
    header: bytes
    nonce: bytes
    outer: bytes


def header(reference: KeyReference, epoch: int, *, resident: bool = False) -> bytes:
    """Return the first 11 bytes of a blob."""
    protection = _SOFTWARE if reference.protection == "SOFTWARE" else _RESIDENT if resident else _HSM
    return _HEADER.pack(MAGIC, FORMAT_VERSION, protection, form_of(reference).code, epoch)


def parse(blob: bytes) -> ParsedBlob:
    """Take a blob apart. Raises `InvalidBlob`."""
    if len(blob) < HEADER_BYTES + NONCE_BYTES:
        raise InvalidBlob("the key blob is too short; restore the keystore from a replica")
    magic, version, protection, material, epoch = _HEADER.unpack_from(blob)
    if magic != MAGIC or version != FORMAT_VERSION or not _HSM <= protection <= _RESIDENT or material not in SPECS:
        raise InvalidBlob("the key blob is of no known format; is a newer version of this program needed?")
    level: Protection = "SOFTWARE" if protection == _SOFTWARE else "HSM"
    body = blob[HEADER_BYTES:]
    return ParsedBlob(
        level, protection == _RESIDENT, material, epoch, blob[:HEADER_BYTES], body[:NONCE_BYTES], body[NONCE_BYTES:]
    )


def spec_of(blob: bytes) -> str:
    """Return the key spec that a blob names. Raises `InvalidBlob`."""
    return SPECS[parse(blob).material]


def outer_associated_data(blob_header: bytes, reference: KeyReference) -> bytes:
    """What the outer envelope is bound to."""
    return b"keyfold-outer-v1" + blob_header + _identity(reference)


def inner_associated_data(reference: KeyReference) -> bytes:
    """What the inner envelope of SOFTWARE material is bound to."""
    code = form_of(reference).code
    if code == SYMMETRIC_CODE:
        return b"keyfold-inner-v1" + _identity(reference)
    return b"keyfold-inner-v2" + _identity(reference) + bytes([code])


def _identity(reference: KeyReference) -> bytes:
    return _IDENTITY.pack(reference.key_id, reference.version)
