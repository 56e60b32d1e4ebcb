"""Identity tokens: which one is taken, at which moment, and every way to be refused."""

import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.people import START_MS, signer
from tests.unit.deciding.issuers import (
    ALGORITHMS,
    AUDIENCE,
    NOW,
    SUBJECT,
    URL,
    b64,
    claims,
    encoded,
    issuer,
    jwk,
    jwks,
    own_jwk,
    private,
    public_jwk,
    rsa_key,
    thumbprint,
    token,
    token_of,
    unb64,
)

from keyfold.deciding.jwt import Token, verify
from keyfold.events.entities import Issuer
from keyfold.events.errors import InvalidToken
from keyfold.events.times import to_text

KEY = signer("api").public_key
HEADER = {"alg": "ES256", "kid": "corp-ES256"}
MINUTE = 60_000


def taken(text: str, now_ms: int = START_MS, by: Issuer | None = None, key: bytes = KEY) -> Token:
    return verify(text, by or issuer(), key, now_ms)


def code(text: str, now_ms: int = START_MS, by: Issuer | None = None, key: bytes = KEY) -> str | None:
    """Return why a token is refused, None if it is not; a refusal that repeats something of the token has no code."""
    try:
        taken(text, now_ms, by, key)
    except InvalidToken as refusal:
        repeated = SUBJECT in str(refusal) or any(part in str(refusal) for part in text.split(".") if len(part) > 20)
        return "repeated" if repeated else refusal.code
    return None


def with_header(*without: str, **changes: Any) -> str:
    header = {name: value for name, value in (HEADER | changes).items() if name not in without}
    return token_of(header, claims())


def test_good_token() -> None:
    """A token says who it is about, which token it is, and until when."""
    found = taken(token(extra=[1, {"deep": None}]))
    assert found == Token(SUBJECT, "token-1", START_MS + 600_000, claims(extra=[1, {"deep": None}]))
    assert taken(token(jti=...)).token_id is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm(algorithm: str) -> None:
    """Tokens of each algorithm are taken from an issuer that uses it, and from none that does not."""
    others = tuple(each for each in ALGORITHMS if each != algorithm)
    published = jwks(jwk(algorithm))
    text = token(algorithm=algorithm)
    assert code(text, by=issuer(algorithms=(algorithm,), jwks=published)) is None
    assert code(text, by=issuer(algorithms=others, jwks=published)) == "InvalidToken"


def hmac_token(algorithm: str, secret: bytes) -> str:
    message = f"{encoded({'alg': algorithm, 'kid': 'corp-RS256'})}.{encoded(claims())}"
    return f"{message}.{b64(hmac.digest(secret, message.encode(), 'sha' + algorithm[2:]))}"


def test_signed_with_the_public_key() -> None:
    """The public key is no secret: what is authenticated with it as one is refused, in each of its written forms."""
    by = issuer(algorithms=("RS256",), jwks=jwks(jwk("RS256")))
    public = private("RS256").public_key()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk("RS256")).encode(),
        unb64(jwk("RS256")["n"]),
        b"",
    ]
    for algorithm in ("HS256", "HS384", "HS512"):
        assert {code(hmac_token(algorithm, secret), by=by) for secret in secrets} == {"InvalidToken"}
    assert code(hmac_token("RS256", secrets[0]), by=by) == "InvalidToken"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "es256", "ES256K", "Ed448", "dir"])
@pytest.mark.parametrize("signature", ["", "AA", "original"])
def test_algorithms_that_are_none(algorithm: str, signature: str) -> None:
    """Whatever signature stands under it, a token of another algorithm than the issuer's is refused."""
    message = f"{encoded(HEADER | {'alg': algorithm})}.{encoded(claims())}"
    last = token().split(".")[2] if signature == "original" else signature
    assert code(f"{message}.{last}", by=issuer(algorithms=ALGORITHMS)) == "InvalidToken"


UNSIGNED: dict[str, Callable[[], str]] = {
    "nothing": lambda: ".",
    "no dots": lambda: "token",
    "without signature": lambda: token().rpartition(".")[0],
    "empty signature": lambda: token().rpartition(".")[0] + ".",
    "two signatures": lambda: token() + "." + token().split(".")[2],
    "leading dot": lambda: "." + token(),
    "encrypted (five parts)": lambda: f"{encoded({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.AA.AA.AA.AA",
    "another token's signature": lambda: ".".join((*token().split(".")[:2], token(jti="2").split(".")[2])),
    "another token's payload": lambda: token(jti="2").rpartition(".")[0] + "." + token().split(".")[2],
    "padded": lambda: token() + "=",
    "unread bits": lambda: token()[:-1] + chr(ord(token()[-1]) + 1),
    "space": lambda: token() + " ",
    "signed by another issuer": lambda: token(owner="other"),
    "signed by another, under the key's name": lambda: token_of(HEADER, claims(), owner="other"),
    "signature for another algorithm": lambda: token_of(HEADER, claims(), "ES384"),
}


