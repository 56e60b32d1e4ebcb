"""Key sets of issuers: what is taken, what is left out, and what is refused."""

import json
from typing import Any, get_args

import pytest
from joserfc.jws import JWSRegistry
from tests.unit.deciding.issuers import (
    ALGORITHMS,
    b64,
    issuer,
    jwk,
    jwks,
    private,
    public_jwk,
    rsa_key,
    sign,
    unb64,
)

from keyfold.deciding.base64url import decode, encode
from keyfold.deciding.jwks import MAX_KEYS, check, choose, parse
from keyfold.events import arguments as args
from keyfold.events.errors import InvalidIssuer, InvalidToken

ALL = get_args(args.JwsAlgorithm)
MESSAGE = b"header.payload"


def without(found: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in names}


def many(number: int, **members: Any) -> str:
    return jwks(*(jwk(kid=f"k{each}", **members) for each in range(number)))


def test_closed_list() -> None:
    """The tests know every algorithm that an issuer may use."""
    assert sorted(ALL) == sorted(ALGORITHMS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm(algorithm: args.JwsAlgorithm) -> None:
    """A key of each kind verifies its issuer's signatures, and nobody else's."""
    text = jwks(jwk(algorithm))
    check(text, (algorithm,))
    key = choose(parse(text, (algorithm,)), algorithm, f"corp-{algorithm}")
    signature = sign(algorithm, private(algorithm), MESSAGE)
    key.verify(algorithm, signature, MESSAGE)
    changed = signature[:-1] + bytes([signature[-1] ^ 1])
    foreign = sign(algorithm, private(algorithm, "other"), MESSAGE)
    for wrong in (b"", changed, signature[:-1], signature + b"\0", bytes(len(signature)), foreign):
        with pytest.raises(InvalidToken):
            key.verify(algorithm, wrong, MESSAGE)
    with pytest.raises(InvalidToken):
        key.verify(algorithm, signature, MESSAGE + b"x")


def test_a_library_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should verification itself fail, the signature is not verified, and nothing else happens."""

    def fail(*_: object) -> bool:
        raise RuntimeError

    monkeypatch.setattr(JWSRegistry.algorithms["ES256"], "verify", fail)
    with pytest.raises(InvalidToken):
        parse(jwks(), USED)[0].verify("ES256", sign("ES256", private("ES256"), MESSAGE), MESSAGE)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_has_the_algorithms_of_its_kind(algorithm: str) -> None:
    """Type and curve say what a key may be used with, whatever else its issuer uses."""
    expected = {"EdDSA": {"EdDSA", "Ed25519"}, "Ed25519": {"EdDSA", "Ed25519"}}
    rsa = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    found = parse(jwks(without(jwk(algorithm), "alg")), ALL)[0].algorithms
    assert found == expected.get(algorithm, {algorithm} if algorithm.startswith("ES") else rsa)


def test_a_key_verifies_with_its_algorithms_only() -> None:
    """A key is not used with an algorithm that its issuer does not use, or that its `alg` does not name."""
    signature = sign("PS256", private("PS256"), MESSAGE)
    for text, allowed in ((jwks(jwk("RS256")), ("RS256",)), (jwks(jwk("RS256", alg="RS256")), ALL)):
        key = parse(text, allowed)[0]
        assert key.algorithms == {"RS256"}
        with pytest.raises(InvalidToken):
            key.verify("PS256", signature, MESSAGE)


LEFT_OUT: dict[str, dict[str, Any]] = {
    "for encryption": jwk("ES256", use="enc"),
    "not for verifying": jwk("ES256", key_ops=["sign"]),
    "operations that are no list": jwk("ES256", key_ops="verify"),
    "an unknown type": {"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA"},
    "no type": without(jwk("ES256"), "kty"),
    "an unknown curve": jwk("ES256", crv="secp256k1"),
    "another type's curve": jwk("ES256", crv="Ed25519"),
    "a key agreement curve": jwk("EdDSA", crv="X25519"),
    "an algorithm of another type": jwk("ES256", alg="RS256"),
    "an algorithm that is not the issuer's": jwk("ES384"),
    "an unknown algorithm": jwk("ES256", alg="ES256K"),
    "a short modulus": public_jwk(rsa_key(1024)),
    "a modulus just too short": jwk("RS256", n=b64(b"\x7f" + b"\xff" * 255)),
    "a modulus just too long": jwk("RS256", n=b64(b"\x01" + b"\xff" * 1024)),
}
USED: tuple[args.JwsAlgorithm, ...] = ("ES256", "RS256", "EdDSA")


@pytest.mark.parametrize("case", LEFT_OUT)
def test_left_out(case: str) -> None:
    """A key for another use does not count, alone or beside a good one."""
    assert parse(jwks(LEFT_OUT[case]), USED) == ()
    with pytest.raises(InvalidIssuer):
        check(jwks(LEFT_OUT[case]), USED)
    check(jwks(LEFT_OUT[case], jwk()), USED)


REFUSED: dict[str, Any] = {
    "private EC": jwk("ES256", d="AAAA"),
    "private RSA": jwk("RS256", d="AAAA"),
    "private RSA by its primes": jwk("RS256", p="AAAA", q="AAAA"),
    "private RSA by its other primes": jwk("RS256", oth=[]),
    "private Edwards": jwk("EdDSA", d=b64(bytes(32))),
    "private, for encryption": jwk("ES256", d="AAAA", use="enc"),
    "private, of an unknown type": {"kty": "AKP", "priv": "AAAA"},
    "symmetric": {"kty": "oct", "k": b64(bytes(32)), "kid": "s"},
    "symmetric without its secret": {"kty": "oct", "kid": "s"},
    "symmetric in disguise": jwk("ES256", k="AAAA"),
    "no object": "key",
    "null": None,
    "type that is no text": jwk(kty=["EC"]),
    "kid that is no text": jwk(kid=7),
    "kid that is null": jwk(kid=None),
    "use that is no text": jwk(use=["sig"]),
    "algorithm that is no text": jwk(alg={}),
    "curve that is no text": jwk(crv=256),
    "no coordinate": without(jwk(), "y"),
    "coordinate that is no text": jwk(x=1),
    "coordinate with padding": jwk(x=jwk()["x"] + "="),
    "coordinate that is no base64url": jwk(x="!" * 43),
    "point that is not on the curve": jwk(y=b64(b"\1" * 32)),
    "no modulus": without(jwk("RS256"), "n"),
    "modulus that is no base64url": jwk("RS256", n="+/"),
    "exponent of one": jwk("RS256", e=b64(b"\1")),
    "even exponent": jwk("RS256", e=b64(b"\2")),
    "short Edwards key": jwk("EdDSA", x=b64(bytes(31))),
    "Edwards key of small order": jwk("EdDSA", x=b64(bytes(32))),
    "Edwards key that is no text": jwk("EdDSA", x=None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    """Private and symmetric keys, and keys that are not what they say, spoil the whole set."""
    with pytest.raises(InvalidIssuer) as caught:
        check(jwks(jwk(kid="good"), REFUSED[case]), USED)
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"keys": {}}',
        '{"keys": null}',
        '{"keys": []}',
        '{"keys": [], "keys": []}',
        "nonsense",
        '{"keys": [' + "[" * 20 + "]" * 20 + "]}",
        jwks().replace('"kty"', '"kid": "a", "kty"', 1),
        '{"keys": ["\ud800"]}',
    ],
)
def test_no_key_set(text: str) -> None:
    """A set is one unambiguous JSON object with a list of keys, of which at least one is of use."""
    with pytest.raises(InvalidIssuer):
        check(text, USED)


def test_number_of_keys() -> None:
    """Fifty keys are a set, of whatever use; fifty-one are not."""
    check(many(MAX_KEYS), USED)
    with pytest.raises(InvalidIssuer):
        check(many(MAX_KEYS + 1), USED)
    with pytest.raises(InvalidIssuer):
        check(jwks(*json.loads(many(MAX_KEYS, use="enc"))["keys"], jwk()), USED)


def test_further_members() -> None:
    """Certificates and other members of sets and keys are carried along unread."""
    check(json.dumps({"keys": [jwk(x5c=[1], x5u="nonsense", ext=True, key_ops=["verify"])], "more": {}}), USED)


def test_keys_are_told_apart() -> None:
    """Two keys that one header could mean are refused; one `kid` for two types is not."""
    for pair in ((jwk(kid="a"), jwk(owner="other", kid="a")), (jwk(), without(jwk("RS256"), "kid"))):
        with pytest.raises(InvalidIssuer):
            check(jwks(*pair), USED)
    check(jwks(jwk(kid="a"), jwk("RS256", kid="a")), USED)


def test_choosing() -> None:
    """The key is the one of this `kid` for this algorithm; without `kid` it must be the only one."""
    alone = parse(jwks(jwk(kid="a")), USED)
    assert choose(alone, "ES256", "a") is choose(alone, "ES256", None) is alone[0]
    nameless = parse(jwks(without(jwk(), "kid")), USED)
    assert choose(nameless, "ES256", None) is nameless[0]
    pair = parse(jwks(jwk(kid="a"), jwk("RS256", kid="a"), jwk(owner="other", kid="b")), USED)
    assert choose(pair, "RS256", "a") is pair[1]
    wrong: list[tuple[Any, args.JwsAlgorithm, str | None]] = [
        (alone, "ES256", "b"),
        (alone, "ES256", ""),
        (alone, "RS256", "a"),
        (nameless, "ES256", "a"),
        (pair, "ES256", None),
        (pair[:2], "ES256", None),
        (pair, "RS256", "b"),
        (pair + pair, "RS256", "a"),
        ((), "ES256", None),
    ]
    for keys, algorithm, kid in wrong:
        with pytest.raises(InvalidToken):
            choose(keys, algorithm, kid)


def test_issuer_fixture() -> None:
    """The issuer of these tests has a set that can be put."""
    found = issuer()
    check(found.jwks or "", found.algorithms)


@pytest.mark.parametrize("text", ["A", "AB", "AAB", "AA=", "AA==", "A A", "+A", "/w", "ÄA", "AAAAA", None, b"AA", 7])
def test_base64url_has_one_form(text: Any) -> None:
    """Padding, other alphabets, spaces and bits that nobody reads are refused."""
    with pytest.raises(ValueError):  # noqa: PT011 - that is all it promises
        decode(text)


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xfe", bytes(range(256))])
def test_base64url(data: bytes) -> None:
    """Bytes and text are each other's only form."""
    assert decode(encode(data)) == data
    assert encode(data) == b64(data)
    assert unb64(encode(data)) == data
