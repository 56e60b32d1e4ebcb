"""Arguments of commands: their form and bounds, and nothing about what exists."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from keyfold.events import arguments, commands, specs
from keyfold.events.errors import InvalidCommand

UUID = "0193f3a0-7c00-7000-8000-00000000000a"
ED25519, ML_DSA = "ab" * 32, "ab" * 1952


def parse(document: dict[str, Any]) -> Any:
    return commands.parse_command(json.dumps(document).encode()).data.arguments


REFUSED: list[tuple[str, str, Any]] = [
    ("CreateKey", "key_spec", "RSA_1024"),
    ("CreateKey", "key_spec", "rsa_2048"),
    ("CreateKey", "key_spec", ["RSA_2048"]),
    ("CreateKey", "key_usage", "VERIFY"),
    ("CreateKey", "origin", "AWS_KMS"),
    ("CreateKey", "not_before", "2026-01-31"),
    ("CreateKey", "not_after", "never"),
    ("CreateKey", "rotation_period_seconds", 0),
    ("CreateKey", "rotation_period_seconds", 2560 * 86_400 + 1),
    ("CreateKey", "rotation_period_seconds", "1"),
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
    ("AcknowledgeIncident", "incident", "1"),
    ("AcknowledgeIncident", "comment", "x" * 1025),
    ("CloseIncident", "resolution", "SOLVED"),
    ("CloseIncident", "comment", "\0"),
    ("PutSuppression", "suppression", "Nightly"),
    ("PutSuppression", "detector", "Fan out"),
    ("PutSuppression", "entity", "registry"),
    ("PutSuppression", "entity", "key/1"),
    ("PutSuppression", "entity", "principal/"),
    ("PutSuppression", "until", "never"),
    ("PutSuppression", "comment", "x" * 1025),
    ("CreateGrant", "grantee", ""),
    ("CreateGrant", "verbs", []),
    ("CreateGrant", "verbs", ["DestroyKey"]),
    ("CreateGrant", "verbs", ["RotateKey"]),
    ("CreateGrant", "verbs", ["ImportKeyMaterial"]),
    ("CreateGrant", "verbs", ["MarkKeyCompromised"]),
    ("CreateGrant", "verbs", ["Encrypt"] * 21),
    ("CreateGrant", "algorithms", []),
    ("CreateGrant", "algorithms", ["RSAES_PKCS1_V1_5"]),
    ("CreateGrant", "algorithms", ["ECDH"] * 21),
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
    ("UpdateKeyValidity", "not_before", "always"),
    ("UpdateKeyValidity", "not_after", "2027-01-31T12:00:00Z"),
    ("UpdateKeyValidity", "not_after", 0),
    ("EnableKeyRotation", "rotation_period_seconds", 0),
    ("EnableKeyRotation", "rotation_period_seconds", 2560 * 86_400 + 1),
    ("EnableKeyRotation", "rotation_period_seconds", 86_400.0),
    ("DisableKeyVersion", "version", 0),
    ("DisableKeyVersion", "version", -1),
    ("DisableKeyVersion", "version", 2**32),
    ("DisableKeyVersion", "version", "1"),
    ("DisableKeyVersion", "version", True),
    ("DisableKeyVersion", "reason", "x" * 1025),
    ("EnableKeyVersion", "version", 0),
    ("DestroyKeyVersion", "version", 2**32),
    ("MarkKeyCompromised", "versions", []),
    ("MarkKeyCompromised", "versions", [0]),
    ("MarkKeyCompromised", "versions", [1] * 1001),
    ("MarkKeyCompromised", "versions", 1),
    ("MarkKeyCompromised", "occurred_at", "yesterday"),
    ("MarkKeyCompromised", "reason", "\0"),
    ("GetPublicKey", "key_version", 0),
    ("GetPublicKey", "key_version", 2**32),
    ("GetParametersForImport", "wrapping_algorithm", "RSAES_PKCS1_V1_5"),
    ("GetParametersForImport", "wrapping_algorithm", "RSAES_OAEP_SHA_1"),
    ("GetParametersForImport", "wrapping_key_spec", "RSA_2048"),
    ("GetParametersForImport", "key_version", 0),
    ("ImportKeyMaterial", "import_token", ""),
    ("ImportKeyMaterial", "import_token", UUID.upper()),
    ("ImportKeyMaterial", "valid_to", "never"),
    ("DeleteImportedKeyMaterial", "key_version", 0),
    ("DeleteImportedKeyMaterial", "cause", "compromise"),
    ("ReEncryptFrom", "destination_key_id", "x"),
    ("ReEncryptTo", "source_key_id", f"key/{UUID}"),
    ("Decrypt with RSA", "encryption_algorithm", "RSAES_PKCS1_V1_5"),
    ("Decrypt with RSA", "key_version", 0),
    ("Sign", "signing_algorithm", "ECDSA_SHA_1"),
    ("Sign", "signing_algorithm", "HMAC_SHA_256"),
    ("Sign", "message_type", "digest"),
    ("Verify", "signing_algorithm", "RSASSA_PKCS1_V1_5_SHA_1"),
    ("Verify", "key_version", 2**32),
    ("GenerateMac", "mac_algorithm", "HMAC_SHA_1"),
    ("GenerateMac", "mac_algorithm", "ECDSA_SHA_256"),
    ("VerifyMac", "key_version", 0),
    ("DeriveSharedSecret", "key_agreement_algorithm", "DH"),
    ("Encapsulate", "key_encapsulation_algorithm", "ML_KEM_768"),
    ("Decapsulate", "key_version", "1"),
    ("GenerateDataKeyPair", "key_pair_spec", "SYMMETRIC_DEFAULT"),
    ("GenerateDataKeyPair", "key_pair_spec", "ML_DSA_65"),
    ("GenerateDataKeyPairWithoutPlaintext", "key_pair_spec", "RSA_1024"),
    ("EndStorageEpoch", "epoch", 0),
    ("EndStorageEpoch", "epoch", 2**32),
    ("EndStorageEpoch", "evidence", []),
    ("EndStorageEpoch", "evidence", [{"partition": -1, "offset": 0}]),
    ("EndStorageEpoch", "evidence", [{"partition": 0, "offset": -1}]),
    ("EndStorageEpoch", "evidence", [{"partition": 0}]),
    ("EndStorageEpoch", "evidence", [{"partition": 0, "offset": 0, "more": 1}]),
    ("EndStorageEpoch", "evidence", {"0": 10}),
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
    "AcknowledgeIncident": {"incident"},
    "CloseIncident": {"incident", "resolution"},
    "PutSuppression": {"suppression", "until"},
    "ProposeCommand": {"verb", "expires_at"},
    "ApproveProposal": {"proposal", "digest"},
    "DenyProposal": {"proposal", "digest"},
    "CreateKey for signatures": set(),
    "UpdateKeyValidity": set(),
    "EnableKeyRotation": {"rotation_period_seconds"},
    "DisableKeyVersion": {"version"},
    "EnableKeyVersion": {"version"},
    "DestroyKeyVersion": {"version"},
    "MarkKeyCompromised": {"occurred_at"},
    "GetPublicKey": set(),
    "GetParametersForImport": set(),
    "ImportKeyMaterial": {"import_token"},
    "DeleteImportedKeyMaterial": set(),
    "Decrypt with RSA": set(),
    "ReEncryptFrom": {"destination_key_id"},
    "ReEncryptTo": {"source_key_id"},
    "Sign": {"signing_algorithm"},
    "Verify": {"signing_algorithm"},
    "GenerateMac": {"mac_algorithm"},
    "VerifyMac": {"mac_algorithm"},
    "DeriveSharedSecret": set(),
    "Encapsulate": set(),
    "Decapsulate": set(),
    "GenerateDataKeyPair": {"key_pair_spec"},
    "GenerateDataKeyPairWithoutPlaintext": {"key_pair_spec"},
    "EndStorageEpoch": {"epoch", "evidence"},
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
    uses = {model.verb for model in commands.COMMANDS if model.data_plane} - {"GenerateRandom", "ImportKeyMaterial"}
    assert set(arguments.GrantVerb.__args__) == uses | {"CreateGrant", "GetPublicKey"}


def test_grants_can_name_every_algorithm(document: Callable[..., dict[str, Any]]) -> None:
    """What a grant may be restricted to is every algorithm that some key has, each by its own name."""
    for algorithm in {name for names in specs.ALGORITHMS.values() for name in names}:
        assert parse(document("CreateGrant", data__arguments__algorithms=[algorithm])).algorithms == [algorithm]


def test_validity_tells_no_change_from_no_bound(document: Callable[..., dict[str, Any]]) -> None:
    """A bound that is left out or null stays as it is; `never` takes it away."""
    made = parse(document("UpdateKeyValidity without an end"))
    assert (made.not_before, made.not_after) == (None, "never")
    made = parse(document("UpdateKeyValidity", data__arguments={}))
    assert (made.not_before, made.not_after) == (None, None)


@pytest.mark.parametrize("days", [1, 90, 2560])
def test_rotation_periods(document: Callable[..., dict[str, Any]], days: int) -> None:
    """A period is a number of seconds up to 2560 days; that 90 days are the least depends on the deployment."""
    seconds = {"rotation_period_seconds": days * 86_400}
    for verb in ("CreateKey", "EnableKeyRotation"):
        assert parse(document(verb, data__arguments=seconds)).rotation_period_seconds == days * 86_400


def test_defaults_of_keys(document: Callable[..., dict[str, Any]]) -> None:
    """A key that is asked for without words is symmetric, made here, in the token, with no bounds of time."""
    key = parse(document("CreateKey", data__arguments={}))
    assert (key.key_spec, key.key_usage, key.origin, key.protection) == ("SYMMETRIC_DEFAULT", None, "KEYFOLD", "HSM")
    assert (key.not_before, key.not_after, key.rotation_period_seconds) == (None, None, None)
    wrapping = parse(document("GetParametersForImport", data__arguments={}))
    assert (wrapping.wrapping_algorithm, wrapping.wrapping_key_spec) == ("RSA_AES_KEY_WRAP_SHA_256", "RSA_4096")
    assert parse(document("DeleteImportedKeyMaterial", data__arguments={})).cause == "requested"
    assert parse(document("MarkKeyCompromised in all versions")).versions is None
    for verb in ("GetPublicKey", "GetParametersForImport", "DeleteImportedKeyMaterial", "Decrypt", "Decapsulate"):
        assert parse(document(verb, data__arguments={})).key_version is None
    assert parse(document("Sign", data__arguments={"signing_algorithm": "ECDSA_SHA_256"})).message_type == "RAW"


def test_symmetric_algorithms_of_tokens_are_unknown() -> None:
    """No algorithm under a shared secret, and not `none`, can be named for tokens."""
    assert not {name for name in arguments.JwsAlgorithm.__args__ if name.startswith("HS") or name == "none"}
