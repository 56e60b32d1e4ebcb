"""Keys of every spec in memory, used as the HSM worker uses them: what the client's tests are answered with."""

import hmac
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa, utils
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from keyfold.events import import_format, parts
from keyfold.events.errors import InvalidCiphertext
from keyfold.events.replies import ItemResult
from keyfold.events.specs import material_bytes

HASHES: dict[str, Any] = {
    "1": hashes.SHA1(),  # noqa: S303  (RSAES_OAEP_SHA_1 needs no collision resistance)
    "224": hashes.SHA224(),
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_MAKERS: dict[str, Any] = {
    "ECC_NIST_P256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ECC_NIST_P384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ECC_NIST_P521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ECC_NIST_EDWARDS25519": ed25519.Ed25519PrivateKey.generate,
    "ML_DSA_44": mldsa.MLDSA44PrivateKey.generate,
    "ML_DSA_65": mldsa.MLDSA65PrivateKey.generate,
    "ML_DSA_87": mldsa.MLDSA87PrivateKey.generate,
    "ML_KEM_768": mlkem.MLKEM768PrivateKey.generate,
    "ML_KEM_1024": mlkem.MLKEM1024PrivateKey.generate,
}
PAIR_SPECS = ("RSA_2048", "RSA_3072", *_MAKERS)


@lru_cache(maxsize=8)
def rsa_key(bits: int, _number: int = 0) -> rsa.RSAPrivateKey:
    """An RSA key, made once per process: that takes long."""
    return rsa.generate_private_key(65537, bits)


def make(spec: str, number: int = 0) -> Any:
    """Material of a spec: bytes of a secret key, or a private key. RSA keys of one number are the same."""
    if spec.startswith("RSA_"):
        return rsa_key(int(spec[4:]), number)
    size = material_bytes(spec)
    return os.urandom(size) if size else _MAKERS[spec]()


def spki(key: Any) -> bytes:
    """The public half of a private key."""
    return bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def pkcs8(key: Any, encoding: Encoding = Encoding.DER) -> bytes:
    """A private key, unencrypted."""
    return bytes(key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption()))


def to_wrap(key: Any) -> bytes:
    """Material as it is wrapped for an import; see `import_format`."""
    if isinstance(key, bytes):
        return key
    seeded = type(key).__name__.startswith(("MLDSA", "MLKEM", "OpenSSLMLDSA"))
    return bytes(key.private_bytes_raw()) if seeded else pkcs8(key)


def use(verb: str, arguments: Any, key: Any, data: bytes) -> ItemResult:
    """What the worker's answer for one item would be."""
    return _USES[verb](arguments, key, data)


def oaep(algorithm: str) -> padding.OAEP:
    """RSAES-OAEP as the algorithm's name says."""
    chosen = HASHES[algorithm.rpartition("_")[2]]
    return padding.OAEP(mgf=padding.MGF1(chosen), algorithm=chosen, label=None)


def unwrap_material(private: Any, algorithm: str, wrapped: bytes) -> bytes | None:
    """Open wrapped material as the worker does; None for what does not open."""
    try:
        encrypted, rest = import_format.split(algorithm, f"RSA_{private.key_size}", wrapped)
        opened = bytes(private.decrypt(encrypted, oaep("RSAES_OAEP_SHA_256")))
        return opened if algorithm == "RSAES_OAEP_SHA_256" else aes_key_unwrap_with_padding(opened, rest)
    except (ValueError, InvalidUnwrap, InvalidCiphertext):
        return None


def _hash_of(algorithm: str) -> Any:
    return HASHES[algorithm.rpartition("_")[2]]


def _hashed(algorithm: str, kind: str, data: bytes) -> bytes:
    if kind == "DIGEST":
        return data
    state = hashes.Hash(_hash_of(algorithm))
    state.update(data)
    return state.finalize()


def _scheme(algorithm: str) -> tuple[Any, ...]:
    chosen = _hash_of(algorithm)
    if algorithm.startswith("ECDSA"):
        return (ec.ECDSA(utils.Prehashed(chosen)),)
    if algorithm.startswith("RSASSA_PSS"):
        return padding.PSS(padding.MGF1(chosen), chosen.digest_size), utils.Prehashed(chosen)
    return padding.PKCS1v15(), utils.Prehashed(chosen)


def _sign(key: Any, algorithm: str, kind: str, data: bytes) -> bytes:
    if algorithm.startswith(("RSASSA", "ECDSA")):
        return bytes(key.sign(_hashed(algorithm, kind, data), *_scheme(algorithm)))
    return bytes(key.sign_mu(data) if kind == "EXTERNAL_MU" else key.sign(data))


def _verifies(key: Any, algorithm: str, kind: str, message: bytes, signature: bytes) -> bool:
    public = key.public_key()
    try:
        if algorithm.startswith(("RSASSA", "ECDSA")):
            public.verify(signature, _hashed(algorithm, kind, message), *_scheme(algorithm))
        elif kind == "EXTERNAL_MU":
            public.verify_mu(signature, message)
        else:
            public.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _mac(key: bytes, algorithm: str, data: bytes) -> bytes:
    return hmac.digest(key, data, f"sha{algorithm.rpartition('_')[2]}")


def _verify(arguments: Any, key: Any, data: bytes) -> ItemResult:
    signature, message = parts.split(data, 2)
    held = _verifies(key, arguments.signing_algorithm, arguments.message_type, message, signature)
    return ItemResult(b"") if held else ItemResult(b"", "InvalidSignature")


def _verify_mac(arguments: Any, key: bytes, data: bytes) -> ItemResult:
    mac, message = parts.split(data, 2)
    held = hmac.compare_digest(mac, _mac(key, arguments.mac_algorithm, message))
    return ItemResult(b"") if held else ItemResult(b"", "InvalidMac")


def _agree(_arguments: Any, key: Any, peer: bytes) -> ItemResult:
    try:
        return ItemResult(key.exchange(ec.ECDH(), load_der_public_key(peer)))
    except ValueError:
        return ItemResult(b"", "InvalidPublicKey")


def _decrypt(arguments: Any, key: Any, data: bytes) -> ItemResult:
    try:
        return ItemResult(key.decrypt(data, oaep(arguments.encryption_algorithm)))
    except ValueError:
        return ItemResult(b"", "InvalidCiphertext")


_USES: dict[str, Callable[[Any, Any, bytes], ItemResult]] = {
    "Sign": lambda how, key, data: ItemResult(_sign(key, how.signing_algorithm, how.message_type, data)),
    "Verify": _verify,
    "GenerateMac": lambda how, key, data: ItemResult(_mac(key, how.mac_algorithm, data)),
    "VerifyMac": _verify_mac,
    "DeriveSharedSecret": _agree,
    "Encapsulate": lambda _, key, _data: ItemResult(parts.join(*key.public_key().encapsulate())),
    "Decapsulate": lambda _, key, data: ItemResult(key.decapsulate(data)),
    "Encrypt": lambda how, key, data: ItemResult(key.public_key().encrypt(data, oaep(how.encryption_algorithm))),
    "Decrypt": _decrypt,
}
