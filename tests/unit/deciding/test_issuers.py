"""Deciding about issuers and their keys."""

import json

import pytest
from tests.support.people import START_MS
from tests.unit.deciding.gate import EVERYBODY, HOUR, MINUTE, Gate
from tests.unit.deciding.hall import Hall
from tests.unit.deciding.issuers import (
    ALGORITHMS,
    AUDIENCE,
    NAME,
    SUBJECT,
    URL,
    assumption,
    jwk,
    jwks,
    settings,
    token,
)

from keyfold.events import facts
from keyfold.events.identities import principal_name
from keyfold.events.times import to_text

OTHER_URL = "https://other.example"


def test_putting_issuers() -> None:
    """An issuer is what it was put as last; its keys stay if its address does."""
    gate = Gate(groups={"admins": "operators"}, groups_claim="roles", tags={"dept": "team"}, base_groups=["callers"])
    issuer = gate.issuer()
    assert (issuer.url, issuer.audience, issuer.algorithms, issuer.base_groups) == (
        URL,
        AUDIENCE,
        ("ES256",),
        ("callers",),
    )
    assert (issuer.groups, issuer.groups_claim, issuer.tags) == ({"admins": "operators"}, "roles", {"dept": "team"})
    assert gate.code("PutIssuer", **settings(audience="others")) is None
    assert (gate.issuer().audience, gate.issuer().jwks) == ("others", jwks())
    assert gate.code("PutIssuer", **settings(url=OTHER_URL)) is None
    assert (gate.issuer().jwks, gate.issuer().keys_expire_at) == (None, None)
    assert gate.assume(iss=OTHER_URL) == "IssuerKeysExpired"


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        (URL, True),
        ("https://id.example:8443/realms/a?b=c", True),
        ("https://[::1]:8443/", True),
        ("http://id.example", False),
        ("HTTPS://id.example", False),
        ("ftp://id.example", False),
        ("id.example", False),
        ("https://", False),
        ("https:///path", False),
        ("https://user:secret@id.example", False),
        ("https://id.example/a b", False),
        ("https://id.example/\n", False),
        ("https://id.example\n", False),
        ("https://id.exämple", False),
        ("file:///etc/passwd", False),
    ],
)
def test_addresses_of_issuers(url: str, taken: bool) -> None:
    """An issuer's address is https, without credentials; http is for development."""
    assert Hall().code("PutIssuer", **settings(url=url)) == (None if taken else "InvalidIssuer")
    in_development = taken or url == "http://id.example"
    hall = Hall(development=True)
    assert hall.code("PutIssuer", **settings(url=url)) == (None if in_development else "InvalidIssuer")


@pytest.mark.parametrize(
    ("source", "taken"),
    [
        ("https://id.example/jwks", True),
        ("http://sidecar:8080/jwks", False),
        ("corp.json", True),
        ("a" * 100, True),
        ("a" * 101, False),
        ("keys/corp.json", False),
        ("/etc/keys", False),
        ("..", False),
        (".hidden", False),
        ("a\\b", False),
        ("a b", False),
        ("corp.json\n", False),
        ("file:///corp.json", False),
        ("ftp://id.example/jwks", False),
        ("https://user:secret@id.example/jwks", False),
    ],
)
def test_sources_of_keys(source: str, taken: bool) -> None:
    """Keys come from an https address (http in development), or from a file that is named without any path."""
    assert Hall().code("PutIssuer", **settings(jwks_source=source)) == (None if taken else "InvalidIssuer")
    in_development = taken or source.startswith("http:")
    code = Hall(development=True).code("PutIssuer", **settings(jwks_source=source))
    assert code == (None if in_development else "InvalidIssuer")


def test_issuers_are_told_apart() -> None:
    """One address is one issuer's, and one tag one claim's."""
    gate = Gate()
    assert gate.code("PutIssuer", **settings(issuer="corp2")) == "AlreadyExists"
    assert gate.code("PutIssuer", **settings(issuer="corp2", url=OTHER_URL)) is None
    assert gate.code("PutIssuer", **settings(url=OTHER_URL)) == "AlreadyExists"
    assert gate.code("PutIssuer", **settings(tags={"a": "team", "b": "team"})) == "InvalidIssuer"
    assert gate.code("DeleteIssuer", issuer="corp2") is None
    assert gate.code("PutIssuer", **settings(url=OTHER_URL)) is None


def test_deleting_issuers() -> None:
    """A deleted issuer's tokens are nobody's; who authenticated before goes on until the token's end."""
    gate = Gate()
    assert gate.code("DeleteIssuer", issuer="nobody") == "NotFound"
    name = principal_name(NAME, URL, SUBJECT)
    assert gate.assume() is None
    assert gate.code("DeleteIssuer", issuer=NAME) is None
    batch = gate.decide(assumption(number=500))
    assert batch.dead_letters[0][1].startswith("UnknownIssuer")
    assert gate.code("DeleteIssuer", issuer=NAME) == "NotFound"
    assert gate.principal(name).may_act(gate.now_ms)


def test_putting_keys() -> None:
    """Keys are good for the issuer's time after they were put; the set must fit the issuer's algorithms."""
    gate = Gate(keys_lifetime_seconds=3_600)
    assert gate.issuer().keys_expire_at == to_text(START_MS + HOUR)
    gate.now_ms += MINUTE
    published = jwks(jwk("RS256"), jwk(owner="next"))
    assert gate.code("PutIssuerKeys", issuer=NAME, jwks=published) is None
    assert (gate.issuer().jwks, gate.issuer().keys_expire_at) == (published, to_text(START_MS + HOUR + MINUTE))
    for refused in (jwks(jwk("RS256")), jwks(jwk(d="AAAA")), json.dumps({"keys": [{"kty": "oct", "k": "AA"}]}), "{}"):
        assert gate.code("PutIssuerKeys", issuer=NAME, jwks=refused) == "InvalidIssuer"
    assert gate.code("PutIssuerKeys", issuer="nobody", jwks=jwks()) == "NotFound"
    assert gate.issuer().jwks == published


def test_keys_that_ended() -> None:
    """Nobody authenticates with keys that were not read again in time, to the millisecond."""
    gate = Gate(keys_lifetime_seconds=3_600)
    gate.now_ms += HOUR - 1
    assert gate.assume() is None
    gate.now_ms += 1
    assert gate.assume() == "IssuerKeysExpired"
    assert gate.code("PutIssuerKeys", issuer=NAME, jwks=jwks()) is None
    assert gate.assume() is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_kind_of_issuer(algorithm: str) -> None:
    """Bearers of tokens of every algorithm authenticate, where the issuer lists it."""
    hall = Hall()
    hall.code("PutPolicy", policy="federation", text=EVERYBODY)
    assert hall.code("PutIssuer", **settings(algorithms=[algorithm])) is None
    assert hall.code("PutIssuerKeys", issuer=NAME, jwks=jwks(jwk(algorithm))) is None
    hall.decide(assumption(number=500, using=token(algorithm=algorithm)))
    assert isinstance(hall.last(), facts.PrincipalAuthenticated)
