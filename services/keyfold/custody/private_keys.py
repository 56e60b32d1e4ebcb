"""Private keys in this process's memory, as objects of `cryptography`: made, encoded for a blob, and decoded.

They come from the operating system's generator. How they are protected at rest is `keyfold.custody.envelopes`'s
business. Encoded: PKCS #8 in DER for RSA, the NIST curves and Ed25519; the seed (FIPS 204: 32 bytes; FIPS 203: 64
bytes) for ML-DSA and ML-KEM.
"""

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA65PrivateKey, MLDSA87PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM1024PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from keyfold.custody.public_keys import encode as encode_public
from keyfold.custody.public_keys import spec_of
from keyfold.custody.references import PrivateKey
from keyfold.events import import_format
from keyfold.events.errors import IncorrectKeyMaterial, InvalidPublicKey, Unsupported

RSA_EXPONENT: Final = 65537
_MOST_EXPONENT_BITS: Final = 256
SeedKey = MLDSA44PrivateKey | MLDSA65PrivateKey | MLDSA87PrivateKey | MLKEM768PrivateKey | MLKEM1024PrivateKey
_SEEDED: Final[dict[str, tuple[Callable[[], SeedKey], Callable[[bytes], SeedKey], int]]] = {
    "ML_DSA_44": (MLDSA44PrivateKey.generate, MLDSA44PrivateKey.from_seed_bytes, 32),
    "ML_DSA_65": (MLDSA65PrivateKey.generate, MLDSA65PrivateKey.from_seed_bytes, 32),
    "ML_DSA_87": (MLDSA87PrivateKey.generate, MLDSA87PrivateKey.from_seed_bytes, 32),
    "ML_KEM_768": (MLKEM768PrivateKey.generate, MLKEM768PrivateKey.from_seed_bytes, 64),
    "ML_KEM_1024": (MLKEM1024PrivateKey.generate, MLKEM1024PrivateKey.from_seed_bytes, 64),
}
_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "ECC_NIST_P256": ec.SECP256R1, "ECC_NIST_P384": ec.SECP384R1, "ECC_NIST_P521": ec.SECP521R1,
}  # fmt: skip


def generate(spec: str) -> PrivateKey:
    """Make a private key of an asymmetric key spec; RSA-4096 takes seconds. Raises `Unsupported`."""
    if spec in _CURVES:
        return ec.generate_private_key(_CURVES[spec]())
    if spec.startswith("RSA_"):
        return rsa.generate_private_key(RSA_EXPONENT, int(spec.removeprefix("RSA_")))
    if spec == "ECC_NIST_EDWARDS25519":
        return Ed25519PrivateKey.generate()
    if spec not in _SEEDED:
        raise Unsupported(f"the key spec {spec} is not offered here")
    try:
        return _SEEDED[spec][0]()
    except UnsupportedAlgorithm:
        raise Unsupported(f"the library of this installation does not have {spec}") from None


def encode(private_key: PrivateKey) -> bytes:
    """Return what goes into a blob."""
    if isinstance(private_key, SeedKey):
        return private_key.private_bytes_raw()
    return private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def decode(spec: str, material: bytes, *, checked: bool = False) -> PrivateKey:
    """Read what `encode` gave, or what was imported. Raises `IncorrectKeyMaterial` unless it is a key of this spec.

    `checked`: the bytes come from an authenticated blob that this program made of a sound key, so the primes of an RSA
    key are not tested again, which takes up to 0.5 s.
    """
    if not checked and not import_format.fits(spec, len(material)):
        raise IncorrectKeyMaterial
    try:
        private_key = _decode(spec, material, checked)
        found = spec_of(private_key.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidPublicKey):
        raise IncorrectKeyMaterial from None
    if found != spec:
        raise IncorrectKeyMaterial
    return private_key


def _decode(spec: str, material: bytes, checked: bool) -> PrivateKey:
    if spec in _SEEDED:
        _, from_seed, size = _SEEDED[spec]
        if len(material) != size:
            raise IncorrectKeyMaterial
        return from_seed(material)
    private_key = load_der_private_key(material, None, unsafe_skip_rsa_key_validation=True)
    if checked or not isinstance(private_key, rsa.RSAPrivateKey):
        return private_key
    # The library tests primes of any size while it holds Python's lock: for minutes, if they are long enough.
    if not spec.startswith("RSA_") or not _is_bounded(private_key.private_numbers(), int(spec.removeprefix("RSA_"))):
        raise IncorrectKeyMaterial
    return load_der_private_key(material, None)


def _is_bounded(key: rsa.RSAPrivateNumbers, bits: int) -> bool:
    """Whether no number is longer than a key of `bits` bits has it (FIPS 186-5, appendix A.1.1)."""
    public = key.public_numbers
    halves = (key.p, key.q, key.dmp1, key.dmq1, key.iqmp)
    return (
        public.n.bit_length() == bits
        and is_sound_exponent(public.e)
        and key.d.bit_length() <= bits
        and all(number > 0 and number.bit_length() <= bits // 2 for number in halves)
    )


def is_sound_exponent(exponent: int) -> bool:
    """Tell whether an RSA public exponent is odd and between 2^16 and 2^256 (FIPS 186-5, section 5.4 (e))."""
    return exponent % 2 == 1 and 2**16 < exponent < 2**_MOST_EXPONENT_BITS


def generate_key_pair(spec: str) -> tuple[bytes, bytes]:
    """Return (private key as PKCS #8 DER, public key as SubjectPublicKeyInfo DER) of a data key pair.

    Made in this process's memory from the operating system's generator: the caller gets both halves, so no token could
    keep the private one. Raises `Unsupported` for a spec that is not a `KeyPairSpec`.
    """
    if spec in _SEEDED:
        raise Unsupported(f"a data key pair of spec {spec} is not offered here")
    private_key = generate(spec)
    return encode(private_key), encode_public(private_key.public_key())
