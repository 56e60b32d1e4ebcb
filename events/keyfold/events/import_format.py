"""The bytes in which key material is imported: layout and bounds. Pure; wrapping and unwrapping are done elsewhere.

The import's public key is RSA-3072 or RSA-4096; k is the length of its modulus in bytes (384 or 512).

RSA_AES_KEY_WRAP_SHA_256 (PKCS #11 v3.1, section 6.1.17, CKM_RSA_AES_KEY_WRAP; AWS KMS names it so), for every key spec:

    0  k  RSAES-OAEP (RFC 8017, section 7.1; SHA-256, MGF1 with SHA-256, no label) of a fresh AES-256 key, 32 bytes
    k     AES-KWP (RFC 5649; SP 800-38F, section 6.3) of the material under that key: a multiple of 8 bytes, at least 16

RSAES_OAEP_SHA_256, for symmetric and HMAC keys only:

    0  k  RSAES-OAEP, as above, of the material

The material is, by key spec:

- SYMMETRIC_DEFAULT: the 32 bytes of the key; HMAC_224, 256, 384, 512: the 28, 32, 48, 64 bytes of the key;
- RSA, the NIST curves and Ed25519: the private key as PKCS #8 (RFC 5208, RFC 5958), DER, not encrypted;
- ML-DSA: the 32 bytes of the seed ξ (FIPS 204, section 5.1); ML-KEM: the 64 bytes of the seeds d ‖ z (FIPS 203,
  section 7.1).

Secrets and seeds have exactly these lengths; a private key has at most as many bytes as `longest` says, which is room
for every usual encoding of a sound one and for little else: the cost of reading and using an RSA key grows with the
cube of its numbers, whatever its modulus is.
"""

from typing import Final

from keyfold.events.errors import InvalidCiphertext
from keyfold.events.specs import material_bytes

EPHEMERAL_KEY_BYTES: Final = 32
MODULUS_BYTES: Final = {"RSA_3072": 384, "RSA_4096": 512}
MAX_WRAPPED_BYTES: Final = 512 + 4096
SEED_BYTES: Final = {"ML_DSA_44": 32, "ML_DSA_65": 32, "ML_DSA_87": 32, "ML_KEM_768": 64, "ML_KEM_1024": 64}
_LONGEST: Final = {
    "RSA_2048": 1300, "RSA_3072": 1900, "RSA_4096": 2500,
    "ECC_NIST_P256": 300, "ECC_NIST_P384": 300, "ECC_NIST_P521": 300, "ECC_NIST_EDWARDS25519": 100,
}  # fmt: skip
_SHORTEST_KWP: Final = 16


def takes(wrapping_algorithm: str, key_spec: str) -> bool:
    """Tell whether material of a key spec can be wrapped by this algorithm."""
    if wrapping_algorithm == "RSAES_OAEP_SHA_256":
        return material_bytes(key_spec) is not None
    return wrapping_algorithm == "RSA_AES_KEY_WRAP_SHA_256"


def longest(key_spec: str) -> int:
    """Return how many bytes material of a key spec has at most; 0 for a spec that is not imported."""
    return material_bytes(key_spec) or SEED_BYTES.get(key_spec) or _LONGEST.get(key_spec, 0)


def fits(key_spec: str, size: int) -> bool:
    """Tell whether material of a key spec can have so many bytes."""
    return 0 < size <= longest(key_spec) and (key_spec in _LONGEST or size == longest(key_spec))


def longest_wrapped(key_spec: str) -> int:
    """Return how many bytes the AES-KWP ciphertext of such material has at most: 8 more, in whole blocks of 8."""
    return 8 + -(-longest(key_spec) // 8) * 8


def split(wrapping_algorithm: str, wrapping_spec: str, wrapped: bytes) -> tuple[bytes, bytes]:
    """Return (RSA ciphertext, AES-KWP ciphertext; empty for RSAES_OAEP_SHA_256). Raises `InvalidCiphertext`."""
    size = MODULUS_BYTES[wrapping_spec]
    encrypted, material = wrapped[:size], wrapped[size:]
    if len(encrypted) != size or len(wrapped) > MAX_WRAPPED_BYTES:
        raise InvalidCiphertext
    if wrapping_algorithm == "RSAES_OAEP_SHA_256":
        if material:
            raise InvalidCiphertext
    elif len(material) < _SHORTEST_KWP or len(material) % 8:
        raise InvalidCiphertext
    return encrypted, material
