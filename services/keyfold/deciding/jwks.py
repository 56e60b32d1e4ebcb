"""JSON Web Key Sets of issuers (RFC 7517): which public keys are in one, and what they sign. Pure.

A set comes from outside, so it is read strictly: one unambiguous JSON object, at most 50 keys, no private or symmetric
key among them. Keys of other kinds or for other uses are left out, as the RFC asks; keys that cannot be what they say
are an error. It fetches nothing and knows no token. joserfc reads keys and verifies signatures; nothing else of it is
used, as its rules for tokens are wider than ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key
from joserfc.jws import JWSRegistry

from keyfold.deciding.base64url import decode
from keyfold.events import errors, strictjson
from keyfold.events.arguments import JwsAlgorithm
from keyfold.events.signatures import check_public_key

MAX_KEYS: Final = 50
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192

_SECRET: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
_TEXTS: Final = ("kty", "use", "alg", "kid", "crv")
_RSA: Final = frozenset[JwsAlgorithm]({"PS256", "PS384", "PS512", "RS256", "RS384", "RS512"})
_CURVES: Final[Mapping[tuple[str, str], frozenset[JwsAlgorithm]]] = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
}
_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key and the algorithms that it may be used with: its own, as far as its issuer uses them."""

    kid: str | None
    algorithms: frozenset[JwsAlgorithm]
    key: Key

    def verify(self, algorithm: JwsAlgorithm, signature: bytes, message: bytes) -> None:
        """Raise `InvalidToken` unless the signature is this key's over the message."""
        if algorithm not in self.algorithms:
            raise errors.InvalidToken("the key is not one for the token's algorithm")
        try:
            valid = JWSRegistry.algorithms[algorithm].verify(message, signature, self.key)
        except Exception:  # noqa: BLE001 - anybody chooses these bytes: what cannot be verified is not, and stops nothing
            valid = False
        if not valid:
            raise errors.InvalidToken("the token's signature is not its issuer's")


@lru_cache(maxsize=64)
def parse(text: str, algorithms: tuple[JwsAlgorithm, ...]) -> tuple[IssuerKey, ...]:
    """Return the usable keys of a set, in its order: maybe none. Raises `InvalidIssuer` for what no set may be."""
    try:
        keys = strictjson.loads(text.encode()).get("keys")
    except (errors.InvalidCommand, UnicodeEncodeError):
        raise errors.InvalidIssuer("the key set is not one unambiguous JSON object") from None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise errors.InvalidIssuer(f"a key set has a list `keys` of at most {MAX_KEYS} keys")
    found = (_issuer_key(key, frozenset(algorithms)) for key in keys)
    return tuple(key for key in found if key is not None)


def check(text: str, algorithms: tuple[JwsAlgorithm, ...]) -> None:
    """Raise `InvalidIssuer` unless tokens can be verified with the set, each with one key and no other."""
    keys = parse(text, algorithms)
    if not keys:
        raise errors.InvalidIssuer("no key of the set is a public key for the issuer's algorithms")
    names = [(key.kid, algorithm) for key in keys for algorithm in key.algorithms]
    if len(names) != len(set(names)) or (len(keys) > 1 and None in {key.kid for key in keys}):
        raise errors.InvalidIssuer("the keys of a set need distinct `kid`s")


def choose(keys: tuple[IssuerKey, ...], algorithm: JwsAlgorithm, kid: str | None) -> IssuerKey:
    """Return the one key that a token's header means. Raises `InvalidToken`."""
    if kid is None and len(keys) > 1:
        raise errors.InvalidToken("the token names no `kid`, and its issuer has several keys")
    found = [key for key in keys if kid in {None, key.kid} and algorithm in key.algorithms]
    if len(found) != 1:
        raise errors.InvalidToken("the issuer has no such key for this algorithm; its keys may have to be read again")
    return found[0]


def _issuer_key(jwk: Any, allowed: frozenset[JwsAlgorithm]) -> IssuerKey | None:
    if not isinstance(jwk, dict) or not all(isinstance(jwk.get(name, ""), str) for name in _TEXTS):
        raise errors.InvalidIssuer("a key of the set is not a JSON Web Key")
    if not _SECRET.isdisjoint(jwk) or jwk.get("kty") == "oct":
        raise errors.InvalidIssuer("a key of the set is private or symmetric; only public keys may be put")
    algorithms = _algorithms(jwk) & allowed
    if not algorithms or not _for_signatures(jwk):
        return None
    return IssuerKey(jwk.get("kid"), algorithms, _imported(jwk))


def _algorithms(jwk: Mapping[str, Any]) -> frozenset[JwsAlgorithm]:
    kind = jwk.get("kty", "")
    if kind == "RSA":
        possible = _RSA if MIN_RSA_BITS <= _bits(jwk) <= MAX_RSA_BITS else frozenset()
    else:
        possible = _CURVES.get((kind, jwk.get("crv", "")), frozenset())
    return frozenset(each for each in possible if jwk.get("alg", each) == each)


def _bits(jwk: Mapping[str, Any]) -> int:
    """The length of an RSA modulus: what is too short to be safe or too long to be quick is left out."""
    try:
        return int.from_bytes(decode(jwk.get("n"))).bit_length()
    except ValueError:
        raise errors.InvalidIssuer("a key of the set has no readable modulus") from None


def _for_signatures(jwk: Mapping[str, Any]) -> bool:
    """Whether the key is for verifying (RFC 7517, sections 4.2 and 4.3)."""
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _imported(jwk: Mapping[str, Any]) -> Key:
    """Only the members that make the key are given to the library, which would interpret others."""
    kind = jwk["kty"]
    try:
        if kind == "OKP":
            check_public_key(decode(jwk.get("x")))
        return JWKRegistry.import_key({"kty": kind, **{name: jwk[name] for name in _MEMBERS[kind]}})
    except (JoseError, ValueError, TypeError, KeyError):
        raise errors.InvalidIssuer("a key of the set is not what its `kty` says") from None
