"""Deciding about bearers of tokens: who they are, what their claims give them, and who is not let in."""

from typing import Any

import pytest
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS, signer, uuid
from tests.unit.deciding.gate import EVERYBODY, MINUTE, SECOND, Gate
from tests.unit.deciding.issuers import (
    NAME,
    PRINCIPAL,
    SUBJECT,
    assumption,
    own_jwk,
    token,
)

from keyfold.deciding import federation
from keyfold.deciding.admission import Place, admit
from keyfold.deciding.federation import MAX_FEDERATED_KEYS
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.commands import parse_command
from keyfold.events.signatures import Signer
from keyfold.events.times import to_text

PLACE = Place(DEPLOYMENT, 0, PARTITIONS)


def print_of(name: str) -> str:
    return signer(name).fingerprint


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


STEPS: tuple[tuple[str, list[str], int], ...] = (
    ("api", ["a"], 0),
    ("api-2", ["a", "b"], MINUTE),
    ("api-2", [], MINUTE),
    ("revoked", ["b"], 0),
    ("api-3", ["b"], 8 * MINUTE),
    ("api-2", ["a"], 9 * MINUTE),
)


def test_the_principal_that_cedar_sees() -> None:
    """Admission's principal is exactly what the event makes of it, whatever keys came, went and were revoked before."""
    gate = Gate(groups_claim="roles", groups={"a": "group-a", "b": "group-b"}, tags={"dept": "team"})
    for number, (bearer, roles, wait_ms) in enumerate(STEPS, 700):
        gate.now_ms += wait_ms
        now = gate.now_ms // SECOND
        using = token(bearer, iat=now, exp=now + 600, roles=roles, dept=f"d-{bearer}")
        made = assumption(bearer, number, using=using, issued_ms=gate.now_ms)
        admitted = admit(made.inbound(0, gate.now_ms), PLACE, gate.state.entities, gate.now_ms)
        gate.decide(made)
        assert gate.principal(PRINCIPAL) == admitted.principal
        if bearer == "revoked":
            gate.code("RevokeSigningKey", principal=PRINCIPAL, signing_key=print_of(bearer))
    kept = {key.signing_key: key.status for key in gate.principal(PRINCIPAL).keys}
    assert kept == {print_of("revoked"): "Revoked", print_of("api-2"): "Active"}


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
    """The same key lasts longer with a new token, beside others of the same claims; keys that are over make room."""
    gate = Gate(groups_claim="roles", groups={"a": "group-a"})
    assert gate.assume(roles="a") is None
    assert gate.assume("api-2", roles="a") is None
    gate.now_ms += 300 * SECOND
    assert gate.assume(roles="a") is None
    principal = gate.principal(PRINCIPAL)
    assert principal.groups == ("group-a",)
    assert {key.signing_key: key.expires_at for key in principal.keys} == {
        print_of("api"): to_text(START_MS + 900 * SECOND),
        print_of("api-2"): to_text(START_MS + 600 * SECOND),
    }
    gate.now_ms += 300 * SECOND
    assert gate.assume(roles="a") is None
    assert [key.signing_key for key in gate.principal(PRINCIPAL).keys] == [print_of("api")]
    assert f"signing-key/{print_of('api-2')}" not in gate.state.entities


def test_rights_of_a_token_are_not_lent_to_another_key() -> None:
    """A token with other claims ends the keys of the tokens before it: their rights are neither mixed nor outlast."""
    gate = Gate(groups_claim="roles", groups={"a": "group-a"})
    assert gate.assume() is None
    assert gate.assume("api-2", roles="a") is None
    assert [key.signing_key for key in gate.principal(PRINCIPAL).keys] == [print_of("api-2")]
    assert f"signing-key/{print_of('api')}" not in gate.state.entities
    gate.now_ms += 600 * SECOND
    assert not gate.principal(PRINCIPAL).may_act(gate.now_ms)


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
    assert gate.code("CreateAlias", by="alice", alias="alias/a", key_id=uuid(1)) is None


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
    for named in (key, signer("api")):
        using = token(cnf={"jwk": own_jwk(named)})
        command = parse_command(assumption(using=using, arguments=changes, signing_key=key.fingerprint).value)
        with pytest.raises(errors.TokenNotBound):
            federation.RULES["AssumePrincipalWithWebIdentity"](command, world_of(gate))


def test_the_rule_knows_revoked_keys() -> None:
    """The rule trusts no admission: a revoked key stays revoked, whoever lets its command through."""
    gate = Gate()
    assert gate.assume() is None
    assert gate.code("RevokeSigningKey", principal=PRINCIPAL, signing_key=print_of("api")) is None
    with pytest.raises(errors.SigningKeyRevoked):
        federation.RULES["AssumePrincipalWithWebIdentity"](parse_command(assumption().value), world_of(gate))


def test_the_same_bytes_decide_the_same() -> None:
    """Two deployments with the same registry and time make the same event of a command, byte for byte."""
    made = assumption(number=500)
    events = []
    for _ in range(2):
        gate = Gate()
        gate.decide(made)
        events.append(gate.last().to_value())
    assert events[0] == events[1]
