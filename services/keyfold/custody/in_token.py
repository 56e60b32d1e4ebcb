"""HSM keys: AES-256-GCM inside the token, with 96-bit nonces that the token draws.

The caller counts items per key version and stops at `HSM_ITEM_LIMIT`. One session serves a batch; its nonces come from
one call.
"""

from collections.abc import Sequence

from keyfold.custody.material import version_of
from keyfold.custody.references import Handle, Item, Resolver, TokenHandle
from keyfold.events.ciphertext import (
    HEADER_BYTES,
    HSM_BODY_AT,
    NONCE_BYTES,
    TAG_BYTES,
    Algorithm,
    header,
)
from keyfold.events.errors import InvalidCiphertext
from keyfold.token import Session, Token

Place = tuple[int, tuple[bytes, bytes, bytes]]


class InToken:
    """The adapter for protection level HSM, on the kms token."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def protect(self, handle: Handle, contexts: Sequence[bytes], items: Sequence[Item]) -> list[bytes]:
        """See `MaterialProvider.protect`."""
        in_token = _in_token(handle)
        if not items:
            return []
        head = header(in_token.reference.key_id, in_token.reference.version, Algorithm.AES_256_GCM)
        associated = [head + context for context in contexts]
        with self._token.session() as session:
            nonces = _nonces(session, len(items))
            bodies = session.gcm.encrypt_many(
                in_token.key,
                [(nonce, data, associated[context]) for nonce, (context, data) in zip(nonces, items, strict=True)],
            )
        return [head + nonce + body for nonce, body in zip(nonces, bodies, strict=True)]

    def unprotect(
        self, key_id: bytes, resolve: Resolver, contexts: Sequence[bytes], items: Sequence[Item]
    ) -> list[bytes | InvalidCiphertext]:
        """See `MaterialProvider.unprotect`."""
        opened: list[bytes | InvalidCiphertext] = [InvalidCiphertext() for _ in items]
        by_header: dict[bytes, list[Place]] = {}
        for place, (context, data) in enumerate(items):
            if len(data) >= HSM_BODY_AT + TAG_BYTES:
                head = data[:HEADER_BYTES]
                item = (data[HEADER_BYTES:HSM_BODY_AT], data[HSM_BODY_AT:], head + contexts[context])
                by_header.setdefault(head, []).append((place, item))
        keys = _keys(key_id, resolve, by_header)
        if keys:
            with self._token.session() as session:
                for head, key in keys.items():
                    _open(session, key, by_header[head], opened)
        return opened


def _keys(key_id: bytes, resolve: Resolver, headers: dict[bytes, list[Place]]) -> dict[bytes, int]:
    """The Cryptoki handle for each header that names this key and a version that can be used."""
    found: dict[bytes, int] = {}
    for head in headers:
        version = version_of(head, key_id, Algorithm.AES_256_GCM)
        handle = None if version is None else resolve(version)
        if handle is not None:
            found[head] = _in_token(handle).key
    return found


def _open(session: Session, key: int, places: list[Place], opened: list[bytes | InvalidCiphertext]) -> None:
    plaintexts = session.gcm.decrypt_many(key, [item for _, item in places])
    for (place, _), plaintext in zip(places, plaintexts, strict=True):
        if plaintext is not None:
            opened[place] = plaintext


def _nonces(session: Session, count: int) -> list[bytes]:
    drawn = session.gcm.random(NONCE_BYTES * count)
    return [drawn[at : at + NONCE_BYTES] for at in range(0, len(drawn), NONCE_BYTES)]


def _in_token(handle: Handle) -> TokenHandle:
    if not isinstance(handle, TokenHandle) or not handle.key:
        raise ValueError("the handle is not an open HSM key")
    return handle
