"""ML-DSA and ML-KEM against another implementation: dilithium-py and kyber-py, FIPS 204 and 203 in pure Python.

They share no code with the library that is used here. They are slow, and not safe for anything but tests.
"""

import os
from hashlib import shake_256
from importlib import import_module
from typing import Any

import pytest
from tests.support.vault import Key, Vault

from keyfold.custody import encapsulate, verify
from keyfold.custody.private_keys import generate
from keyfold.custody.public_keys import encode

pytestmark = pytest.mark.token

SIGNATURES = pytest.mark.parametrize("level", [44, 65, 87])
ENCAPSULATIONS = pytest.mark.parametrize("level", [768, 1024])
ALGORITHM = "ML_DSA_SHAKE_256"


def theirs(kind: str, level: int) -> Any:
    """The other implementation of a parameter set."""
    module = {"ML_DSA": "dilithium_py.ml_dsa", "ML_KEM": "kyber_py.ml_kem"}[kind]
    return getattr(import_module(module), f"{kind}_{level}")


def same_key(vault: Vault, kind: str, level: int) -> tuple[Key, bytes, bytes]:
    """A key from one seed: ours, imported, and their public and private key."""
    usage, size = {"ML_DSA": ("SIGN_VERIFY", 32), "ML_KEM": ("KEY_ENCAPSULATION", 64)}[kind]
    seed = os.urandom(size)
    public, private = theirs(kind, level).key_derive(seed)
    return vault.bring(f"{kind}_{level}", usage, "SOFTWARE", seed), public, private


def with_key(spec: str, raw: bytes) -> bytes:
    """SubjectPublicKeyInfo of their public key."""
    return encode(generate(spec).public_key())[: -len(raw)] + raw


def representative(public: bytes, message: bytes) -> bytes:
    """µ of a message without a context (FIPS 204, algorithms 2 and 7)."""
    return shake_256(shake_256(public).digest(64) + b"\0\0" + message).digest(64)


@SIGNATURES
def test_one_seed_is_one_signing_key(vault: Vault, level: int) -> None:
    """Both give the same public key."""
    key, public, _ = same_key(vault, "ML_DSA", level)
    assert key.public_key == with_key(f"ML_DSA_{level}", public)


@SIGNATURES
def test_they_verify_our_signatures(vault: Vault, level: int) -> None:
    """Of a message and of its representative; not of another message."""
    key, public, _ = same_key(vault, "ML_DSA", level)
    (of_message,) = key.operations.sign(key.handle, ALGORITHM, "RAW", [b"message"])
    mu = representative(public, b"message")
    (of_mu,) = key.operations.sign(key.handle, ALGORITHM, "EXTERNAL_MU", [mu])
    for signature in (of_message, of_mu):
        assert theirs("ML_DSA", level).verify(public, b"message", signature)
        assert not theirs("ML_DSA", level).verify(public, b"another", signature)


@SIGNATURES
def test_we_verify_their_signatures(vault: Vault, level: int) -> None:
    """Of a message and of its representative, hedged or not; not with a context, which Keyfold has none of."""
    key, public, private = same_key(vault, "ML_DSA", level)
    other, mu = theirs("ML_DSA", level), representative(public, b"message")
    signatures = [
        other.sign(private, b"message"),
        other.sign(private, b"message", deterministic=True),
        other.sign_external_mu(private, mu),
    ]
    for signature in signatures:
        pairs = [(b"message", signature), (b"another", signature)]
        assert verify(key.public_key, ALGORITHM, "RAW", pairs) == [True, False]
        assert verify(key.public_key, ALGORITHM, "EXTERNAL_MU", [(mu, signature)]) == [True]
    with_context = other.sign(private, b"message", ctx=b"context")
    assert verify(key.public_key, ALGORITHM, "RAW", [(b"message", with_context)]) == [False]


@ENCAPSULATIONS
def test_secrets_are_the_same(vault: Vault, level: int) -> None:
    """They encapsulate and we decapsulate, and the other way round; a changed ciphertext gives both the same secret."""
    key, public, private = same_key(vault, "ML_KEM", level)
    assert key.public_key == with_key(f"ML_KEM_{level}", public)
    other = theirs("ML_KEM", level)
    secret, ciphertext = other.encaps(public)
    assert key.operations.decapsulate(key.handle, [ciphertext]) == [secret]
    ((secret, ciphertext),) = encapsulate(with_key(f"ML_KEM_{level}", public), 1)
    assert other.decaps(private, ciphertext) == secret
    changed = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    (rejected,) = key.operations.decapsulate(key.handle, [changed])
    assert rejected == other.decaps(private, changed) != secret
