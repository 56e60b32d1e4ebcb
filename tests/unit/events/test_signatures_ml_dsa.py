"""Signatures with ML-DSA-65 (FIPS 204), beside Ed25519 and never in its place."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from keyfold.events import commands, signatures
from keyfold.events.errors import SignatureInvalid
from keyfold.events.signatures import SignatureAlgorithm, Signer, Verifier, check_public_key, fingerprint

PUBLISHED = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "published" / "ml-dsa-65.json").read_text("utf-8")
)
SEED = sha256(b"test").digest()
BOTH: tuple[SignatureAlgorithm, ...] = ("Ed25519", "ML-DSA-65")


@pytest.fixture(scope="module")
def signer() -> Signer:
    """A signer with ML-DSA-65."""
    return Signer(SEED, "ML-DSA-65")


@pytest.fixture(scope="module")
def verifier(signer: Signer) -> Verifier:
    """What knows its public key."""
    return Verifier(signer.public_key, "ML-DSA-65")


def test_sizes(signer: Signer) -> None:
    """A seed of 32 bytes gives a public key of 1,952 and signatures of 3,309."""
    assert (signer.algorithm, len(signer.public_key)) == ("ML-DSA-65", 1952)
    assert len(signer.sign(b"message")) == 3309
    assert signatures.PUBLIC_KEY_BYTES == {"Ed25519": 32, "ML-DSA-65": 1952}


def test_signatures_are_hedged(signer: Signer, verifier: Verifier) -> None:
    """Two signatures of one message differ, and both verify; the key itself follows from the seed."""
    one, two = signer.sign(b"message"), signer.sign(b"message")
    assert one != two
    verifier.verify(one, b"message")
    verifier.verify(two, b"message")
    assert Signer(SEED, "ML-DSA-65").public_key == signer.public_key


def test_published_vector() -> None:
    """Keys and signatures are FIPS 204's: a published seed gives its key, a published signature verifies."""
    case = {name: bytes.fromhex(text) for name, text in PUBLISHED["signed"].items()}
    assert Signer(case["seed_hex"], "ML-DSA-65").public_key == case["public_key_hex"]
    published = Verifier(case["public_key_hex"], "ML-DSA-65")
    published.verify(case["signature_hex"], case["message_hex"])
    with pytest.raises(SignatureInvalid):
        published.verify(case["signature_hex"], case["message_hex"] + b"!")


def test_golden(vectors: Callable[[str], Any]) -> None:
    """The recorded command of a principal with such a key verifies, and names its key by fingerprint."""
    (case,) = vectors("ml-dsa")["cases"]
    public_key, value = bytes.fromhex(case["public_key_hex"]), case["value"].encode()
    assert Signer(bytes.fromhex(case["seed_hex"]), "ML-DSA-65").public_key == public_key
    record_key, sealed = case["record_key"].encode(), bytes.fromhex(case["sealed_hex"])
    message = signatures.command_message(case["deployment"], record_key, value, sealed)
    assert message.hex() == case["message_hex"]
    Verifier(public_key, "ML-DSA-65").verify(bytes.fromhex(case["signature_hex"]), message)
    assert commands.parse_command(value).data.signing_key == case["fingerprint"] == fingerprint(public_key)


def test_fingerprint(signer: Signer, verifier: Verifier) -> None:
    """A key's name is SHA-256 of its raw bytes, the same for signer and verifier, another than with Ed25519."""
    assert signer.fingerprint == verifier.fingerprint == sha256(signer.public_key).hexdigest()
    assert Signer(SEED).fingerprint != signer.fingerprint


@pytest.mark.parametrize("length", [0, 1, 64, 3308, 3310, 6618])
def test_signature_of_wrong_length(verifier: Verifier, length: int) -> None:
    """A signature of another length is invalid, never another error."""
    with pytest.raises(SignatureInvalid):
        verifier.verify(bytes(length), b"message")


@pytest.mark.parametrize("place", [0, 47, 1500, 3247, 3260, 3308])
def test_damaged_signature(signer: Signer, verifier: Verifier, place: int) -> None:
    """One flipped bit anywhere (challenge, response, hints) makes it invalid."""
    damaged = bytearray(signer.sign(b"message"))
    damaged[place] ^= 1
    with pytest.raises(SignatureInvalid):
        verifier.verify(bytes(damaged), b"message")


def test_other_message_or_key(signer: Signer, verifier: Verifier) -> None:
    """A signature is good for its message and its key alone."""
    signature = signer.sign(b"message")
    other = Verifier(Signer(bytes(32), "ML-DSA-65").public_key, "ML-DSA-65")
    for wrong, message in ((verifier, b"massage"), (other, b"message")):
        with pytest.raises(SignatureInvalid):
            wrong.verify(signature, message)


def test_algorithms_are_not_mixed_up(signer: Signer, verifier: Verifier) -> None:
    """A signature with one algorithm is invalid under a key of the other, also where both come from one seed."""
    classical = Signer(SEED)
    with pytest.raises(SignatureInvalid):
        verifier.verify(classical.sign(b"message"), b"message")
    with pytest.raises(SignatureInvalid):
        Verifier(classical.public_key).verify(signer.sign(b"message"), b"message")


@pytest.mark.parametrize("algorithm", BOTH)
def test_public_key_of_the_other_algorithm(algorithm: SignatureAlgorithm) -> None:
    """Bytes of the other algorithm's key are no key of this one, neither to be registered nor to verify with."""
    other = next(Signer(SEED, each).public_key for each in BOTH if each != algorithm)
    with pytest.raises(ValueError, match=f"not a usable {algorithm}"):
        check_public_key(other, algorithm)
    with pytest.raises(ValueError, match="bytes long"):
        Verifier(other, algorithm)


@pytest.mark.parametrize("length", [0, 32, 1951, 1953])
def test_public_key_of_wrong_length(length: int) -> None:
    """Bytes of another length are no key."""
    with pytest.raises(ValueError, match="not a usable ML-DSA-65"):
        check_public_key(bytes(length), "ML-DSA-65")


def test_keys_that_anybody_can_sign_for(signer: Signer) -> None:
    """Under a key whose vector is zero a signature is made without a private key; such a key is refused."""
    case = {name: bytes.fromhex(text) for name, text in PUBLISHED["zero_public_key"].items()}
    Verifier(case["public_key_hex"], "ML-DSA-65").verify(case["signature_hex"], case["message_hex"])
    for seed in (case["public_key_hex"][:32], bytes(32), b"\xff" * 32):
        with pytest.raises(ValueError, match="not a usable ML-DSA-65"):
            check_public_key(seed + bytes(1920), "ML-DSA-65")
    check_public_key(signer.public_key, "ML-DSA-65")
