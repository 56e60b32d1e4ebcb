"""An issuer of identity tokens: its keys, its tokens, and what the registry knows of it.

Tokens are put together and signed by hand, with cryptography alone, so that nothing of the code under test vouches for
itself, and so that every part can be wrong.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import cache
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.support.people import START_MS, Signed, document, signed_by, signer

from keyfold.events.entities import Issuer
from keyfold.events.identities import principal_name
from keyfold.events.signatures import Signer
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text

NAME = "corp"
URL = "https://id.example"
AUDIENCE = "keyfold"
SUBJECT = "system:serviceaccount:payments:api"
PRINCIPAL = principal_name(NAME, URL, SUBJECT)
NOW = START_MS // 1000
CURVES: dict[str, tuple[str, ec.EllipticCurve]] = {
    "ES256": ("P-256", ec.SECP256R1()),
    "ES384": ("P-384", ec.SECP384R1()),
    "ES512": ("P-521", ec.SECP521R1()),
}
EDWARDS = ("EdDSA", "Ed25519")
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ALGORITHMS = (*EDWARDS, *CURVES, *RSA)
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "==")


@cache
def private(algorithm: str, owner: str = NAME) -> Private:
    """An issuer's key for an algorithm. RSA keys are drawn once; the others are the same in every run."""
    seed = sha256(f"keyfold test issuer: {owner}".encode()).digest()
    if algorithm in EDWARDS:
        return Ed25519PrivateKey.from_private_bytes(seed)
    if algorithm in CURVES:
        return ec.derive_private_key(int.from_bytes(seed), CURVES[algorithm][1])
    return rsa_key(2048, owner)


@cache
def rsa_key(bits: int, owner: str = NAME) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def number(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8))


def public_jwk(key: Private, **members: Any) -> dict[str, Any]:
    """A public key as RFC 7518 (section 6) and RFC 8037 write it."""
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)} | members
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point, size = key.public_key().public_numbers(), (key.key_size + 7) // 8
        name = next(name for name, curve in CURVES.values() if curve.name == key.curve.name)
        return {"kty": "EC", "crv": name, "x": number(point.x, size), "y": number(point.y, size)} | members
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().public_bytes_raw())} | members


def jwk(algorithm: str = "ES256", owner: str = NAME, **members: Any) -> dict[str, Any]:
    """The issuer's published key for an algorithm, named after both unless another `kid` is given."""
    return public_jwk(private(algorithm, owner), **{"kid": f"{owner}-{algorithm}"} | members)


def jwks(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": list(keys or [jwk()])})


def _hash(algorithm: str) -> Any:
    return {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[algorithm[2:]]()


def sign(algorithm: str, key: Private, message: bytes) -> bytes:
    """A signature as JWS writes it (RFC 7518, section 3; RFC 8037, section 3.1)."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(_hash(algorithm))))
        return r.to_bytes(size) + s.to_bytes(size)
    hashed = _hash(algorithm)
    pss = padding.PSS(padding.MGF1(_hash(algorithm)), hashed.digest_size)
    return key.sign(message, pss if algorithm.startswith("PS") else padding.PKCS1v15(), hashed)


def encoded(part: Any) -> str:
    return b64(part if isinstance(part, bytes) else json.dumps(part).encode())


def token_of(header: Any, payload: Any, algorithm: str = "ES256", owner: str = NAME) -> str:
    """Sign any header and payload (objects, or bytes as they are) with an issuer's key."""
    message = f"{encoded(header)}.{encoded(payload)}"
    return f"{message}.{b64(sign(algorithm, private(algorithm, owner), message.encode()))}"


def own_jwk(key: Signer) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key)}


def thumbprint(key: Signer) -> str:
    """The thumbprint of RFC 7638 by hand: the required members in order, without spaces."""
    return b64(sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{b64(key.public_key)}"}}'.encode()).digest())


def claims(bearer: str = "api", **changes: Any) -> dict[str, Any]:
    """What a good token says, with changes; a claim that is changed to `...` is left out."""
    found = {
        "iss": URL,
        "sub": SUBJECT,
        "aud": AUDIENCE,
        "iat": NOW,
        "exp": NOW + 600,
        "jti": "token-1",
        "cnf": {"jwk": own_jwk(signer(bearer))},
    } | changes
    return {name: value for name, value in found.items() if value is not ...}


def token(bearer: str = "api", algorithm: str = "ES256", owner: str = NAME, **changes: Any) -> str:
    """A token that binds the bearer's key."""
    header = {"alg": algorithm, "typ": "JWT", "kid": f"{owner}-{algorithm}"}
    return token_of(header, claims(bearer, **changes), algorithm, owner)


def issuer(**changes: Any) -> Issuer:
    """The issuer as the registry knows it, its key put and good for a day."""
    return Issuer(
        **{
            "issuer": NAME,
            "url": URL,
            "audience": AUDIENCE,
            "algorithms": ("ES256",),
            "jwks_source": None,
            "keys_lifetime_seconds": 86_400,
            "max_token_seconds": 3_600,
            "groups_claim": None,
            "groups": {},
            "tags": {},
            "base_groups": (),
            "updated_at": to_text(START_MS),
            "jwks": jwks(),
            "keys_expire_at": to_text(START_MS + 86_400_000),
        }
        | changes
    )


def settings(**changes: Any) -> dict[str, Any]:
    """Arguments of `PutIssuer`."""
    return {"issuer": NAME, "url": URL, "audience": AUDIENCE, "algorithms": ["ES256"]} | changes


def assumption(
    bearer: str = "api",
    number: int = 1,
    *,
    using: str | None = None,
    by: Signer | None = None,
    arguments: dict[str, Any] | None = None,
    **options: Any,
) -> Signed:
    """An `AssumePrincipalWithWebIdentity` by a bearer, with a good token unless another is given.

    `arguments` change the command's arguments, `options` are those of `document`; `by` signs instead of the bearer.
    """
    wanted = {
        "issuer": NAME,
        "token": token(bearer) if using is None else using,
        "public_key": signer(bearer).public_key.hex(),
    }
    named = {"principal": PRINCIPAL, "signing_key": signer(bearer).fingerprint} | options
    made = document("AssumePrincipalWithWebIdentity", REGISTRY, number, arguments=wanted | (arguments or {}), **named)
    return signed_by(by or signer(bearer), json.dumps(made).encode(), REGISTRY)
