"""Deciding about issuers and their keys, and about who their tokens say somebody is."""

import json
from typing import Any

import pytest
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS, signer
from tests.unit.deciding.hall import Hall
from tests.unit.deciding.issuers import (
    ALGORITHMS,
    AUDIENCE,
    NAME,
    PRINCIPAL,
    SUBJECT,
    URL,
    assumption,
    jwk,
    jwks,
    own_jwk,
    settings,
    token,
)

from keyfold.deciding import federation
from keyfold.deciding.admission import Place, admit
from keyfold.deciding.federation import MAX_FEDERATED_KEYS
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.commands import parse_command
from keyfold.events.entities import Issuer
from keyfold.events.identities import principal_name
from keyfold.events.signatures import Signer
from keyfold.events.times import to_text

EVERYBODY = 'permit (principal, action == Action::"AssumePrincipalWithWebIdentity", resource);'
OTHER_URL = "https://other.example"
PLACE = Place(DEPLOYMENT, 0, PARTITIONS)
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


class Gate(Hall):
    """A hall with an issuer whose key is put, where bearers of its tokens authenticate."""

    def __init__(self, policy: str = EVERYBODY, **changes: Any) -> None:
        super().__init__()
        assert self.code("PutPolicy", policy="federation", text=policy) is None
        assert self.code("PutIssuer", **settings(**changes)) is None
        assert self.code("PutIssuerKeys", issuer=NAME, jwks=jwks()) is None

    def assume(self, bearer: str = "api", **claims: Any) -> str | None:
        """Authenticate with a fresh token; return why it is denied or rejected, None if it is not."""
        self.number += 1
        now = self.now_ms // SECOND
        using = token(bearer, **{"iat": now, "exp": now + 600} | claims)
        name = principal_name(NAME, self.issuer().url, claims.get("sub", SUBJECT))
        batch = self.decide(assumption(bearer, self.number, using=using, principal=name, issued_ms=self.now_ms))
        if batch.dead_letters:
            return batch.dead_letters[0][1].split(":")[0]
        event = self.last()
        return event.data.code if isinstance(event, facts.CommandDenied) else None

    def issuer(self) -> Issuer:
        found = self.state.entities[f"issuer/{NAME}"]
        assert isinstance(found, Issuer)
        return found


def print_of(name: str) -> str:
    return signer(name).fingerprint


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
        ("http://sidecar:8080/jwks", True),
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
    """Keys come from an https or http address, or from a file that is named without any path."""
    assert Hall().code("PutIssuer", **settings(jwks_source=source)) == (None if taken else "InvalidIssuer")


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


def test_authenticating() -> None:
    """The first token registers its principal, with the key it binds, until the token's end."""
    gate = Gate(base_groups=["callers"])
    assert gate.assume() is None
    event = gate.last()
    assert isinstance(event, facts.PrincipalAuthenticated)
    data = event.data
    assert (data.principal, data.issuer, data.token_subject, data.token_id) == (PRINCIPAL, NAME, SUBJECT, "token-1")
    assert (data.public_key, data.algorithm) == (signer("api").public_key.hex(), "Ed25519")
    assert (data.groups, data.tags, data.expires_at) == (["callers"], {}, to_text(START_MS + 600 * SECOND))
    principal = gate.principal(PRINCIPAL)
    assert (principal.principal_type, principal.issuer, principal.token_subject) == ("federated", NAME, SUBJECT)
    assert [(key.signing_key, key.expires_at) for key in principal.keys] == [(print_of("api"), data.expires_at)]


def test_the_principal_that_cedar_sees() -> None:
    """Admission's principal is exactly what the event makes of it, the first time, again, and with other keys."""
    gate = Gate(groups_claim="roles", groups={"a": "group-a", "b": "group-b"}, tags={"dept": "team"})
    for bearer, roles, wait_ms in (("api", ["a"], 0), ("api-2", ["a", "b"], MINUTE), ("api", [], 599 * SECOND)):
        gate.now_ms += wait_ms
        now = gate.now_ms // SECOND
        using = token(bearer, iat=now, exp=now + 600, roles=roles, dept=f"d-{bearer}")
        made = assumption(bearer, gate.number + 700, using=using, issued_ms=gate.now_ms)
        gate.number += 1
        admitted = admit(made.inbound(0, gate.now_ms), PLACE, gate.state.entities, gate.now_ms)
        gate.decide(made)
        assert gate.principal(PRINCIPAL) == admitted.principal
    assert {key.signing_key for key in gate.principal(PRINCIPAL).keys} == {print_of("api"), print_of("api-2")}


def test_cedar_may_forbid_it() -> None:
    """A good token is not enough: policy decides about the principal with the groups and tags that it would have."""
    asked = f"""{EVERYBODY}
        forbid (principal in Group::"guests", action == Action::"AssumePrincipalWithWebIdentity", resource);
        forbid (principal, action == Action::"AssumePrincipalWithWebIdentity", resource)
        unless {{ principal.type == "federated" && principal.hasTag("team") && principal.getTag("team") == "a" }};"""
    gate = Gate(asked, groups_claim="roles", groups={"guest": "guests"}, tags={"dept": "team"})
    assert gate.assume(dept="b") == "AccessDenied"
    assert gate.assume(dept="a", roles="guest") == "AccessDenied"
    assert f"principal/{PRINCIPAL}" not in gate.state.entities
    assert gate.assume(dept="a") is None


