"""The keys that SOFTWARE commands encrypt under: derived from a key's material and a salt, with a commitment.

GCM alone does not commit to its key: one ciphertext can open under two. The commitment value, derived beside the key
and carried in each ciphertext, is compared before use ("How to Abuse and Fix Authenticated Encryption Without
Key Commitment", USENIX Security 2022, section 3). Deriving costs 6 µs, so
decryption remembers recent results by salt; nothing here encrypts.
"""

import threading
from collections import OrderedDict
from hmac import compare_digest
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyfold.custody.references import KeyReference, MemoryHandle
from keyfold.events.ciphertext import Algorithm, header

_INFO: Final = b"keyfold-software-v1"
_KEY_BYTES: Final = 32


class DerivedKey(NamedTuple):
    """An AES-256-GCM key and the value that commits to it."""

    aead: AESGCM
    commitment: bytes


def derive(material: bytes, salt: bytes, ciphertext_header: bytes) -> DerivedKey:
    """HKDF-SHA256 (RFC 5869), bound to key id, version and algorithm by the ciphertext's header."""
    both = HKDF(hashes.SHA256(), 64, salt, _INFO + ciphertext_header).derive(material)
    return DerivedKey(AESGCM(both[:_KEY_BYTES]), both[_KEY_BYTES:])


class DerivedKeys:
    """A bounded memory of derived keys, least recently used out first. Safe to use from several threads."""

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[tuple[bytes, bytes], DerivedKey] = OrderedDict()
        self._salts: dict[bytes, set[bytes]] = {}
        self._lock = threading.Lock()

    def committed(self, handle: MemoryHandle, prefix: bytes) -> AESGCM | None:
        """Return the cipher for a ciphertext's prefix (header ‖ salt ‖ commitment); None if the commitment is wrong."""
        head, salt, commitment = prefix[:26], prefix[26:58], prefix[58:]
        known = self._recall((head, salt))
        found = known or derive(handle.material, salt, head)
        if not compare_digest(found.commitment, commitment):
            return None
        if known is None:
            # Only now: ciphertexts with made-up salts must not push out what is of use.
            self._remember((head, salt), found)
        return found.aead

    def forget(self, reference: KeyReference) -> None:
        """Drop everything derived from a key version."""
        head = header(reference.key_id, reference.version, Algorithm.AES_256_GCM_DERIVED)
        with self._lock:
            for salt in self._salts.pop(head, ()):
                del self._entries[head, salt]

    def __len__(self) -> int:
        return len(self._entries)

    def _recall(self, key: tuple[bytes, bytes]) -> DerivedKey | None:
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def _remember(self, key: tuple[bytes, bytes], value: DerivedKey) -> None:
        with self._lock:
            self._entries[key] = value
            self._salts.setdefault(key[0], set()).add(key[1])
            if len(self._entries) > self._capacity:
                (head, salt), _ = self._entries.popitem(last=False)
                self._salts[head].discard(salt)
                if not self._salts[head]:
                    del self._salts[head]
