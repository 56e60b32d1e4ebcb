"""Public keys as SubjectPublicKeyInfo in DER (RFC 5280), and which key spec each is. Pure.

Parsed keys of our own are remembered: a verification of a short message costs less than parsing the key. Other parties'
are not, so that nobody fills the memory or drives ours out.
"""

from functools import lru_cache
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey, MLDSA65PublicKey, MLDSA87PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey, MLKEM1024PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keyfold.custody.forms import FORMS
from keyfold.events.errors import InvalidPublicKey

CURVES: Final[dict[str, type[EllipticCurve]]] = {
    "secp256r1": SECP256R1, "secp384r1": SECP384R1, "secp521r1": SECP521R1,
}  # fmt: skip
"""The curves of the key specs by the names that `cryptography` gives them."""
MAX_BYTES: Final = 8192
"""The longest public key of any spec, ML-DSA-87's, has 2,614 bytes."""
_BY_CLASS: Final[dict[type[object], str]] = {
    Ed25519PublicKey: "ECC_NIST_EDWARDS25519",
    MLDSA44PublicKey: "ML_DSA_44", MLDSA65PublicKey: "ML_DSA_65", MLDSA87PublicKey: "ML_DSA_87",
    MLKEM768PublicKey: "ML_KEM_768", MLKEM1024PublicKey: "ML_KEM_1024",
}  # fmt: skip
_BY_CURVE: Final = {form.curve_name: spec for (spec, _), form in FORMS.items() if form.curve_name}


@lru_cache(maxsize=256)
def load(public_key: bytes) -> PublicKeyTypes:
    """Parse a public key of ours; a point is checked to be on its curve. Raises `InvalidPublicKey`."""
    return _parse(public_key)


def _parse(public_key: bytes) -> PublicKeyTypes:
    if len(public_key) > MAX_BYTES:
        raise InvalidPublicKey
    try:
        return load_der_public_key(public_key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidPublicKey from None


def encode(public_key: PublicKeyTypes) -> bytes:
    """Return SubjectPublicKeyInfo in DER."""
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def spec_of(public_key: PublicKeyTypes) -> str:
    """Return the key spec of a public key. Raises `InvalidPublicKey` for one that no spec has."""
    if isinstance(public_key, RSAPublicKey):
        spec = f"RSA_{public_key.key_size}"
        known = any(spec == known for known, _ in FORMS)
        return spec if known else _unknown()
    if isinstance(public_key, EllipticCurvePublicKey):
        return _BY_CURVE.get(public_key.curve.name) or _unknown()
    return next((spec for of, spec in _BY_CLASS.items() if isinstance(public_key, of)), "") or _unknown()


def _unknown() -> str:
    raise InvalidPublicKey("no key spec has a public key of this kind or size")


def load_peer(spec: str, public_key: bytes) -> EllipticCurvePublicKey:
    """Parse the other party's key of a key agreement. Raises `InvalidPublicKey` unless it is on the spec's curve."""
    peer = _parse(public_key)
    if not isinstance(peer, EllipticCurvePublicKey) or spec_of(peer) != spec:
        raise InvalidPublicKey
    return peer
