"""What needs a public key only: verifying, encrypting, encapsulating. In this process's memory, without a token.

A public key is SubjectPublicKeyInfo in DER; one that does not parse, or that no key spec has, is `InvalidPublicKey`. An
algorithm or message type that does not fit the key is `InvalidKeyUsage` for the whole call.
"""

from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey, MLDSA65PublicKey, MLDSA87PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey, MLKEM1024PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from keyfold.custody.operations import representative, require_message_type
from keyfold.custody.public_keys import load, spec_of
from keyfold.custody.schemes import PREHASHED, encryption_padding, oaep_capacity, signature_padding
from keyfold.events.errors import BatchTooLarge, InvalidKeyUsage, Refusal
from keyfold.events.specs import ALGORITHMS

Verifier = Callable[[bytes, bytes], None]


def verify(public_key: bytes, algorithm: str, message_type: str, pairs: Sequence[tuple[bytes, bytes]]) -> list[bool]:
    """Tell of each (message, signature) whether the signature is the key's.

    Raises `InvalidCommand` for the whole call if a digest has another length than the algorithm's.
    """
    parsed = _loaded(public_key, "SIGN_VERIFY", algorithm)
    require_message_type(algorithm, message_type)
    prepared = [(representative(algorithm, message_type, message), signature) for message, signature in pairs]
    verifier = _verifier(parsed, algorithm, message_type)
    return [_holds(verifier, signature, data) for data, signature in prepared]


def encrypt(public_key: bytes, algorithm: str, plaintexts: Sequence[bytes]) -> list[bytes | Refusal]:
    """Return the RSAES-OAEP ciphertext of each plaintext, or `BatchTooLarge` for one that the key cannot take."""
    parsed = _loaded(public_key, "ENCRYPT_DECRYPT", algorithm)
    if not isinstance(parsed, rsa.RSAPublicKey):
        raise InvalidKeyUsage
    scheme, most = encryption_padding(algorithm), oaep_capacity(algorithm, parsed.key_size)
    too_long = f"under this key {algorithm} takes at most {most} bytes; encrypt a data key instead"
    return [BatchTooLarge(too_long) if len(each) > most else parsed.encrypt(each, scheme) for each in plaintexts]


def encapsulate(public_key: bytes, count: int) -> list[tuple[bytes, bytes]]:
    """Return `count` fresh (shared secret, ciphertext): ML-KEM (FIPS 203), from the operating system's generator."""
    parsed = _loaded(public_key, "KEY_ENCAPSULATION", "ML_KEM")
    if not isinstance(parsed, MLKEM768PublicKey | MLKEM1024PublicKey):
        raise InvalidKeyUsage
    return [parsed.encapsulate() for _ in range(count)]


def _loaded(public_key: bytes, usage: str, algorithm: str) -> PublicKeyTypes:
    parsed = load(public_key)
    if algorithm not in ALGORITHMS.get((spec_of(parsed), usage), ()):
        raise InvalidKeyUsage
    return parsed


def _holds(verifier: Verifier, signature: bytes, data: bytes) -> bool:
    try:
        verifier(signature, data)
    except InvalidSignature:
        return False
    return True


def _verifier(public_key: PublicKeyTypes, algorithm: str, message_type: str) -> Verifier:
    """The function that raises `InvalidSignature` unless a signature fits a message's representative."""
    if isinstance(public_key, rsa.RSAPublicKey):
        scheme, prehashed = signature_padding(algorithm), PREHASHED[algorithm]
        return lambda signature, data: public_key.verify(signature, data, scheme, prehashed)
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return lambda signature, data: public_key.verify(signature, data, ec.ECDSA(PREHASHED[algorithm]))
    if isinstance(public_key, Ed25519PublicKey):
        return public_key.verify
    if isinstance(public_key, MLDSA44PublicKey | MLDSA65PublicKey | MLDSA87PublicKey):
        return public_key.verify_mu if message_type == "EXTERNAL_MU" else public_key.verify
    raise InvalidKeyUsage
