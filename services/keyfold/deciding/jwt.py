"""Identity tokens: JWTs (RFC 7519) in compact form, verified from the registry's issuer and a given time alone. Pure.

Stricter than the standard asks, so that a token has one reading: canonical base64url, one JSON object without duplicate
names, a `kid` where there is a choice, no critical, nested or encrypted forms, exactly one audience. `exp` has no
leeway. The token must bind the key that it is used with (`cnf`, RFC 7800), so a stolen one is of no use.

A header's own keys and addresses (`jwk`, `jku`, `x5c`, …) are never looked at. What claims mean here is `federation`'s
business. Errors never quote a token or a claim.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

from keyfold.deciding import base64url, jwks
from keyfold.events import errors, strictjson
from keyfold.events.arguments import JwsAlgorithm
from keyfold.events.entities import Issuer
from keyfold.events.times import MINUTE_MS, SECOND_MS, to_milliseconds

LEEWAY_MS: Final = MINUTE_MS
MAX_TEXT: Final = 255
_MAX_SECONDS: Final = 2**40
_REFUSED_HEADERS: Final = frozenset({"b64", "crit", "cty", "enc", "zip"})


class Token(NamedTuple):
    """A verified token: its `sub`, its `jti`, its `exp` in milliseconds since 1970, and all of its claims."""

    subject: str
    token_id: str | None
    expires_ms: int
    claims: dict[str, Any]


def verify(token: str, issuer: Issuer, public_key: bytes, now_ms: int) -> Token:
    """Return what a token says that its issuer signed for us, at this time, for the holder of an Ed25519 key.

    Raises `IssuerKeysExpired`, `TokenExpired` (also for what is not valid yet), `TokenNotBound`, or `InvalidToken` for
    everything else.
    """
    if issuer.jwks is None or issuer.keys_expire_at is None or to_milliseconds(issuer.keys_expire_at) <= now_ms:
        raise errors.IssuerKeysExpired
    claims = _object(_signed_payload(token, issuer.jwks, issuer.algorithms))
    if claims.get("iss") != issuer.url:
        raise errors.InvalidToken("the token's `iss` is not the issuer's")
    if claims.get("aud") not in (issuer.audience, [issuer.audience]):
        raise errors.InvalidToken("the token's `aud` must be the issuer's audience and no other")
    expires_ms = _check_times(claims, issuer, now_ms)
    _check_confirmation(claims.get("cnf"), public_key)
    return Token(_text(claims, "sub"), _text(claims, "jti") if "jti" in claims else None, expires_ms, claims)


@lru_cache(maxsize=256)
def _signed_payload(token: str, keys: str, algorithms: tuple[JwsAlgorithm, ...]) -> bytes:
    """Return the payload if one of the keys signed it (RFC 7515, section 5.2). Admission and decision ask in turn."""
    parts = token.split(".")
    if len(parts) != 3:
        raise errors.InvalidToken("a token has three parts; encrypted ones are not taken")
    first, payload, signature = (_decoded(part) for part in parts)
    header = _object(first)
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise errors.InvalidToken("the token is critical, nested or encrypted in a way that is not taken here")
    algorithm = next((each for each in algorithms if each == header.get("alg")), None)
    kid = header.get("kid")
    if algorithm is None or not isinstance(kid, str | None):
        raise errors.InvalidToken("the token's `alg` is not one of its issuer's")
    key = jwks.choose(jwks.parse(keys, algorithms), algorithm, kid)
    key.verify(algorithm, signature, f"{parts[0]}.{parts[1]}".encode())
    return payload


def _decoded(part: str) -> bytes:
    try:
        return base64url.decode(part)
    except ValueError:
        raise errors.InvalidToken("the token is not base64url in its one form") from None


def _object(document: bytes) -> dict[str, Any]:
    try:
        return strictjson.loads(document)
    except errors.InvalidCommand:
        raise errors.InvalidToken("a part of the token is not one unambiguous JSON object") from None


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
        raise errors.InvalidToken(f"the token's `{name}` must be text of 1 to {MAX_TEXT} characters")
    return value


def _check_times(claims: dict[str, Any], issuer: Issuer, now_ms: int) -> int:
    """Return the expiry in milliseconds."""
    issued, expires = _instant(claims, "iat"), _instant(claims, "exp")
    begins = max(issued, _instant(claims, "nbf")) if "nbf" in claims else issued
    if not 0 < expires - issued <= issuer.max_token_seconds * SECOND_MS:
        raise errors.InvalidToken("the token lives longer than the issuer's tokens may")
    if expires <= now_ms or begins > now_ms + LEEWAY_MS:
        raise errors.TokenExpired
    return expires


def _instant(claims: dict[str, Any], name: str) -> int:
    """Return a NumericDate (RFC 7519, section 2), which may have a fraction, as whole milliseconds."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_SECONDS:
        raise errors.InvalidToken(f"the token's `{name}` must be a time in seconds")
    return int(value * SECOND_MS)


def _check_confirmation(cnf: Any, public_key: bytes) -> None:
    """Raise `TokenNotBound` unless the token is for this key, and by one method only (RFC 7800, section 3.1)."""
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": base64url.encode(public_key)}
    if not isinstance(cnf, dict) or len(cnf) != 1:
        raise errors.TokenNotBound
    if "jkt" in cnf and cnf["jkt"] == base64url.encode(sha256(strictjson.canonical(jwk)).digest()):
        return
    bound = cnf.get("jwk")
    if not isinstance(bound, dict) or "d" in bound or {name: bound.get(name) for name in jwk} != jwk:
        raise errors.TokenNotBound
