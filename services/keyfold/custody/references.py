"""The values that custody speaks in: which key version, and an opened key.

No behaviour beyond construction: `keyfold.custody.custody` opens handles, the two providers use them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from keyfold.events.ciphertext import KEY_ID_BYTES, MAX_KEY_VERSION
from keyfold.events.errors import KeyfoldError, Unsupported
from keyfold.events.specs import ALGORITHMS

Protection = Literal["HSM", "SOFTWARE"]
PrivateKey = PrivateKeyTypes
SYMMETRIC_DEFAULT: Final = "SYMMETRIC_DEFAULT"
_NOT_IN_LIBRARY: Final = frozenset({"ML_KEM_512"})
_NOT_IN_TOKENS: Final = ("ML_DSA_", "ML_KEM_")

HSM_ITEM_LIMIT: Final = 2**31
"""Items that one HSM key version may protect: beyond it, random 96-bit nonces collide too likely (SP 800-38D, 8.3)."""

Item = tuple[int, bytes]
"""The index of an item's encryption context among the batch's, and its bytes."""


class InvalidBlob(KeyfoldError):
    """A blob of wrapped key material does not open: damaged, of another key or version, or of a destroyed epoch."""

    code = "InvalidBlob"


class TokenIdentity(NamedTuple):
    """Which token it is: its label and serial number, and the library and version behind it."""

    label: str
    serial: str
    module: str


class KeyReference(NamedTuple):
    """One version of one key, and how it is protected."""

    key_id: bytes
    version: int
    spec: str
    protection: Protection
    usage: str = "ENCRYPT_DECRYPT"

    def check(self) -> None:
        """Raise `Unsupported` or ValueError for a reference that no key can have, whatever the token."""
        if (self.spec, self.usage) not in ALGORITHMS or self.spec in _NOT_IN_LIBRARY:
            raise Unsupported(f"a key of spec {self.spec} and usage {self.usage} is not offered here")
        if self.protection == "HSM" and self.spec.startswith(_NOT_IN_TOKENS):
            raise Unsupported(f"no token has {self.spec} yet; use the protection level SOFTWARE")
        if self.protection not in {"HSM", "SOFTWARE"}:
            raise Unsupported("the protection level is HSM or SOFTWARE")
        if len(self.key_id) != KEY_ID_BYTES or not 1 <= self.version <= MAX_KEY_VERSION:
            raise ValueError("a key id has 16 bytes and a version is 1 to 2^32-1")


class Generated(NamedTuple):
    """Fresh material: its blob, the public key (SubjectPublicKeyInfo, DER), and what the token said of it."""

    blob: bytes
    public_key: bytes | None
    attributes: dict[str, bool | int | str]


class Handle(Protocol):
    """A key version that is open: in the token, or in this process's memory."""

    @property
    def reference(self) -> KeyReference: ...

    def destroy(self) -> None:
        """Forget the key material here; the blob still opens. Destroying twice is harmless."""


@dataclass(slots=True, repr=False)
class TokenHandle:
    """An HSM key: its Cryptoki handle in the kms token."""

    reference: KeyReference
    key: int
    _destroy: Callable[[int], None]

    def destroy(self) -> None:
        if self.key:
            key, self.key = self.key, 0
            self._destroy(key)


@dataclass(slots=True, repr=False)
class MemoryHandle:
    """A SOFTWARE key of a symmetric or HMAC spec: its material. It is never printed."""

    reference: KeyReference
    material: bytes
    _forget: Callable[[KeyReference], None]

    def destroy(self) -> None:
        # Python can't overwrite the bytes object; dropping the last reference is what can be had.
        self.material = b""
        self._forget(self.reference)


@dataclass(slots=True, repr=False)
class PairHandle:
    """A SOFTWARE key of an asymmetric spec: its private key as the library's object. It is never printed."""

    reference: KeyReference
    private: PrivateKey | None

    def destroy(self) -> None:
        # OpenSSL overwrites the numbers when it frees the object, after the last reference is gone.
        self.private = None


Resolver = Callable[[int], Handle | None]
"""Gives the open handle of a version of the key at hand; None if there is no such version, or it was destroyed.

The handle must stay open until the call that asked for it returns.
"""
