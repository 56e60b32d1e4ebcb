"""Removing OAEP padding: what `cryptography` made opens, and every other encoding is refused."""

import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from keyfold.custody.oaep import unpad

HASHES: dict[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "256": hashes.SHA256()}  # noqa: S303


@pytest.fixture(scope="module")
def private() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def encoded(private: rsa.RSAPrivateKey, message: bytes, sha: str, label: bytes | None = None) -> bytes:
    """The encoded message that raw RSA gives back."""
    scheme = padding.OAEP(padding.MGF1(HASHES[sha]), HASHES[sha], label)
    numbers = private.private_numbers()
    opened = pow(
        int.from_bytes(private.public_key().encrypt(message, scheme), "big"), numbers.d, numbers.public_numbers.n
    )
    return opened.to_bytes(256, "big")


@pytest.mark.parametrize("sha", HASHES)
@pytest.mark.parametrize("message", [b"", b"\0", b"\0\1", b"\1\1", b"message", bytes(190), b"\xff" * 190])
def test_a_sound_encoding_opens(private: rsa.RSAPrivateKey, sha: str, message: bytes) -> None:
    """Messages that begin with the separator or with zeros, too."""
    assert unpad(encoded(private, message, sha), sha) == message


@pytest.mark.parametrize("sha", HASHES)
def test_every_bit_counts(private: rsa.RSAPrivateKey, sha: str) -> None:
    """Any changed bit of a short message's encoding is refused: in the first byte, the seed, the block."""
    sound = encoded(private, b"", sha)
    for at in range(len(sound)):
        for bit in (1, 0x80):
            assert unpad(sound[:at] + bytes([sound[at] ^ bit]) + sound[at + 1 :], sha) is None


@pytest.mark.parametrize("sha", HASHES)
def test_another_hash_or_label_is_refused(private: rsa.RSAPrivateKey, sha: str) -> None:
    """And what is too short to be an encoding."""
    other = "256" if sha == "1" else "1"
    assert unpad(encoded(private, b"x", sha), other) is None
    assert unpad(encoded(private, b"x", sha, b"label"), sha) is None
    for length in (0, 1, 2 * HASHES[sha].digest_size + 1):
        assert unpad(bytes(length), sha) is None
    assert unpad(os.urandom(256), sha) is None
    assert unpad(bytes(256), sha) is None
