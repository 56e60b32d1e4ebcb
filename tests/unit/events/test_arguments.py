"""Arguments of commands: their form and bounds, and nothing about what exists."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from keyfold.events import arguments, commands
from keyfold.events.errors import InvalidCommand

UUID = "0193f3a0-7c00-7000-8000-00000000000a"
ED25519, ML_DSA = "ab" * 32, "ab" * 1952


def parse(document: dict[str, Any]) -> Any:
    return commands.parse_command(json.dumps(document).encode()).data.arguments


REFUSED: list[tuple[str, str, Any]] = [
    ("CreateKey", "key_spec", "RSA_2048"),
    ("CreateKey", "protection", "hsm"),
    ("CreateKey", "description", "x" * 1025),
    ("CreateKey", "description", "\0"),
    ("CreateKey", "tags", {"": "x"}),
    ("CreateKey", "tags", {"x" * 129: "x"}),
    ("CreateKey", "tags", {"x": "x" * 1025}),
    ("CreateKey", "tags", {str(i): "" for i in range(51)}),
    ("CreateKey", "usage_budget", 0),
    ("CreateKey", "usage_budget", 2**31 + 1),
    ("CreateKey", "rotate_at_percent", 0),
    ("CreateKey", "rotate_at_percent", 96),
    ("RotateKey", "cause", "because"),
    ("UpdateUsageBudget", "items", 0),
    ("UpdateUsageBudget", "items", 2**31 + 1),
    ("UpdateUsageBudget", "rotate_at_percent", 96),
    ("TagResource", "tags", {}),
    ("TagResource", "tags", {"": "x"}),
    ("TagResource", "tags", {str(i): "" for i in range(51)}),
    ("UntagResource", "tag_keys", []),
    ("UntagResource", "tag_keys", [""]),
    ("UntagResource", "tag_keys", [str(i) for i in range(51)]),
    ("ScheduleKeyDeletion", "pending_window_seconds", 0),
    ("ScheduleKeyDeletion", "pending_window_seconds", 30 * 86_400 + 1),
    ("GenerateDataKey", "number_of_bytes", 0),
    ("GenerateDataKey", "number_of_bytes", 1025),
    ("ReEncrypt", "destination", [-1]),
    ("ReEncrypt", "destination", [1000]),
    ("CreateAlias", "alias", "alias/" + "x" * 201),
    ("CreateAlias", "key_id", "x"),
    ("RegisterPrincipal", "public_key", "0" * 63),
    ("RegisterPrincipal", "public_key", "01" + "00" * 31),
    ("RegisterPrincipal", "public_key", ML_DSA),
    ("RegisterPrincipal", "algorithm", "ML-DSA-65"),
    ("RegisterPrincipal", "algorithm", "RSA"),
    ("RegisterPrincipal", "groups", ["g"] * 51),
    ("RegisterPrincipal", "groups", ["Group"]),
    ("RegisterPrincipal", "principal_type", "federated"),
    ("RegisterPrincipal", "expires_at", "never"),
    ("RegisterPrincipal", "expires_at", "2026-01-31"),
    ("RegisterPrincipal with ML-DSA-65", "public_key", ML_DSA[:-2]),
    ("RegisterPrincipal with ML-DSA-65", "public_key", "ab" * 32 + "00" * 1920),
    ("RegisterPrincipal with ML-DSA-65", "algorithm", "Ed25519"),
    ("UpdatePrincipal", "principal", "Bob"),
    ("UpdatePrincipal", "expires_at", "always"),
    ("UpdatePrincipal", "groups", ["g"] * 51),
    ("SuspendPrincipal", "reason", "x" * 1025),
    ("AddSigningKey", "public_key", "01" + "00" * 31),
    ("AddSigningKey", "algorithm", "ML-DSA-65"),
    ("AddSigningKey", "expires_at", "never"),
    ("RotateSigningKey", "replaces", "x"),
    ("RotateSigningKey", "algorithm", "ML-DSA-65"),
    ("RevokeSigningKey", "signing_key", "x"),
    ("AssumePrincipalWithWebIdentity", "public_key", "01" + "00" * 31),
    ("AssumePrincipalWithWebIdentity", "token", ""),
    ("AssumePrincipalWithWebIdentity", "token", "a.b.c\n"),
    ("AssumePrincipalWithWebIdentity", "token", "a b"),
    ("AssumePrincipalWithWebIdentity", "token", "a" * 16_385),
    ("PutIssuer", "issuer", "a" * 17),
    ("PutIssuer", "issuer", "a.b"),
    ("PutIssuer", "issuer", "Acme"),
    ("PutIssuer", "url", ""),
    ("PutIssuer", "url", "x" * 501),
    ("PutIssuer", "audience", ""),
    ("PutIssuer", "algorithms", []),
    ("PutIssuer", "algorithms", ["none"]),
    ("PutIssuer", "algorithms", ["HS256"]),
    ("PutIssuer", "jwks_source", ""),
    ("PutIssuer", "keys_lifetime_seconds", 59),
    ("PutIssuer", "keys_lifetime_seconds", 30 * 86_400 + 1),
    ("PutIssuer", "max_token_seconds", 59),
    ("PutIssuer", "max_token_seconds", 86_401),
    ("PutIssuer", "groups_claim", ""),
    ("PutIssuer", "groups", {"Platform Team": "Operators"}),
    ("PutIssuer", "groups", {str(i): "g" for i in range(101)}),
    ("PutIssuer", "tags", {"": "x"}),
    ("PutIssuer", "tags", {"x": ""}),
    ("PutIssuer", "tags", {str(i): "t" for i in range(21)}),
    ("PutIssuer", "base_groups", ["g"] * 51),
    ("PutIssuerKeys", "jwks", ""),
    ("PutIssuerKeys", "jwks", "x" * 65_537),
    ("PutLimit", "limit", "Readers"),
    ("PutLimit", "kind", "bucket"),
    ("PutLimit", "unit", "bytes"),
    ("PutLimit", "amount", 0),
    ("PutLimit", "amount", 10**12 + 1),
    ("PutLimit", "period_seconds", 0),
    ("PutLimit", "period_seconds", 366 * 86_400 + 1),
    ("PutLimit", "burst", 0),
    ("PutLimit", "per", "group"),
    ("PutLimit", "verbs", ["encrypt"]),
    ("PutLimit", "verbs", ["Encrypt"] * 51),
    ("CreateGrant", "grantee", ""),
    ("CreateGrant", "verbs", []),
    ("CreateGrant", "verbs", ["DestroyKey"]),
    ("CreateGrant", "verbs", ["Encrypt"] * 7),
    ("CreateGrant", "algorithms", []),
    ("CreateGrant", "algorithms", ["RSAES_OAEP_SHA_256"]),
    ("CreateGrant", "max_operations", 0),
    ("CreateGrant", "max_items", 0),
    ("CreateGrant", "max_items", 2**53 + 1),
    ("CreateGrant", "encryption_context_subset", {"tenant": 1}),
    ("CreateGrant", "delegable", "true"),
    ("CreateGrant", "parent", "x"),
    ("RetireGrant", "grant", "x"),
    ("RevokeGrant", "grant", "x"),
    ("ProposeCommand", "verb", "destroyKey"),
    ("ProposeCommand", "arguments", []),
    ("ProposeCommand", "items", 0),
    ("ProposeCommand of a use", "contexts", []),
    ("ProposeCommand of a use", "contexts", [{}] * 1001),
    ("ProposeCommand of a use", "items", 1001),
    ("ProposeCommand of a use", "bytes", -1),
    ("ApproveProposal", "proposal", "x"),
    ("ApproveProposal", "digest", "x"),
    ("DenyProposal", "digest", UUID),
    ("CancelProposal", "proposal", ""),
    ("PutPolicy", "text", ""),
    ("PutPolicy", "text", "x" * 32_769),
    ("EraseSealingKey", "sealing_key", ""),
]


@pytest.mark.parametrize(("name", "argument", "value"), REFUSED)
def test_refused(document: Callable[..., dict[str, Any]], name: str, argument: str, value: Any) -> None:
    """An argument outside its bounds, or of a form that only looks right, is refused."""
    with pytest.raises(InvalidCommand, match=r"arguments|cannot be stored"):
        parse(document(name, **{f"data__arguments__{argument}": value}))


NEEDED = {
    "CreateKey": set(),
    "TagResource": {"tags"},
    "UpdateUsageBudget": {"items"},
    "CreateGrant": {"grantee", "verbs", "expires_at"},
    "RegisterPrincipal": {"principal", "public_key"},
    "UpdatePrincipal": {"principal"},
    "AddSigningKey": {"principal", "public_key"},
    "RotateSigningKey": {"principal", "public_key", "replaces"},
    "AssumePrincipalWithWebIdentity": {"issuer", "token", "public_key"},
    "PutIssuer": {"issuer", "url", "audience", "algorithms"},
    "PutIssuerKeys": {"issuer", "jwks"},
    "PutLimit": {"limit", "kind", "amount", "period_seconds"},
    "ProposeCommand": {"verb", "expires_at"},
    "ApproveProposal": {"proposal", "digest"},
    "DenyProposal": {"proposal", "digest"},
}


@pytest.mark.parametrize("verb", NEEDED)
def test_needed(document: Callable[..., dict[str, Any]], verb: str) -> None:
    """Exactly these arguments must be there."""
    made = document(verb)
    for name in list(made["data"]["arguments"]):
        without = document(verb, **{f"data__arguments__{name}": None})
        if name in NEEDED[verb]:
            with pytest.raises(InvalidCommand):
                parse(without)
        else:
            parse(without)
    made["data"]["arguments"] = {name: made["data"]["arguments"][name] for name in NEEDED[verb]}
    parse(made)


def test_defaults(document: Callable[..., dict[str, Any]]) -> None:
    """What is left out has the documented default."""
    budget = parse(document("CreateKey", data__arguments={}))
    assert (budget.usage_budget, budget.rotate_at_percent) == (arguments.MAX_PROTECTED_ITEMS, 95)
    assert parse(document("RotateKey")).cause == "requested"
    registered = parse(document("RegisterPrincipal", data__arguments__algorithm=None))
    assert (registered.algorithm, registered.principal_type, registered.expires_at) == ("Ed25519", "workload", None)
    updated = parse(document("UpdatePrincipal", data__arguments={"principal": "bob"}))
    assert (updated.groups, updated.tags, updated.expires_at) == (None, None, None)
    limit = parse(document("PutLimit", data__arguments__unit=None, data__arguments__per=None))
    assert (limit.unit, limit.per, limit.principal, limit.key_id) == ("commands", "principal", None, None)
    issuer = parse(document("PutIssuer", data__arguments__jwks_source=None))
    assert issuer.jwks_source is None
    wish = parse(document("ProposeCommand", data__arguments__arguments=None))
    assert (wish.arguments, wish.contexts, wish.items, wish.bytes) == ({}, None, None, None)


def test_null_and_nothing_are_told_apart(document: Callable[..., dict[str, Any]]) -> None:
    """No automatic rotation is asked for with null; leaving it out asks for the default."""
    made = document("CreateKey")
    made["data"]["arguments"]["rotate_at_percent"] = None
    assert parse(made).rotate_at_percent is None


def test_an_end_can_be_taken_away(document: Callable[..., dict[str, Any]]) -> None:
    """`never` takes an expiry away; it is a word of its own, not an instant."""
    assert parse(document("UpdatePrincipal without an end")).expires_at == "never"


def test_both_kinds_of_keys(document: Callable[..., dict[str, Any]], examples: Any) -> None:
    """A public key is of the algorithm that is said: 32 bytes of Ed25519, 1,952 of ML-DSA-65."""
    made = parse(document("RegisterPrincipal with ML-DSA-65"))
    assert (made.algorithm, len(bytes.fromhex(made.public_key))) == ("ML-DSA-65", 1952)
    arguments.SigningKeyArgument(public_key=examples.BOB.public_key.hex())
    with pytest.raises(ValueError, match="not a usable Ed25519"):
        arguments.SigningKeyArgument(public_key=made.public_key)
    with pytest.raises(ValueError, match="not a usable ML-DSA-65"):
        arguments.SigningKeyArgument(public_key=examples.BOB.public_key.hex(), algorithm="ML-DSA-65")


def test_grants_are_for_uses() -> None:
    """A grant can give away the uses of a key and grants of them, never a control verb that changes the key."""
    uses = {model.verb for model in commands.COMMANDS if model.data_plane} - {"GenerateRandom"}
    assert set(arguments.GrantVerb.__args__) == uses | {"CreateGrant"}


def test_symmetric_algorithms_of_tokens_are_unknown() -> None:
    """No algorithm under a shared secret, and not `none`, can be named for tokens."""
    assert not {name for name in arguments.JwsAlgorithm.__args__ if name.startswith("HS") or name == "none"}
