"""The port: protecting and unprotecting batches of items with one key, wherever its material is.

Two adapters implement it: `InToken` (protection level HSM) and `InMemory` (SOFTWARE). One contract suite runs on both.
"""

from collections.abc import Sequence
from typing import Protocol

from keyfold.custody.references import Handle, Item, Resolver
from keyfold.events.ciphertext import HEADER_BYTES, Algorithm, parse_header
from keyfold.events.errors import InvalidCiphertext


class MaterialProvider(Protocol):
    """What every adapter guarantees.

    Both calls are all or nothing towards the token: `TokenUnavailable` leaves no partial result and can be retried.
    `contexts` are encoded encryption contexts (`keyfold.events.ciphertext.encode_context`), one per distinct context;
    an item names its context by index. Results stand in the order of the items. Safe to call from several threads.
    """

    def protect(self, handle: Handle, contexts: Sequence[bytes], items: Sequence[Item]) -> list[bytes]:
        """Return one full ciphertext per (context index, plaintext), under this version of the key."""

    def unprotect(
        self, key_id: bytes, resolve: Resolver, contexts: Sequence[bytes], items: Sequence[Item]
    ) -> list[bytes | InvalidCiphertext]:
        """Return the plaintext of each (context index, ciphertext), or `InvalidCiphertext`, the same for every cause.

        The ciphertext must name this key, a version that `resolve` gives, and this adapter's algorithm; then that one
        version is tried and no other. `resolve` is asked at most once per version and call. An item's failure costs
        nothing but that item.
        """


def version_of(ciphertext_header: bytes, key_id: bytes, algorithm: Algorithm) -> int | None:
    """Return the version that a ciphertext's header names, or None if it names another key or algorithm."""
    if len(ciphertext_header) != HEADER_BYTES:
        return None
    try:
        named, version, used = parse_header(ciphertext_header)
    except InvalidCiphertext:
        return None
    return version if named == key_id and used is algorithm else None
