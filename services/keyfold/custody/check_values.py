"""Values that tell key material apart without telling it, and whether an imported key pair works.

Each is computed where the key is: in the token for HSM keys, in this process's memory for SOFTWARE keys, with the same
result.
"""

import hmac
import os
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyfold.custody import public
from keyfold.custody.forms import Form
from keyfold.custody.private_keys import is_sound_exponent
from keyfold.custody.public_keys import CURVES, encode, load
from keyfold.custody.token_oaep import TokenOaep
from keyfold.events.errors import IncorrectKeyMaterial
from keyfold.token import Session
from keyfold.token import cryptoki as ck
from keyfold.token.attributes import ec_parameters, rsa_public_numbers
from keyfold.token.kinds import EC_DERIVE, RSA_DECRYPT, RSA_SIGN
from keyfold.token.operations import KeyOperations, Prepared, pss

_CHECK_BYTES: Final = 3
_ZEROS: Final = bytes(16)
_BLOCK: Final = b"keyfold-material"
_TEXT: Final = b"keyfold-material-check"


class Checks(NamedTuple):
    """The key check value (3 bytes), and what only the material gives."""

    key_check_value: bytes
    identity: bytes


def of_pair(public_key: bytes) -> Checks:
    """Of a key pair, from its public key."""
    return Checks(sha256(public_key).digest()[:_CHECK_BYTES], public_key)


def of_secret(spec: str, material: bytes) -> Checks:
    """Of a secret key in memory."""
    if spec == "SYMMETRIC_DEFAULT":
        encryptor = Cipher(algorithms.AES(material), modes.ECB()).encryptor()  # noqa: S305  # two fixed blocks
        made = encryptor.update(_ZEROS + _BLOCK)
        return Checks(made[:_CHECK_BYTES], made[16:])
    digest = spec.replace("HMAC_", "SHA")
    return Checks(hmac.digest(material, _ZEROS, digest)[:_CHECK_BYTES], hmac.digest(material, _TEXT, digest))


def of_secret_in_token(session: Session, spec: str, key: int) -> Checks:
    """Of a secret key in the token."""
    run = KeyOperations(session)
    if spec == "SYMMETRIC_DEFAULT":
        return Checks(run.encrypt_block(key, _ZEROS)[:_CHECK_BYTES], run.encrypt_block(key, _BLOCK))
    mechanism = Prepared(ck.CKM_HMAC[spec.removeprefix("HMAC_")])
    check, identity = run.sign_many(key, mechanism, [_ZEROS, _TEXT])
    return Checks(check[:_CHECK_BYTES], identity)


def public_half(session: Session, form: Form, private: int) -> bytes:
    """Return the public key of a private key in the token that was imported: SubjectPublicKeyInfo, DER.

    Raises `IncorrectKeyMaterial` if it is of another size or curve. A token tells an RSA key's public numbers, of an EC
    key only the curve. There, agreeing on a secret with the curve's generator gives the x-coordinate of the public
    point; which of the two points with it is the public key, a signature tells.
    """
    if not form.curve:
        numbers = rsa_public_numbers(session, private)
        if numbers.n.bit_length() != form.size or not is_sound_exponent(numbers.e):
            raise IncorrectKeyMaterial
        return encode(numbers.public_key())
    if ec_parameters(session, private) != form.curve:
        raise IncorrectKeyMaterial
    curve, run = CURVES[form.curve_name](), KeyOperations(session)
    generator = ec.derive_private_key(1, curve).public_key()
    point = generator.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    (x,) = run.derive_many(private, [point], (curve.key_size + 7) // 8)
    digest = os.urandom(32)
    (signature,) = run.sign_many(private, Prepared(ck.CKM_ECDSA), [digest])
    for prefix in (b"\2", b"\3") if x else ():
        candidate = encode(ec.EllipticCurvePublicKey.from_encoded_point(curve, prefix + (x or b"")))
        if _verifies(candidate, digest, signature):
            return candidate
    raise IncorrectKeyMaterial


def require_working_pair(session: Session, form: Form, key: int, public_key: bytes) -> None:
    """Raise `IncorrectKeyMaterial` unless the key in the token, with its final usage, belongs to the public key."""
    if not _works(session, form, key, public_key):
        raise IncorrectKeyMaterial


def _works(session: Session, form: Form, key: int, public_key: bytes) -> bool:
    run, probe = KeyOperations(session, slow=True), os.urandom(32)
    if form.kind is RSA_SIGN:
        (signature,) = run.sign_many(key, pss("256"), [probe])
        return public.verify(public_key, "RSASSA_PSS_SHA_256", "DIGEST", [(probe, signature)]) == [True]
    if form.kind is RSA_DECRYPT:
        (ciphertext,) = public.encrypt(public_key, "RSAES_OAEP_SHA_256", [probe])
        return isinstance(ciphertext, bytes) and TokenOaep().decrypt_many(session, key, "256", [ciphertext]) == [probe]
    curve = CURVES[form.curve_name]()
    peer = ec.generate_private_key(curve)
    mine = load(public_key)
    if form.kind is EC_DERIVE and isinstance(mine, ec.EllipticCurvePublicKey):
        point = peer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return run.derive_many(key, [point], (curve.key_size + 7) // 8) == [peer.exchange(ec.ECDH(), mine)]
    (signature,) = run.sign_many(key, Prepared(ck.CKM_ECDSA), [probe])
    return _verifies(public_key, probe, signature)


def _verifies(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether r and s, side by side, are a signature of a 32-byte digest."""
    half, parsed = len(signature) // 2, load(public_key)
    if not isinstance(parsed, ec.EllipticCurvePublicKey):
        return False
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    try:
        parsed.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True
