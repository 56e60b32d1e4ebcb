"""Sealing keys: short-lived HPKE key pairs, whose private half lies wrapped outside the token `seal`.

The pair is made in memory (no token has ML-KEM yet) and wrapped under a fresh AES key in the token. Destroying that key
erases the pair: what was sealed to it can never be opened again. When keys are made, retired and erased is the
worker's business.

Blob, version 1: magic "KFSB", u8 1, nonce (12), AES-256-GCM of ML-KEM-768 seed (64) ‖ X25519 private key (32); its
associated data is "keyfold-sealing-v1" ‖ sealing key id (16). Public key: ML-KEM-768 encapsulation key (1,184) ‖ X25519
public key (32).
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from keyfold.custody.references import InvalidBlob
from keyfold.events.bodies import SUITE
from keyfold.events.errors import InvalidBody, SealingKeyRetired
from keyfold.token import ProbeReport, Token, TokenKeyMissing, probe
from keyfold.token import keys as token_keys

PREFIX: Final = b"keyfold:sealing:"
PRIVATE_KEY_BYTES: Final = 96
PUBLIC_KEY_BYTES: Final = 1216
SealingPrivateKey = hpke.MLKEM768X25519PrivateKey

_HEAD: Final = b"KFSB\x01"
_SEED_BYTES: Final = 64
_NONCE_BYTES: Final = 12


class SealingKeys:
    """The sealing keys of the token `seal`. Ids are the 16 bytes of a UUID."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def create(self, sealing_key_id: bytes) -> tuple[bytes, bytes]:
        """Make a pair and return (public key, blob). Raises ValueError if the id was used before."""
        mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        with self._token.manager() as session:
            if token_keys.find(session, _token_id(sealing_key_id)):
                raise ValueError("a sealing key id is used once; draw a fresh one")
            # If we crash after this line, a wrapping key without a blob remains: `erase` of an unknown id cleans it.
            key = token_keys.create_envelope_key(session, _token_id(sealing_key_id), "keyfold sealing key")
            nonce = session.gcm.random(_NONCE_BYTES)
            private = mlkem.private_bytes_raw() + x25519.private_bytes_raw()
            wrapped = session.gcm.encrypt_many(key, [(nonce, private, _associated(sealing_key_id))])[0]
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        return public, _HEAD + nonce + wrapped

    def load(self, sealing_key_id: bytes, blob: bytes) -> SealingPrivateKey:
        """Open a blob. Raises `SealingKeyRetired` if the pair was erased, `InvalidBlob` if it is not this id's."""
        if blob[: len(_HEAD)] != _HEAD:
            raise InvalidBlob("the sealing key's blob is of no known format; rotate the sealing key")
        body = blob[len(_HEAD) :]
        item = (body[:_NONCE_BYTES], body[_NONCE_BYTES:], _associated(sealing_key_id))
        with self._token.manager() as session:
            try:
                key = token_keys.require_envelope_key(session, _token_id(sealing_key_id))
            except TokenKeyMissing:
                raise SealingKeyRetired from None
            private = session.gcm.decrypt_many(key, [item])[0] if len(body) > _NONCE_BYTES else None
        if private is None or len(private) != PRIVATE_KEY_BYTES:
            raise InvalidBlob("the sealing key's blob does not open; rotate the sealing key")
        return hpke.MLKEM768X25519PrivateKey(
            MLKEM768PrivateKey.from_seed_bytes(private[:_SEED_BYTES]),
            X25519PrivateKey.from_private_bytes(private[_SEED_BYTES:]),
        )

    def erase(self, sealing_key_id: bytes) -> None:
        """Destroy the key around the pair; doing it again is harmless."""
        with self._token.manager() as session:
            token_keys.destroy_all(session, _token_id(sealing_key_id))

    def list_ids(self) -> list[bytes]:
        """Return the ids whose pairs can still be opened: what a start compares with the log's."""
        with self._token.manager() as session:
            return [key_id.removeprefix(PREFIX) for key_id in token_keys.list_ids(session, PREFIX)]

    def probe(self) -> ProbeReport:
        """Try every way around the protection of the keys in this token; see `keyfold.token.probe`."""
        return probe(self._token, envelope_keys=tuple(PREFIX + key_id for key_id in self.list_ids()))


def open_body(private_key: SealingPrivateKey, sealed: bytes, info: bytes) -> bytes:
    """Open a sealed body (`info` from `keyfold.events.bodies`). Raises `InvalidBody`, whatever is wrong with it."""
    try:
        return SUITE.decrypt(sealed, private_key, info)
    except (InvalidTag, ValueError):
        raise InvalidBody from None


def _token_id(sealing_key_id: bytes) -> bytes:
    if len(sealing_key_id) != 16:
        raise ValueError("a sealing key id has 16 bytes")
    return PREFIX + sealing_key_id


def _associated(sealing_key_id: bytes) -> bytes:
    return b"keyfold-sealing-v1" + sealing_key_id
