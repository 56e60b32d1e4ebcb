"""Parcels: plaintexts on their way from one key to another, sealed by the worker to itself.

`ReEncryptFrom` opens ciphertexts under the source key and packs what was inside; `ReEncryptTo` unpacks it and protects
it under the destination key, on another partition and perhaps in another process. Nobody in between can open a parcel:
it is sealed to the deployment's sealing key. And nobody but a worker can make one: it is authenticated by a key that
stays in the token. It is bound to principal, source and destination, and over after 15 minutes.

Layout, big-endian: magic "KFTP", u8 1, sealing key id (16), expiry u64 (ms since 1970), u16 length ‖ HPKE of a fresh
AES-256 key (`info` binds all of the above and who, from where, to where), HMAC-SHA-256 by the token over `info` and all
before, u32 index, AES-256-GCM under that key with the index as nonce and all before the index as associated data. The
parcels of one command share everything before the index. Pure but for randomness and the token.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyfold.custody import SealingPrivateKey
from keyfold.events.bodies import SUITE
from keyfold.events.errors import Expired, InvalidCiphertext, Refusal
from keyfold.events.times import MINUTE_MS

LIFETIME_MS: Final = 15 * MINUTE_MS
MAC_BYTES: Final = 32
Mac = Callable[[bytes], bytes]
_HEAD: Final = struct.Struct(">4sB16sQ")
_MAGIC: Final = b"KFTP"
_LENGTH: Final = struct.Struct(">H")
_INDEX: Final = struct.Struct(">I")
_NONCE_PADDING: Final = bytes(8)


@dataclass(frozen=True, slots=True)
class Route:
    """Whose plaintexts go from which key to which."""

    principal: str
    source: str
    destination: str

    def info(self, head: bytes) -> bytes:
        """Return what a parcel's key is bound to."""
        names = (self.principal, self.source, self.destination)
        return b"keyfold-transfer-v1" + head + b"".join(sha256(name.encode()).digest() for name in names)


@dataclass(frozen=True, slots=True)
class Sealing:
    """The sealing key that parcels are sealed to, and the token's MAC over what it is given."""

    name: str
    private_key: SealingPrivateKey
    mac: Mac


def pack(
    plaintexts: Sequence[bytes], route: Route, sealing: Sealing, now_ms: int, random: Callable[[int], bytes]
) -> list[bytes]:
    """Return one parcel per plaintext."""
    head = _HEAD.pack(_MAGIC, 1, UUID(sealing.name).bytes, now_ms + LIFETIME_MS)
    key, info = random(32), route.info(head)
    sealed = SUITE.encrypt(key, sealing.private_key.public_key(), info)
    made = head + _LENGTH.pack(len(sealed)) + sealed
    prefix, aead = made + sealing.mac(info + made), AESGCM(key)
    return [
        prefix + _INDEX.pack(index) + aead.encrypt(_NONCE_PADDING + _INDEX.pack(index), plaintext, prefix)
        for index, plaintext in enumerate(plaintexts)
    ]


class Unpacker:
    """Opens the parcels of one command. `private` gives a sealing key's private half; it may raise."""

    def __init__(self, route: Route, private: Callable[[str], SealingPrivateKey], mac: Mac, now_ms: int) -> None:
        self._route, self._private, self._mac, self._now_ms = route, private, mac, now_ms
        self._keys: dict[bytes, AESGCM | Refusal] = {}

    def open(self, parcel: bytes) -> bytes | Refusal:
        """Return what is in a parcel, or why not: `Expired`, or `InvalidCiphertext` for everything else."""
        if len(parcel) < _HEAD.size + _LENGTH.size:
            return InvalidCiphertext()
        (size,) = _LENGTH.unpack_from(parcel, _HEAD.size)
        at = _HEAD.size + _LENGTH.size + size + MAC_BYTES
        prefix, rest = parcel[:at], parcel[at:]
        if len(rest) < _INDEX.size:
            return InvalidCiphertext()
        if prefix not in self._keys:
            self._keys[prefix] = self._key(prefix)
        found = self._keys[prefix]
        if isinstance(found, Refusal):
            return found
        try:
            return found.decrypt(_NONCE_PADDING + rest[: _INDEX.size], rest[_INDEX.size :], prefix)
        except (InvalidTag, ValueError):
            return InvalidCiphertext()

    def _key(self, prefix: bytes) -> AESGCM | Refusal:
        head, made, tag = prefix[: _HEAD.size], prefix[:-MAC_BYTES], prefix[-MAC_BYTES:]
        magic, version, name, expires_ms = _HEAD.unpack(head)
        if magic != _MAGIC or version != 1:
            return InvalidCiphertext()
        info = self._route.info(head)
        if not compare_digest(self._mac(info + made), tag):
            return InvalidCiphertext()
        if self._now_ms >= expires_ms:
            return Expired("the parcel's time is over; start from the ciphertext again")
        try:
            private_key = self._private(str(UUID(bytes=name)))
        except (Expired, InvalidCiphertext) as error:
            return error
        try:
            return AESGCM(SUITE.decrypt(made[_HEAD.size + _LENGTH.size :], private_key, info))
        except (InvalidTag, ValueError):
            return InvalidCiphertext()
