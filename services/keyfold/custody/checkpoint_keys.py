"""The notary's keys: what signs the log's checkpoints, in the token `notary`.

The Ed25519 identity never leaves the token. No token makes ML-DSA yet, so the ML-DSA-44 key is a seed (FIPS 204,
section 3.6.3) that lies in the token as a private data object, encrypted under an AES key of the token that can do
nothing else; it is in the clear only in the memory of the process that signs. What is signed is the notary's business.

Data object "keyfold checkpoint key", version 1: magic "KFCK", u8 1, ML-DSA-44 public key (1,312), nonce (12),
AES-256-GCM of the seed (32); its associated data is "keyfold-checkpoint-key-v1" ‖ public key.
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from keyfold.token import Session, Token, TokenKeyMissing, TokenKeyUntrusted, create_signing_identity, data_objects
from keyfold.token import keys as token_keys

CHECKPOINT_KEK_ID: Final = b"keyfold:checkpoint-kek"
CHECKPOINT_KEY_LABEL: Final = "keyfold checkpoint key"
PUBLIC_KEY_BYTES: Final = 1312

_HEAD: Final = b"KFCK\x01"
_SEED_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_BODY: Final = len(_HEAD) + PUBLIC_KEY_BYTES


def provision(token: Token) -> tuple[bytes, bytes]:
    """Make the keys that the token lacks; return the raw public keys, Ed25519 and ML-DSA-44.

    Each step is found again by the next attempt. If we crash between the AES key and the data object, an AES key that
    encrypts nothing remains, and is used. Raises `TokenKeyUntrusted`, and what `load` raises.
    """
    identity = create_signing_identity(token)
    with token.manager() as session:
        if not token_keys.find(session, CHECKPOINT_KEK_ID):
            _require_no_key(session)
            token_keys.create_envelope_key(session, CHECKPOINT_KEK_ID, "keyfold checkpoint kek")
        if data_objects.require_one(session, CHECKPOINT_KEY_LABEL) is None:
            _create(session)
    return identity, load(token).public_key().public_bytes_raw()


def load(token: Token) -> MLDSA44PrivateKey:
    """Decrypt the ML-DSA-44 key. Raises `TokenKeyMissing` without one, `TokenKeyUntrusted` if it does not open."""
    with token.manager() as session:
        stored = data_objects.require_one(session, CHECKPOINT_KEY_LABEL)
        if stored is None:
            raise TokenKeyMissing("the token notary holds no checkpoint key; hold `keyfold ceremony renew`")
        key = token_keys.require_envelope_key(session, CHECKPOINT_KEK_ID)
        public, body = stored[len(_HEAD) : _BODY], stored[_BODY:]
        item = (body[:_NONCE_BYTES], body[_NONCE_BYTES:], _associated(public))
        seed = session.gcm.decrypt_many(key, [item])[0] if len(body) > _NONCE_BYTES else None
    if stored[: len(_HEAD)] != _HEAD or seed is None or len(seed) != _SEED_BYTES:
        raise TokenKeyUntrusted("the token's checkpoint key does not open; restore the token notary from its backup")
    private = MLDSA44PrivateKey.from_seed_bytes(seed)
    if private.public_key().public_bytes_raw() != public:
        raise TokenKeyUntrusted("the token's checkpoint key is not the one that it names; restore the token notary")
    return private


def _create(session: Session) -> None:
    key = token_keys.require_envelope_key(session, CHECKPOINT_KEK_ID)
    seed = session.gcm.random(_SEED_BYTES)
    public = MLDSA44PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()
    nonce = session.gcm.random(_NONCE_BYTES)
    wrapped = session.gcm.encrypt_many(key, [(nonce, seed, _associated(public))])[0]
    data_objects.create(session, CHECKPOINT_KEY_LABEL, _HEAD + public + nonce + wrapped)


def _require_no_key(session: Session) -> None:
    if data_objects.require_one(session, CHECKPOINT_KEY_LABEL) is not None:
        raise TokenKeyMissing(
            "the token notary holds a checkpoint key, but not the key that it is encrypted under; "
            "restore the token from its backup"
        )


def _associated(public_key: bytes) -> bytes:
    return b"keyfold-checkpoint-key-v1" + public_key
