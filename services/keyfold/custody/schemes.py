"""Paddings and hashes of the algorithms, as `cryptography` wants them. A table."""

from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from keyfold.custody.operations import SHA_OF

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    # SHA-1 inside OAEP is sound: no collision of it helps against an encryption (SP 800-131A, section 9).
    "1": hashes.SHA1(),  # noqa: S303
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
PREHASHED: Final = {algorithm: Prehashed(_HASHES[sha]) for algorithm, sha in SHA_OF.items()}
"""The hash of each signing algorithm whose digest is signed."""


def signature_padding(algorithm: str) -> padding.AsymmetricPadding:
    """RSASSA-PSS with a salt as long as the digest and MGF1 with the same hash, or RSASSA-PKCS1-v1_5."""
    if algorithm.startswith("RSASSA_PKCS1"):
        return padding.PKCS1v15()
    sha = _HASHES[SHA_OF[algorithm]]
    return padding.PSS(padding.MGF1(sha), sha.digest_size)


def oaep_sha(algorithm: str) -> str:
    """The hash of an RSAES-OAEP algorithm: "1" or "256"."""
    return algorithm.rpartition("_")[2]


def encryption_padding(algorithm: str) -> padding.OAEP:
    """RSAES-OAEP: MGF1 with the same hash, no label."""
    sha = _HASHES[oaep_sha(algorithm)]
    return padding.OAEP(padding.MGF1(sha), sha, None)


def oaep_capacity(algorithm: str, modulus_bits: int) -> int:
    """How many bytes RSAES-OAEP takes under a modulus (RFC 8017, section 7.1.1, step 1b)."""
    return modulus_bits // 8 - 2 * _HASHES[oaep_sha(algorithm)].digest_size - 2
