"""Verifying signatures offline, with a public key: no command, no deployment. Pure.

The rules are the service's: RSASSA-PSS has a salt as long as the digest and MGF1 of the same hash (RFC 8017), ECDSA
signatures are DER (X9.62), ML-DSA has an empty context (FIPS 204). That a key is not compromised is not known here.
"""

import hashlib
from typing import Final, get_args

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keyfold.client.errors import InvalidArgument
from keyfold.events.specs import (
    ALGORITHMS,
    DIGEST_BYTES,
    MU_BYTES,
    KeySpec,
    MessageType,
    SigningAlgorithm,
    message_types,
)

_HASHES: Final = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}
_CURVES: Final = {"secp256r1": "ECC_NIST_P256", "secp384r1": "ECC_NIST_P384", "secp521r1": "ECC_NIST_P521"}
_OTHERS: Final[tuple[tuple[type[PublicKeyTypes], str], ...]] = (
    (ed25519.Ed25519PublicKey, "ECC_NIST_EDWARDS25519"),
    (mldsa.MLDSA44PublicKey, "ML_DSA_44"),
    (mldsa.MLDSA65PublicKey, "ML_DSA_65"),
    (mldsa.MLDSA87PublicKey, "ML_DSA_87"),
    (mlkem.MLKEM768PublicKey, "ML_KEM_768"),
    (mlkem.MLKEM1024PublicKey, "ML_KEM_1024"),
)
_MLDSA: Final = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey


def verify_signature(
    public_key: bytes,
    message: bytes,
    signature: bytes,
    *,
    signing_algorithm: SigningAlgorithm,
    message_type: MessageType = "RAW",
) -> bool:
    """Tell whether a signature is that of a public key (SubjectPublicKeyInfo, DER) for this message.

    Raises `InvalidArgument` where key, algorithm and message type do not belong together.
    """
    key = load_public_key(public_key)
    spec = spec_of(key)
    if spec is None or signing_algorithm not in ALGORITHMS.get((spec, "SIGN_VERIFY"), ()):
        raise InvalidArgument(f"{signing_algorithm} is no algorithm of this public key")
    if message_type not in message_types(signing_algorithm):
        raise InvalidArgument(f"{signing_algorithm} takes no message of type {message_type}")
    try:
        _verify(key, message, signature, signing_algorithm, message_type)
    except InvalidSignature:
        return False
    return True


def digest(signing_algorithm: SigningAlgorithm, message: bytes) -> bytes:
    """Return what `DIGEST` signs in place of a message. Raises `InvalidArgument` for algorithms that sign none."""
    size = DIGEST_BYTES.get(signing_algorithm)
    if size is None:
        raise InvalidArgument(f"{signing_algorithm} signs messages, not their digests")
    return hashlib.new(f"sha{8 * size}", message).digest()


def external_mu(public_key: bytes, message: bytes) -> bytes:
    """Return what `EXTERNAL_MU` signs in place of a message: FIPS 204, algorithm 7, line 6, with an empty context.

    It binds the ML-DSA public key (SubjectPublicKeyInfo, DER): that of the version which will sign.
    """
    key = load_public_key(public_key)
    if not isinstance(key, _MLDSA):
        raise InvalidArgument("only ML-DSA has a message representative")
    identity = hashlib.shake_256(key.public_bytes_raw()).digest(64)
    return hashlib.shake_256(identity + b"\0\0" + message).digest(MU_BYTES)


def load_public_key(der: bytes) -> PublicKeyTypes:
    """Parse a SubjectPublicKeyInfo. Raises `InvalidArgument`."""
    try:
        return load_der_public_key(der)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidArgument("the public key is no SubjectPublicKeyInfo (DER) of a known algorithm") from None


def spec_of(key: PublicKeyTypes) -> KeySpec | None:
    """Return the key spec of a public key; None for kinds and sizes that no spec has."""
    if isinstance(key, rsa.RSAPublicKey):
        name: str | None = f"RSA_{key.key_size}"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        name = _CURVES.get(key.curve.name)
    else:
        name = next((spec for kind, spec in _OTHERS if isinstance(key, kind)), None)
    return next((spec for spec in get_args(KeySpec) if spec == name), None)


def to_pem(der: bytes) -> str:
    """Return a public key as PEM."""
    return load_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _verify(
    key: PublicKeyTypes, message: bytes, signature: bytes, algorithm: SigningAlgorithm, message_type: MessageType
) -> None:
    """Verify by a key that has the algorithm. Raises the library's `InvalidSignature`."""
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        data = digest(algorithm, message) if message_type == "RAW" else message
        hashed = _HASHES[DIGEST_BYTES[algorithm]]
        if len(data) != hashed.digest_size:
            raise InvalidArgument(f"a digest for {algorithm} has {hashed.digest_size} bytes")
        prehashed = utils.Prehashed(hashed)
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(prehashed))
        elif algorithm.startswith("RSASSA_PSS"):
            salted = padding.PSS(mgf=padding.MGF1(hashed), salt_length=hashed.digest_size)
            key.verify(signature, data, salted, prehashed)
        else:
            key.verify(signature, data, padding.PKCS1v15(), prehashed)
    elif isinstance(key, _MLDSA) and message_type == "EXTERNAL_MU":
        if len(message) != MU_BYTES:
            raise InvalidArgument(f"a message representative has {MU_BYTES} bytes")
        key.verify_mu(signature, message)
    elif isinstance(key, _MLDSA | ed25519.Ed25519PublicKey):
        key.verify(signature, message)