@pytest.mark.parametrize("case", UNSIGNED)
def test_what_the_issuer_did_not_sign(case: str) -> None:
    """A token is three parts in their one form, and the last is the issuer's signature over the others."""
    assert code(UNSIGNED[case]()) == "InvalidToken"


HEADERS: dict[str, Callable[[], str]] = {
    "no algorithm": lambda: with_header("alg"),
    "algorithm that is no text": lambda: with_header(alg=["ES256"]),
    "critical": lambda: with_header(crit=["exp"], exp=NOW),
    "critical, but nothing": lambda: with_header(crit=[]),
    "unencoded payload": lambda: with_header(b64=False, crit=["b64"]),
    "encoded payload, said so": lambda: with_header(b64=True),
    "nested": lambda: with_header(cty="JWT"),
    "encrypted": lambda: with_header(enc="A256GCM"),
    "compressed": lambda: with_header(zip="DEF"),
    "another key's name": lambda: with_header(kid="corp-ES384"),
    "name that is no text": lambda: with_header(kid=7),
    "name in a list": lambda: with_header(kid=["corp-ES256"]),
    "its own key": lambda: token_of({"alg": "ES256", "jwk": jwk(owner="thief")}, claims(), owner="thief"),
    "its own key's address": lambda: token_of(HEADER | {"jku": "https://t.example"}, claims(), owner="thief"),
    "no object": lambda: token_of(["ES256"], claims()),
    "no JSON": lambda: token_of(b"ES256", claims()),
    "no UTF-8": lambda: token_of(b'{"alg":"ES256","kid":"\xff"}', claims()),
    "UTF-16": lambda: token_of(json.dumps(HEADER).encode("utf-16"), claims()),
    "algorithm twice": lambda: token_of(b'{"alg":"none","alg":"ES256","kid":"corp-ES256"}', claims()),
    "empty": lambda: token_of(b"", claims()),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers(case: str) -> None:
    """The header names an algorithm and a key of the issuer's and asks for nothing else."""
    assert code(HEADERS[case]()) == "InvalidToken"


def test_headers_that_do_not_matter() -> None:
    """What a header says beside that is signed, but never looked at; the only key needs no name."""
    by = issuer()
    assert code(with_header(typ="at+jwt", x5t="AA", jku="https://t.example", nonce=1), by=by) is None
    assert code(with_header("kid"), by=by) is None


def test_several_keys() -> None:
    """With several keys the name chooses; without one, or by another's name, nothing is tried."""
    by = issuer(algorithms=("ES256", "RS256"), jwks=jwks(jwk(), jwk(owner="next"), jwk("RS256")))
    assert code(token(), by=by) is None
    assert code(token(owner="next"), by=by) is None
    assert code(token(algorithm="RS256"), by=by) is None
    assert code(with_header("kid"), by=by) == "InvalidToken"
    assert code(with_header(kid="next-ES256"), by=by) == "InvalidToken"
    assert code(with_header(kid="corp-RS256"), by=by) == "InvalidToken"
    two_kinds = issuer(algorithms=("ES256", "RS256"), jwks=jwks(jwk(), jwk("RS256")))
    assert code(with_header("kid"), by=two_kinds) == "InvalidToken"


def test_key_of_another_kind() -> None:
    """A key's type must fit the algorithm, whatever its name."""
    by = issuer(algorithms=ALGORITHMS, jwks=jwks(jwk("RS256", kid="corp-ES256")))
    assert code(token(), by=by) == "InvalidToken"


def test_weak_key() -> None:
    """A key that is too short signs nothing, even where it is the only one."""
    by = issuer(algorithms=("RS256",), jwks=jwks(public_jwk(rsa_key(1024), kid="corp-RS256")))
    assert code(token(algorithm="RS256"), by=by) == "InvalidToken"


def test_keys_end() -> None:
    """Keys that were not put, or not lately enough, verify nothing, to the millisecond."""
    assert code(token(), by=issuer(jwks=None, keys_expire_at=None)) == "IssuerKeysExpired"
    at = to_text(START_MS)
    assert code(token(), by=issuer(keys_expire_at=at)) == "IssuerKeysExpired"
    assert code(token(), START_MS - 1, by=issuer(keys_expire_at=at)) is None


def test_keys_that_were_replaced() -> None:
    """A token of a key that its issuer no longer publishes is refused, though it was verified before."""
    assert code(token()) is None
    assert code(token(), by=issuer(jwks=jwks(jwk(owner="next", kid="corp-ES256")))) == "InvalidToken"


CLAIMS: dict[str, dict[str, Any]] = {
    "no issuer": {"iss": ...},
    "another issuer": {"iss": "https://id.example.evil"},
    "issuer with a slash": {"iss": URL + "/"},
    "issuer in capitals": {"iss": URL.upper()},
    "issuer in a list": {"iss": [URL]},
    "no audience": {"aud": ...},
    "another audience": {"aud": "keyfold-test"},
    "audience in capitals": {"aud": AUDIENCE.upper()},
    "two audiences": {"aud": [AUDIENCE, "other"]},
    "the audience twice": {"aud": [AUDIENCE, AUDIENCE]},
    "no audience in a list": {"aud": []},
    "audience that is no text": {"aud": {AUDIENCE: True}},
    "no subject": {"sub": ...},
    "empty subject": {"sub": ""},
    "subject that is no text": {"sub": 7},
    "subject in a list": {"sub": [SUBJECT]},
    "long subject": {"sub": "s" * 256},
    "subject that cannot be stored": {"sub": "a\0b"},
    "half a character": {"sub": "\ud800"},
    "no end": {"exp": ...},
    "end that is text": {"exp": str(NOW + 600)},
    "end that is true": {"exp": True},
    "end that is null": {"exp": None},
    "end in a list": {"exp": [NOW + 600]},
    "no beginning": {"iat": ...},
    "beginning that is text": {"iat": str(NOW)},
    "beginning before all time": {"iat": -1},
    "end beyond all time": {"exp": 10**30},
    "not before a text": {"nbf": str(NOW)},
    "not before null": {"nbf": None},
    "not before false": {"nbf": False},
    "not before before all time": {"nbf": -1},
    "not before beyond all time": {"nbf": 10**30},
    "ends as it begins": {"iat": NOW + 30, "exp": NOW + 30},
    "ends before it begins": {"iat": NOW + 30, "exp": NOW + 10},
    "token id that is no text": {"jti": 7},
    "token id that is null": {"jti": None},
    "long token id": {"jti": "j" * 256},
    "deep": {"deep": json.loads("[" * 20 + "]" * 20)},
}


@pytest.mark.parametrize("case", CLAIMS)
def test_claims(case: str) -> None:
    """A claim of another kind or value than it must be refuses the token."""
    assert code(token(**CLAIMS[case])) == "InvalidToken"


@pytest.mark.parametrize(
    "changes", [{"aud": [AUDIENCE]}, {"sub": "s" * 255}, {"jti": "j" * 255}, {"sub": "日本 / x\n"}]
)
def test_claims_at_their_bounds(changes: dict[str, Any]) -> None:
    """One audience may stand in a list; texts may have 255 characters of any kind."""
    assert code(token(**changes)) is None


PAYLOADS: dict[str, bytes] = {
    "subject twice": json.dumps(claims()).encode().replace(b'{"iss"', b'{"sub": "root", "iss"', 1),
    "audience twice": json.dumps(claims()).encode().replace(b'"aud"', b'"aud": "other", "aud"', 1),
    "key twice": json.dumps(claims()).encode().replace(b'"x":', b'"x": "AA", "x":', 1),
    "twice, differently written": json.dumps(claims()).encode().replace(b'{"iss"', b'{"s\\u0075b": "root", "iss"', 1),
    "no object": b"[]",
    "text": b'"claims"',
    "a token": token().encode(),
    "no JSON": b"claims",
    "nothing": b"",
    "not a number": json.dumps(claims(exp=float("nan"))).encode(),
    "infinite": json.dumps(claims(exp=float("inf"))).encode(),
    "beyond numbers": json.dumps(claims()).encode().replace(str(NOW + 600).encode(), b"1e999"),
    "endless": json.dumps(claims()).encode().replace(str(NOW + 600).encode(), b"9" * 5000),
    "UTF-16": json.dumps(claims()).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(claims()).encode(),
}


@pytest.mark.parametrize("case", PAYLOADS)
def test_payloads(case: str) -> None:
    """The payload has one reading: a name that stands twice, also inside `cnf`, refuses the token."""
    assert code(token_of(HEADER, PAYLOADS[case])) == "InvalidToken"


def test_end() -> None:
    """A token is over in the millisecond of its `exp`, without leeway."""
    assert code(token(), START_MS + 600_000 - 1) is None
    assert code(token(), START_MS + 600_000) == "TokenExpired"
    assert taken(token(exp=NOW + 600.25)).expires_ms == START_MS + 600_250
    assert code(token(exp=NOW + 600.25), START_MS + 600_249) is None
    assert code(token(exp=NOW + 600.25), START_MS + 600_250) == "TokenExpired"


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_beginning(claim: str) -> None:
    """A token may begin a minute ahead of the broker's clock, and no millisecond more."""
    assert code(token(**{claim: NOW + 60})) is None
    assert code(token(**{claim: NOW + 60}), START_MS - 1) == "TokenExpired"
    assert code(token(**{claim: NOW + 60.5})) == "TokenExpired"
    assert code(token(**{claim: NOW + 60.5}), START_MS + 500) is None


def test_not_before_its_making() -> None:
    """Both times must have come, whichever is later."""
    assert code(token(iat=NOW - 100, nbf=NOW + 61)) == "TokenExpired"
    assert code(token(iat=NOW + 61, nbf=NOW - 100)) == "TokenExpired"


def test_lifetime() -> None:
    """A token lives as long as its issuer's tokens may, counted from its making, and no millisecond longer."""
    assert code(token(exp=NOW + 3_600)) is None
    assert code(token(exp=NOW + 3_600.25)) == "InvalidToken"
    assert code(token(iat=NOW - 0.25, exp=NOW + 3_600)) == "InvalidToken"
    assert code(token(iat=NOW - 3_000, exp=NOW + 601)) == "InvalidToken"
    assert code(token(iat=0, exp=NOW + 10)) == "InvalidToken"
    assert code(token(exp=NOW + 61), by=issuer(max_token_seconds=60)) == "InvalidToken"
    assert code(token(exp=NOW + 60), by=issuer(max_token_seconds=60)) is None


def test_thumbprint_of_the_standard() -> None:
    """RFC 8037, appendix A.3: the key and its thumbprint."""
    key = unb64("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    text = token(cnf={"jkt": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"})
    assert code(text, key=key) is None
    assert code(text) == "TokenNotBound"