GROUPS: dict[str, tuple[Any, list[str] | None]] = {
    "none": (..., ["base"]),
    "one": ("a", ["base", "group-a"]),
    "several": (["b", "a"], ["base", "group-b", "group-a"]),
    "twice": (["a", "a", "also-a"], ["base", "group-a"]),
    "the base again": (["base"], ["base"]),
    "what is not mapped": (["c", "group-a", "administrators", "A", ""], ["base"]),
    "empty": ([], ["base"]),
    "several in one text": ("a b", ["base"]),
    "null": (None, None),
    "number": (7, None),
    "object": ({"a": True}, None),
    "list of lists": ([["a"]], None),
    "list with a number": (["a", 7], None),
}


@pytest.mark.parametrize("case", GROUPS)
def test_groups(case: str) -> None:
    """Groups are the issuer's base groups and what the claim's values are mapped to, nothing that a token names."""
    value, expected = GROUPS[case]
    mapped = {"a": "group-a", "also-a": "group-a", "b": "group-b", "base": "base"}
    gate = Gate(base_groups=["base"], groups_claim="roles", groups=mapped)
    assert gate.assume(roles=value) == (None if expected is not None else "InvalidToken")
    if expected is not None:
        assert list(gate.principal(PRINCIPAL).groups) == expected


def test_groups_without_a_claim() -> None:
    """Where no claim is named, no claim gives groups."""
    gate = Gate(groups={"a": "group-a"})
    assert gate.assume(groups=["a"], roles=["a"]) is None
    assert gate.principal(PRINCIPAL).groups == ()


TAGS: dict[str, tuple[dict[str, Any], dict[str, str] | None]] = {
    "none": ({}, {}),
    "one": ({"dept": "x"}, {"team": "x"}),
    "both": ({"dept": "x", "sub": SUBJECT}, {"team": "x", "subject": SUBJECT}),
    "empty": ({"dept": ""}, {"team": ""}),
    "another's name": ({"team": "x"}, {}),
    "longest": ({"dept": "x" * 1024}, {"team": "x" * 1024}),
    "too long": ({"dept": "x" * 1025}, None),
    "number": ({"dept": 7}, None),
    "true": ({"dept": True}, None),
    "null": ({"dept": None}, None),
    "list": ({"dept": ["x"]}, None),
}


@pytest.mark.parametrize("case", TAGS)
def test_tags(case: str) -> None:
    """Tags are claims that are text, whole; a mapped claim of another kind, or too long, refuses the token."""
    claims, expected = TAGS[case]
    gate = Gate(tags={"dept": "team"} | ({"sub": "subject"} if "sub" in claims else {}))
    assert gate.assume(**claims) == (None if expected is not None else "InvalidToken")
    if expected is not None:
        assert gate.principal(PRINCIPAL).tags == expected


def test_authenticating_again() -> None:
    """The last token counts for groups and tags; the same key lasts longer, keys that are over make room."""
    gate = Gate(groups_claim="roles", groups={"a": "group-a"})
    assert gate.assume(roles="a") is None
    assert gate.assume("api-2") is None
    assert gate.principal(PRINCIPAL).groups == ()
    gate.now_ms += 300 * SECOND
    assert gate.assume(roles="a") is None
    principal = gate.principal(PRINCIPAL)
    assert principal.groups == ("group-a",)
    assert {key.signing_key: key.expires_at for key in principal.keys} == {
        print_of("api"): to_text(START_MS + 900 * SECOND),
        print_of("api-2"): to_text(START_MS + 600 * SECOND),
    }
    gate.now_ms += 300 * SECOND
    assert gate.assume() is None
    assert [key.signing_key for key in gate.principal(PRINCIPAL).keys] == [print_of("api")]
    assert f"signing-key/{print_of('api-2')}" not in gate.state.entities


def test_a_key_that_ended_is_welcome_again() -> None:
    """Who kept the key over the token's end authenticates with a new token and the same key."""
    gate = Gate()
    assert gate.assume() is None
    gate.now_ms += 600 * SECOND
    assert not gate.principal(PRINCIPAL).may_act(gate.now_ms)
    assert gate.assume() is None
    assert gate.principal(PRINCIPAL).may_act(gate.now_ms)


def test_who_was_stopped() -> None:
    """A suspended, revoked or expired principal does not authenticate, whatever its token says."""
    gate = Gate()
    assert gate.assume() is None
    assert gate.code("SuspendPrincipal", principal=PRINCIPAL) is None
    assert gate.assume() == gate.assume("api-2") == "PrincipalSuspended"
    assert gate.code("ResumePrincipal", principal=PRINCIPAL) is None
    assert gate.assume() is None
    assert gate.code("UpdatePrincipal", principal=PRINCIPAL, expires_at=to_text(gate.now_ms + 1)) is None
    gate.now_ms += SECOND
    assert gate.assume() == "PrincipalExpired"
    assert gate.code("UpdatePrincipal", principal=PRINCIPAL, expires_at="never") is None
    assert gate.assume() is None
    assert gate.code("RevokePrincipal", principal=PRINCIPAL) is None
    assert gate.assume() == gate.assume("api-2") == "PrincipalRevoked"


