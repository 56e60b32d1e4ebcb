"""HSM keys: AES-256-GCM inside the token, with 96-bit nonces that the token draws.

The caller counts items per key version and stops at `HSM_ITEM_LIMIT`. A batch is spread over the pool's sessions
(`keyfold.custody.spreading`); its nonces come from one call for each part.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from keyfold.custody.material import version_of
from keyfold.custody.references import SYMMETRIC_DEFAULT, Handle, Item, Resolver, TokenHandle
from keyfold.custody.spreading import Spreader
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


class _Sealed(NamedTuple):
    """A ciphertext that names a usable version: its place in the batch, the key, and what AES-GCM takes."""

    place: int
    key: int
    parts: tuple[bytes, bytes, bytes]


class InToken:
    """The adapter for protection level HSM, on the kms token."""

    def __init__(self, token: Token) -> None:
        self._spreader = Spreader(token)

    def protect(self, handle: Handle, contexts: Sequence[bytes], items: Sequence[Item]) -> list[bytes]:
        """See `MaterialProvider.protect`."""
        in_token = _in_token(handle)
        head = header(in_token.reference.key_id, in_token.reference.version, Algorithm.AES_256_GCM)
        associated = [head + context for context in contexts]

        def work(session: Session, part: Sequence[Item]) -> list[bytes]:
            nonces = _nonces(session, len(part))
            bodies = session.gcm.encrypt_many(
                in_token.key,
                [(nonce, data, associated[context]) for nonce, (context, data) in zip(nonces, part, strict=True)],
            )
            return [head + nonce + body for nonce, body in zip(nonces, bodies, strict=True)]

        return self._spreader.run(items, work)

    def unprotect(
        self, key_id: bytes, resolve: Resolver, contexts: Sequence[bytes], items: Sequence[Item]
    ) -> list[bytes | InvalidCiphertext]:
        """See `MaterialProvider.unprotect`."""
        keys: dict[bytes, int] = {}
        sealed: list[_Sealed] = []
        for place, (context, data) in enumerate(items):
            if len(data) < HSM_BODY_AT + TAG_BYTES:
                continue
            head = data[:HEADER_BYTES]
            if head not in keys:
                keys[head] = _key(key_id, resolve, head)
            if keys[head]:
                parts = (data[HEADER_BYTES:HSM_BODY_AT], data[HSM_BODY_AT:], head + contexts[context])
                sealed.append(_Sealed(place, keys[head], parts))
        opened: list[bytes | None] = [None] * len(items)
        # One key's items stand together, so that a part is few runs.
        sealed.sort(key=lambda item: item.key)
        for item, plaintext in zip(sealed, self._spreader.run(sealed, _open), strict=True):
            opened[item.place] = plaintext
        return [InvalidCiphertext() if each is None else each for each in opened]


def _key(key_id: bytes, resolve: Resolver, head: bytes) -> int:
    """The Cryptoki handle for a header that names this key and a version that can be used; else 0."""
    version = version_of(head, key_id, Algorithm.AES_256_GCM)
    handle = None if version is None else resolve(version)
    return 0 if handle is None else _in_token(handle).key


def _open(session: Session, part: Sequence[_Sealed]) -> list[bytes | None]:
    return [
        plaintext
        for key, run in groupby(part, lambda item: item.key)
        for plaintext in session.gcm.decrypt_many(key, [item.parts for item in run])
    ]


def _nonces(session: Session, count: int) -> list[bytes]:
    drawn = session.gcm.random(NONCE_BYTES * count)
    return [drawn[at : at + NONCE_BYTES] for at in range(0, len(drawn), NONCE_BYTES)]


def _in_token(handle: Handle) -> TokenHandle:
    if not isinstance(handle, TokenHandle) or not handle.key or handle.reference.spec != SYMMETRIC_DEFAULT:
        raise ValueError("the handle is not an open symmetric HSM key")
    return handle
