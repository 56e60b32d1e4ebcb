"""The envelope format, version 1: header, key derivation and chunks. Pure; it reads and writes no streams.

All integers are big-endian.

    magic        5   "KFENV"
    version      1   1
    key id      16   the KMS key that encrypted the data key (UUID)
    chunk size   4   plaintext bytes per chunk, 1 to 16,777,216
    length       2   of the encrypted data key
    data key     n   the KMS ciphertext of a 32-byte data key, made under the same encryption context
    salt        32   random per envelope
    commitment  32   refuses every other data key and context before anything is decrypted
    chunks           AES-256-GCM, each as long as chunk size + 16, only the last one may be shorter

Chunk key (32) ‖ commitment (32) = HKDF-SHA-256(data key, salt, "keyfold-envelope-v1" ‖ SHA-256(header up to and with
the salt) ‖ SHA-256(context)), the context as u32 count, then u32 length and UTF-8 bytes of each name and value, sorted
by the names' bytes. A chunk's nonce is 7 zero bytes ‖ u32 index ‖ u8 last: the STREAM construction (Hoang,
Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015). The key
is used for one envelope, so the nonces are too. The last chunk, and no other, is marked; it is empty only if the
plaintext is.
"""

import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyfold.events.errors import KeyfoldError

CHUNK_BYTES: Final = 64 * 1024
MAX_CHUNK_BYTES: Final = 16 * 1024 * 1024
TAG_BYTES: Final = 16
SALT_BYTES: Final = 32
COMMITMENT_BYTES: Final = 32
DATA_KEY_BYTES: Final = 32
FIXED: Final = struct.Struct(">5sB16sIH")

_MAGIC: Final = b"KFENV"
_VERSION: Final = 1
_NONCE: Final = struct.Struct(">7xIB")
_MAX_CHUNKS: Final = 2**32


class EnvelopeInvalid(KeyfoldError):
    """What was read is not an intact envelope of this data key and context. Nothing of it is to be used."""

    code: ClassVar[str] = "EnvelopeInvalid"


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the chunks, without the commitment."""

    key_id: str
    encrypted_key: bytes
    salt: bytes
    chunk_bytes: int = CHUNK_BYTES

    def encode(self) -> bytes:
        """Return the bytes up to and with the salt."""
        fixed = FIXED.pack(_MAGIC, _VERSION, UUID(self.key_id).bytes, self.chunk_bytes, len(self.encrypted_key))
        return fixed + self.encrypted_key + self.salt


def parse_fixed(fixed: bytes) -> tuple[str, int, int]:
    """Return key id, chunk size and the encrypted data key's length. Raises `EnvelopeInvalid`."""
    if len(fixed) != FIXED.size:
        raise EnvelopeInvalid("the envelope ends inside its header; it was cut off")
    magic, version, key_id, chunk_bytes, length = FIXED.unpack(fixed)
    if magic != _MAGIC:
        raise EnvelopeInvalid("this is no Keyfold envelope")
    if version != _VERSION:
        raise EnvelopeInvalid(f"envelope version {version} is not known here; update the client")
    check_chunk_bytes(chunk_bytes)
    return str(UUID(bytes=key_id)), chunk_bytes, length


def check_chunk_bytes(chunk_bytes: int) -> None:
    """Raise `EnvelopeInvalid` unless a chunk of this size is allowed."""
    if not 1 <= chunk_bytes <= MAX_CHUNK_BYTES:
        raise EnvelopeInvalid(f"chunks have 1 to {MAX_CHUNK_BYTES} bytes")


def context_digest(context: Mapping[str, str]) -> bytes:
    """Return SHA-256 over the context's unambiguous encoding."""
    pairs = sorted((name.encode(), value.encode()) for name, value in context.items())
    parts = [len(pairs).to_bytes(4, "big")]
    for text in (text for pair in pairs for text in pair):
        parts += [len(text).to_bytes(4, "big"), text]
    return sha256(b"".join(parts)).digest()


class Chunks:
    """Seals or opens the chunks of one envelope, in order."""

    def __init__(self, header: Header, data_key: bytes, context: Mapping[str, str]) -> None:
        if len(data_key) != DATA_KEY_BYTES:
            raise EnvelopeInvalid("an envelope's data key has 32 bytes")
        info = b"keyfold-envelope-v1" + sha256(header.encode()).digest() + context_digest(context)
        derived = HKDF(hashes.SHA256(), 32 + COMMITMENT_BYTES, header.salt, info).derive(data_key)
        self.commitment = derived[32:]
        self._cipher = AESGCM(derived[:32])
        self._index = 0

    def check_commitment(self, found: bytes) -> None:
        """Raise `EnvelopeInvalid` unless the envelope was made with this data key, header and context."""
        if not hmac.compare_digest(found, self.commitment):
            raise EnvelopeInvalid("the envelope's header was changed, or the data key or encryption context differ")

    def seal(self, plaintext: bytes, *, last: bool) -> bytes:
        """Encrypt the next chunk."""
        return self._cipher.encrypt(self._nonce(last=last), plaintext, None)

    def open(self, ciphertext: bytes, *, last: bool) -> bytes:
        """Decrypt the next chunk. Raises `EnvelopeInvalid`."""
        first = self._index == 0
        nonce = self._nonce(last=last)
        try:
            plaintext = self._cipher.decrypt(nonce, ciphertext, None)
        except (InvalidTag, ValueError):
            raise EnvelopeInvalid(
                "the envelope was changed, cut off or extended; nothing of it is to be used"
            ) from None
        if not plaintext and not first:
            raise EnvelopeInvalid("the envelope has an empty chunk at its end")
        return plaintext

    def _nonce(self, *, last: bool) -> bytes:
        if self._index >= _MAX_CHUNKS:
            raise EnvelopeInvalid("an envelope has at most 2^32 chunks; choose larger ones")
        nonce = _NONCE.pack(self._index, last)
        self._index += 1
        return nonce
