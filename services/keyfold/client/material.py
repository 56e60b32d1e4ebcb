"""Key material that is brought from outside: read from files, and checked against its key spec before it leaves.

Nothing here is sent or written. Errors never show what was read. What Python held in memory is not wiped: bring
material from a machine that may see it.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from keyfold.client.errors import InvalidArgument
from keyfold.client.verifying import spec_of
from keyfold.events.import_format import SEED_BYTES
from keyfold.events.specs import KeySpec, material_bytes

MaterialEncoding = Literal["auto", "raw", "hex", "base64", "pem", "der"]

_PEM: Final = b"-----BEGIN "
_TEXT: Final = re.compile(rb"[A-Za-z0-9+/=\s]+")
_HEX: Final = re.compile(rb"([0-9A-Fa-f]{2})+")
_PKCS8: Final = re.compile(rb"\x30.\x02\x01[\x00\x01]\x30", re.DOTALL)
"""How short private keys begin: that of X25519 is as long as an HMAC-384 key."""
_LARGEST: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """Material of one key version, as it is wrapped: a secret, a seed, or a private key (PKCS #8, DER)."""

    key_spec: KeySpec
    data: bytes = field(repr=False)


def read_key_material(source: bytes | Path, key_spec: KeySpec, *, encoding: MaterialEncoding = "auto") -> KeyMaterial:
    """Read material of a spec from bytes or a file: a secret or seed as it is, or a private key.

    By default (`auto`) PEM, hex and base64 are told from raw bytes; a private key is PEM or DER, unencrypted, also in
    hex or base64. Raises `InvalidArgument` for what is no material of the spec, and OSError.
    """
    content = source if isinstance(source, bytes) else _read(source)
    length = _length(key_spec)
    found = _decoded(content, encoding, material_bytes(key_spec))
    if length is None or (key_spec in SEED_BYTES and len(found) != length):
        return KeyMaterial(key_spec, _private_key(found, key_spec))
    if encoding == "auto" and _PKCS8.match(found):
        raise InvalidArgument(f"this is a private key (PKCS #8), not material of {key_spec}; or say that it is raw")
    if len(found) != length:
        raise InvalidArgument(f"material of {key_spec} has {length} bytes; this has {len(found)}")
    return KeyMaterial(key_spec, found)


def _length(key_spec: KeySpec) -> int | None:
    """The length of a secret or seed; None for private keys."""
    return SEED_BYTES.get(key_spec) or material_bytes(key_spec)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InvalidArgument(f"key material has at most {_LARGEST} bytes; this file holds something else")
    return content


def _decoded(content: bytes, encoding: MaterialEncoding, secret_bytes: int | None) -> bytes:
    if encoding == "auto":
        encoding = _guess(content, secret_bytes)
    if encoding in {"raw", "der", "pem"}:
        return content
    text = b"".join(content.split())
    try:
        return binascii.unhexlify(text) if encoding == "hex" else base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidArgument(f"the key material is not {encoding}") from None


def _guess(content: bytes, secret_bytes: int | None) -> MaterialEncoding:
    """Text is never taken for raw material: 32 random bytes are letters and digits alone once in 2^60 times."""
    if content.lstrip().startswith(_PEM):
        return "pem"
    text = b"".join(content.split())
    if not text or _TEXT.fullmatch(content) is None:
        return "raw"
    hexed = _HEX.fullmatch(text) and secret_bytes in {None, len(text) // 2}
    return "hex" if hexed else "base64"


def _private_key(content: bytes, key_spec: KeySpec) -> bytes:
    """Return a private key as PKCS #8 (DER); of ML-DSA and ML-KEM, its seed."""
    load = load_pem_private_key if content.lstrip().startswith(_PEM) else load_der_private_key
    try:
        key: Any = load(content, None)
        found = spec_of(key.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the library's own words, which may quote what it read.
        raise InvalidArgument(
            f"this is no private key of {key_spec}: PKCS #8 in PEM or DER, without a passphrase, is expected"
        ) from None
    if found != key_spec:
        raise InvalidArgument(f"this is a private key of {found or 'another kind'}, not of {key_spec}")
    if key_spec in SEED_BYTES:
        return bytes(key.private_bytes_raw())
    return bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
