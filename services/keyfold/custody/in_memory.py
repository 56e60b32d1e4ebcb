"""SOFTWARE keys: AES-256-GCM in this process's memory, under one derived key per command.

A random 32-byte salt per command makes the derived key unique, so the item's index is a sound nonce. What is done per
item is kept to one AEAD call and two concatenations.
"""

import os
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyfold.custody.derived import DerivedKeys, derive
from keyfold.custody.material import version_of
from keyfold.custody.references import SYMMETRIC_DEFAULT, Handle, Item, MemoryHandle, Resolver
from keyfold.events.ciphertext import (
    HEADER_BYTES,
    INDEX_BYTES,
    NONCE_BYTES,
    SALT_BYTES,
    SOFTWARE_BODY_AT,
    SOFTWARE_PREFIX_BYTES,
    Algorithm,
    header,
    item_nonce,
)
from keyfold.events.errors import InvalidCiphertext

_PADDING = bytes(NONCE_BYTES - INDEX_BYTES)


class InMemory:
    """The adapter for protection level SOFTWARE. `random` draws salts: the system's generator, or a test's."""

    def __init__(self, derived: DerivedKeys, random: Callable[[int], bytes] = os.urandom) -> None:
        self._derived = derived
        self._random = random

    def protect(self, handle: Handle, contexts: Sequence[bytes], items: Sequence[Item]) -> list[bytes]:
        """See `MaterialProvider.protect`."""
        memory = _memory(handle)
        key_id, version, *_ = memory.reference
        salt, head = self._random(SALT_BYTES), header(key_id, version, Algorithm.AES_256_GCM_DERIVED)
        aead, commitment = derive(memory.material, salt, head)
        prefix = head + salt + commitment
        associated = [prefix + context for context in contexts]
        encrypt, made = aead.encrypt, []
        for index, (context, data) in enumerate(items):
            nonce = item_nonce(index)
            made.append(prefix + nonce[-INDEX_BYTES:] + encrypt(nonce, data, associated[context]))
        return made

    def unprotect(
        self, key_id: bytes, resolve: Resolver, contexts: Sequence[bytes], items: Sequence[Item]
    ) -> list[bytes | InvalidCiphertext]:
        """See `MaterialProvider.unprotect`."""
        handles: dict[bytes, MemoryHandle | None] = {}
        ciphers: dict[bytes, AESGCM | None] = {}
        opened: list[bytes | InvalidCiphertext] = []
        for context, data in items:
            prefix = data[:SOFTWARE_PREFIX_BYTES]
            if prefix not in ciphers:
                ciphers[prefix] = self._cipher(prefix, key_id, resolve, handles)
            aead = ciphers[prefix]
            if aead is None:
                opened.append(InvalidCiphertext())
                continue
            nonce = _PADDING + data[SOFTWARE_PREFIX_BYTES:SOFTWARE_BODY_AT]
            try:
                opened.append(aead.decrypt(nonce, data[SOFTWARE_BODY_AT:], prefix + contexts[context]))
            except (InvalidTag, ValueError):  # ValueError: too short for an index or a tag
                opened.append(InvalidCiphertext())
        return opened

    def _cipher(
        self, prefix: bytes, key_id: bytes, resolve: Resolver, handles: dict[bytes, MemoryHandle | None]
    ) -> AESGCM | None:
        head = prefix[:HEADER_BYTES]
        if len(prefix) != SOFTWARE_PREFIX_BYTES:
            return None
        if head not in handles:
            version = version_of(head, key_id, Algorithm.AES_256_GCM_DERIVED)
            handle = None if version is None else resolve(version)
            handles[head] = None if handle is None else _memory(handle)
        memory = handles[head]
        return None if memory is None else self._derived.committed(memory, prefix)


def _memory(handle: Handle) -> MemoryHandle:
    if not isinstance(handle, MemoryHandle) or not handle.material or handle.reference.spec != SYMMETRIC_DEFAULT:
        raise ValueError("the handle is not an open symmetric SOFTWARE key")
    return handle
