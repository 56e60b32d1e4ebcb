"""What data-plane verbs return beside bytes: frozen values that name the key version which was used.

Their text never shows a secret. `key_version` is 0 where the service names none.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from keyfold.client.core import Batched, BatchResult
from keyfold.events import parts
from keyfold.events.errors import InternalError, InvalidBody, KeyfoldError

_LENGTH: Final = struct.Struct(">H")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key: `plaintext` to use and forget, `ciphertext` to keep; `decrypt` gives the plaintext back."""

    plaintext: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)
    key_version: int = 0


@dataclass(frozen=True, slots=True)
class EncryptedDataKeyPair:
    """A data key pair to keep: the public key (SubjectPublicKeyInfo, DER); `decrypt` gives the private one back."""

    public_key: bytes = field(repr=False)
    encrypted_private_key: bytes = field(repr=False)
    key_version: int = 0


@dataclass(frozen=True, slots=True)
class DataKeyPair(EncryptedDataKeyPair):
    """A data key pair, and its `private_key` (PKCS #8, DER) in clear: to use and forget."""

    private_key: bytes = field(repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Encrypted:
    """What an RSA key encrypted. The ciphertext does not name its key version, which `decrypt` needs to be told."""

    ciphertext: bytes = field(repr=False)
    key_version: int


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature in its standard form: DER (X9.62) for ECDSA, raw bytes for all others."""

    signature: bytes = field(repr=False)
    key_version: int


@dataclass(frozen=True, slots=True)
class Mac:
    """An HMAC, as long as its hash."""

    mac: bytes = field(repr=False)
    key_version: int


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """What both sides of a key agreement have: the raw x-coordinate (SP 800-56A, 5.7.1.2). Derive keys from it."""

    shared_secret: bytes = field(repr=False)
    key_version: int


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """A fresh shared secret of 32 bytes, and the ciphertext of which `decapsulate` makes the same (FIPS 203)."""

    shared_secret: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)
    key_version: int


def data_key(layout: bytes, version: int) -> DataKey:
    """Parse u16 length of the plaintext, plaintext, ciphertext. Raises `InternalError`."""
    if len(layout) < _LENGTH.size:
        raise InternalError("the service answered with a malformed data key; see its logs")
    end = _LENGTH.size + _LENGTH.unpack_from(layout)[0]
    return DataKey(layout[_LENGTH.size : end], layout[end:], version)


def data_key_pair(layout: bytes, version: int) -> DataKeyPair:
    """Parse private key, public key, encrypted private key. Raises `InternalError`."""
    private, public, encrypted = _split(layout, 3)
    return DataKeyPair(public, encrypted, version, private_key=private)


def encrypted_data_key_pair(layout: bytes, version: int) -> EncryptedDataKeyPair:
    """Parse public key, encrypted private key. Raises `InternalError`."""
    public, encrypted = _split(layout, 2)
    return EncryptedDataKeyPair(public, encrypted, version)


def encapsulation(layout: bytes, version: int) -> Encapsulation:
    """Parse shared secret, ciphertext. Raises `InternalError`."""
    secret, ciphertext = _split(layout, 2)
    return Encapsulation(secret, ciphertext, version)


def each(batch: Batched, make: Callable[[bytes, int], T]) -> list[T | KeyfoldError]:
    """Make values of a batch's results; errors stay in their places."""
    return [
        found if isinstance(found, KeyfoldError) else make(found, version)
        for found, version in zip(batch.results, batch.versions, strict=True)
    ]


def unwrap(results: BatchResult) -> list[bytes]:
    """Return a batch's data, or raise the first item's error."""
    found: list[bytes] = []
    for result in results:
        if isinstance(result, KeyfoldError):
            raise result
        found.append(result)
    return found


def _split(layout: bytes, count: int) -> list[bytes]:
    try:
        return parts.split(layout, count)
    except InvalidBody:
        raise InternalError("the service answered with a malformed result; see its logs") from None