@pytest.mark.parametrize(
    "cnf",
    [{"jwk": own_jwk(signer("api")) | {"kid": "a", "alg": "EdDSA"}}, {"jkt": thumbprint(signer("api"))}],
)
def test_bound(cnf: Any) -> None:
    """A token binds its bearer's key by the key itself or by its thumbprint, and no other key."""
    assert code(token(cnf=cnf)) is None
    assert code(token(cnf=cnf), key=signer("thief").public_key) == "TokenNotBound"


OWN = own_jwk(signer("api"))
UNBOUND: dict[str, Any] = {
    "nothing": ...,
    "null": None,
    "text": thumbprint(signer("api")),
    "list": [{"jwk": OWN}],
    "empty": {},
    "another key": {"jwk": own_jwk(signer("thief"))},
    "another thumbprint": {"jkt": thumbprint(signer("thief"))},
    "thumbprint in a list": {"jkt": [thumbprint(signer("api"))]},
    "thumbprint with padding": {"jkt": thumbprint(signer("api")) + "="},
    "key as text": {"jwk": OWN["x"]},
    "key with padding": {"jwk": OWN | {"x": OWN["x"] + "="}},
    "key of another curve": {"jwk": OWN | {"crv": "X25519"}},
    "key of another type": {"jwk": OWN | {"kty": "EC"}},
    "key without type": {"jwk": {"crv": "Ed25519", "x": OWN["x"]}},
    "private key": {"jwk": OWN | {"d": OWN["x"]}},
    "key identifier": {"kid": signer("api").fingerprint},
    "certificate": {"x5t#S256": thumbprint(signer("api"))},
    "key and thumbprint": {"jwk": OWN, "jkt": thumbprint(signer("api"))},
    "key and another thumbprint": {"jwk": OWN, "jkt": thumbprint(signer("thief"))},
    "key and certificate": {"jwk": OWN, "x5t#S256": "AA"},
}


@pytest.mark.parametrize("case", UNBOUND)
def test_unbound(case: str) -> None:
    """A token that does not bind the key, by one method and no other, is of no use to its bearer."""
    assert code(token(cnf=UNBOUND[case])) == "TokenNotBound"