def test_a_revoked_key_stays_revoked() -> None:
    """No token makes a key usable again that was revoked; another key is welcome."""
    gate = Gate()
    assert gate.assume() is None
    assert gate.code("RevokeSigningKey", principal=PRINCIPAL, signing_key=print_of("api")) is None
    assert gate.assume() == "SigningKeyRevoked"
    assert gate.assume("api-2") is None
    gate.now_ms += 600 * SECOND
    assert gate.assume() == "SigningKeyRevoked"
    statuses = {key.signing_key: key.status for key in gate.principal(PRINCIPAL).keys}
    assert statuses[print_of("api")] == "Revoked"


def test_a_key_is_one_principal_s() -> None:
    """A token does not move a key from a registered principal, nor from another subject."""
    gate = Gate()
    assert gate.register("carol") is None
    assert gate.assume("carol") == "AlreadyExists"
    assert gate.assume("alice") == "AlreadyExists"
    assert gate.assume() is None
    assert gate.assume(sub="somebody else") == "AlreadyExists"
    assert gate.principal("carol").key(print_of("carol")) is not None
    assert gate.code("CreateAlias", by="alice", alias="alias/a", key_id=UUID) is None


UUID = "01890000-0000-7000-8000-000000000001"


def test_a_name_is_one_principal_s() -> None:
    """A token gives no way into a principal that was registered under the name before."""
    gate = Gate()
    assert gate.register(PRINCIPAL, "administrators", key="carol") is None
    assert gate.assume() == "AlreadyExists"
    assert gate.principal(PRINCIPAL).principal_type == "workload"
    assert [key.signing_key for key in gate.principal(PRINCIPAL).keys] == [print_of("carol")]


def test_a_subject_whose_name_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should two subjects come to one name, it is the first one's only."""
    gate = Gate()
    assert gate.assume() is None
    monkeypatch.setattr(federation, "principal_name", lambda *_: PRINCIPAL)
    gate.number += 1
    batch = gate.decide(assumption("api-2", 900, using=token("api-2", sub="a colliding subject")))
    event = gate.last()
    assert not batch.dead_letters
    assert isinstance(event, facts.CommandDenied)
    assert event.data.code == "AlreadyExists"


def test_number_of_keys() -> None:
    """A subject has at most a hundred keys in use; one of them may always be used for longer."""
    gate = Gate()
    for number in range(MAX_FEDERATED_KEYS):
        assert gate.assume(f"api-{number}") is None
    assert gate.assume("one too many") == "InvalidCommand"
    assert gate.assume("api-7") is None
    gate.now_ms += 600 * SECOND
    assert gate.assume("one too many") is None
    assert len(gate.principal(PRINCIPAL).keys) == 1


def world_of(gate: Gate) -> World:
    entities = gate.state.entities
    return World(0, gate.now_ms, entities, entities, gate.authorizer, 0)


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({}, None),
        ({"principal": "alice"}, errors.InvalidCommand),
        ({"signing_key": print_of("alice")}, errors.InvalidCommand),
        ({"arguments": {"public_key": signer("alice").public_key.hex()}}, errors.TokenNotBound),
        ({"arguments": {"issuer": "nobody"}}, errors.UnknownIssuer),
    ],
)
def test_the_rule_asks_again(options: dict[str, Any], refusal: type[errors.Refusal] | None) -> None:
    """The rule trusts no admission: in another's name or with another's key (as a proposal might) it refuses."""
    gate = Gate()
    command = parse_command(assumption(**options).value)
    rule = federation.RULES["AssumePrincipalWithWebIdentity"]
    if refusal is None:
        assert rule(command, world_of(gate))[0] is facts.PrincipalAuthenticated
        return
    with pytest.raises(refusal) as caught:
        rule(command, world_of(gate))
    assert type(caught.value) is refusal


def test_keys_of_federation() -> None:
    """A token cannot bind an ML-DSA-65 key."""
    gate = Gate()
    key = Signer(b"\7" * 32, "ML-DSA-65")
    changes = {"public_key": key.public_key.hex(), "algorithm": "ML-DSA-65"}
    using = token(cnf={"jwk": own_jwk(signer("api"))})
    command = parse_command(assumption(using=using, arguments=changes, signing_key=key.fingerprint).value)
    with pytest.raises(errors.TokenNotBound):
        federation.RULES["AssumePrincipalWithWebIdentity"](command, world_of(gate))


def test_the_same_bytes_decide_the_same() -> None:
    """Two deployments with the same registry and time make the same event of a command, byte for byte."""
    made = assumption(number=500)
    events = []
    for _ in range(2):
        gate = Gate()
        gate.decide(made)
        events.append(gate.last().to_value())
    assert events[0] == events[1]
