"""One valid example of every command and of every event, made from fixed seeds.

`scripts/vectors` writes them down as golden vectors. The commands are really signed and the events' decisions really
hold those commands, so each decision can be checked against its principal. Variants show what is optional. Nothing
here is a secret: every private key is SHA-256 of a sentence. Who may do what is in `governance.py`, what key specs,
versions, import and storage epochs add in `keys.py`.
"""

import runpy
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from keyfold.events import commands, facts, signatures
from keyfold.events.strictjson import canonical

KEY_ID = "0193f3a0-7c00-7000-8000-00000000000a"
SEALING_KEY = "0193f3a0-7c00-7000-8000-00000000000b"
OLD_SEALING_KEY = "0193f3a0-7c00-7000-8000-00000000000c"
TIME = "2026-01-31T12:00:00.000Z"
LATER = "2026-01-31T12:05:00.000Z"
KEY_STREAM = f"key/{KEY_ID}"
PRINCIPAL_STREAM = "principal/alice"
SEALED = b"sealed bodies are random; this stands for one"
CONTEXTS = [{"tenant": "blue", "naïve": "Ünïcode 🔑"}, {}]

_DATA_PLANE: dict[str, Any] = {"contexts": CONTEXTS, "items": 3, "bytes": 11}
_ALIAS = {"alias": "alias/orders", "key_id": KEY_ID}
_TAGS = {"cost-centre": "4711"}


def seed(name: str) -> bytes:
    """Return the private key of a name."""
    return sha256(f"keyfold example key: {name}".encode()).digest()


def signer(name: str, algorithm: signatures.SignatureAlgorithm = "Ed25519") -> signatures.Signer:
    """Return the example signing key of a name."""
    return signatures.Signer(seed(name), algorithm)


def command_id(name: str) -> str:
    """Return the id of an example's command."""
    return "0193f3a0-7c00-7000-8000-" + sha256(name.encode()).hexdigest()[:12]


ROOT, POLICY, HSM, ALICE, BOB = (signer(name) for name in ("root", "policy", "hsm", "alice", "bob"))
DEPLOYMENT = ROOT.fingerprint

ARGUMENTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "CreateKey": (
        KEY_STREAM,
        {"key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM", "description": "Orders, 注文", "tags": _TAGS},
        {"min_registry_revision": 7},
    ),
    "RotateKey": (KEY_STREAM, {}, {}),
    "EnableKey": (KEY_STREAM, {}, {}),
    "DisableKey": (KEY_STREAM, {"reason": "audit"}, {}),
    "ScheduleKeyDeletion": (KEY_STREAM, {"pending_window_seconds": 604_800}, {}),
    "CancelKeyDeletion": (KEY_STREAM, {}, {}),
    "DestroyKey": (KEY_STREAM, {}, {}),
    "Encrypt": (KEY_STREAM, {}, _DATA_PLANE | {"alias": "alias/orders"}),
    "Decrypt": (KEY_STREAM, {}, _DATA_PLANE | {"retry_of": "0193f3a0-7c00-7000-8000-0000000000ff"}),
    "ReEncrypt": (KEY_STREAM, {"destination": [1, 0]}, _DATA_PLANE),
    "GenerateDataKey": (KEY_STREAM, {"number_of_bytes": 64}, _DATA_PLANE),
    "GenerateDataKeyWithoutPlaintext": (KEY_STREAM, {"number_of_bytes": 32}, _DATA_PLANE),
    "GenerateRandom": (PRINCIPAL_STREAM, {"number_of_bytes": 32}, _DATA_PLANE | {"contexts": [{}]}),
    "CreateAlias": ("registry", _ALIAS, {}),
    "UpdateAlias": ("registry", _ALIAS, {}),
    "DeleteAlias": ("registry", {"alias": "alias/orders"}, {}),
    "RegisterPrincipal": (
        "registry",
        {
            "principal": "bob",
            "public_key": BOB.public_key.hex(),
            "algorithm": "Ed25519",
            "groups": ["readers"],
            "tags": _TAGS,
        },
        {},
    ),
    "RevokePrincipal": ("registry", {"principal": "bob"}, {}),
    "PutPolicy": (KEY_STREAM, {"policy": "readers-use", "text": "permit (principal, action, resource);"}, {}),
    "DeletePolicy": ("registry", {"policy": "readers-use"}, {}),
    "RotateSealingKey": ("registry", {}, {}),
    "EraseSealingKey": ("registry", {"sealing_key": OLD_SEALING_KEY}, {}),
}


def command_document(name: str) -> dict[str, Any]:
    """Return the document of an example, of a verb or a variant."""
    stream, arguments, more = (ARGUMENTS | VARIANTS)[name]
    principal = more.get("principal", "alice")
    data = {
        "principal": principal,
        "signing_key": signer(principal).fingerprint,
        "sealing_key": SEALING_KEY,
        "expires_at": LATER,
        "reply": {"topic": "keyfold.replies", "partition": 1, "correlation_id": f"example:{name.replace(' ', '-')}"},
        **more,
        "arguments": arguments,
    }
    return {
        "specversion": "1.0",
        "id": command_id(name),
        "source": f"principal/{principal}",
        "type": commands.type_of(name.partition(" ")[0]),
        "subject": stream,
        "time": TIME,
        "datacontenttype": "application/json",
        "data": data,
    }


def command_example(name: str) -> dict[str, str]:
    """Return record key, value, sealed body and signature of an example, of a verb or a variant."""
    document = command_document(name)
    key, value = document["subject"].encode(), canonical(document)
    message = signatures.command_message(DEPLOYMENT, key, value, SEALED)
    return {
        "record_key": document["subject"],
        "value": value.decode(),
        "digest": sha256(value).hexdigest(),
        "sealed_hex": SEALED.hex(),
        "message_hex": message.hex(),
        "signature_hex": signer(document["data"]["principal"]).sign(message).hex(),
    }


def _digest(name: str) -> str:
    return command_example(name)["digest"]


def _proposal(name: str) -> facts.ProposalUse:
    example = command_example(name)
    return facts.ProposalUse(
        proposal=command_id(name),
        command=example["value"],
        body_digest=sha256(SEALED).hexdigest(),
        signature=example["signature_hex"],
        approvers=["carol"],
    )


_GIVEN = SimpleNamespace(
    TIME=TIME,
    LATER=LATER,
    KEY_ID=KEY_ID,
    KEY_STREAM=KEY_STREAM,
    OLD_SEALING_KEY=OLD_SEALING_KEY,
    CONTEXTS=CONTEXTS,
    DATA_PLANE=_DATA_PLANE,
    signer=signer,
    command_id=command_id,
    digest=_digest,
    proposal=_proposal,
)
_GOVERNANCE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("governance.py"))))
_KEYS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("keys.py"))))
VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = _GOVERNANCE.variants(_GIVEN) | _KEYS.variants(_GIVEN)
ARGUMENTS |= _GOVERNANCE.arguments(_GIVEN) | _KEYS.arguments(_GIVEN)
for _name, _approval in _GOVERNANCE.approvals(_GIVEN).items():
    (VARIANTS if " " in _name else ARGUMENTS)[_name] = _approval


def decision(name: str, **more: Any) -> facts.Decision:
    """Return the decision on an example, of a verb or a variant."""
    example = command_example(name)
    return facts.Decision(
        command=example["value"],
        command_digest=example["digest"],
        body_digest=sha256(SEALED).hexdigest(),
        signature=example["signature_hex"],
        offset=41,
        policies=["administrators"],
        registry_revision=7,
        facts_n=3,
        registry_n=0 if example["record_key"] == "registry" else 19,
        root_n=1,
        **more,
    )


def _outcome(name: str) -> dict[str, Any]:
    return {
        "offset": 41,
        "command_id": command_id(name),
        "command_digest": _digest(name),
        "principal": "alice",
        "verb": name.partition(" ")[0],
    }


def _data(kind: type[facts.Event], name: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return an event's data with its decision, or with what its outcome says of its command."""
    if issubclass(kind, facts.PolicyEvent):
        return {**data, "decision": decision(name, **data.get("decision", {}))}
    return {**_outcome(name), **data} if issubclass(kind, facts.Outcome) else data


def _policy_events() -> list[tuple[type[facts.Event], str, dict[str, Any]]]:
    def on_key(verb: str, /, **more: Any) -> dict[str, Any]:
        return {"decision": decision(verb), "key_id": KEY_ID, **more}

    spec: dict[str, Any] = {"key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM"}
    use = {"verb": "Encrypt", "principal": "alice", "key_version": 2, "protection": "HSM", "items": 3, "bytes": 11}
    bob = {"principal": "bob", "public_key": BOB.public_key.hex(), "algorithm": "Ed25519", "groups": ["readers"]}
    put = {"policy": "readers-use", "text": "permit (principal, action, resource);"}
    return [
        (facts.CommandAuthorized, KEY_STREAM, on_key("Encrypt", **use)),
        (
            facts.CommandDenied,
            KEY_STREAM,
            {"decision": decision("Decrypt"), "verb": "Decrypt", "principal": "alice", "code": "AccessDenied"},
        ),
        (
            facts.KeyCreated,
            KEY_STREAM,
            on_key("CreateKey", **spec, description="Orders, 注文", tags=_TAGS, created_by="alice"),
        ),
        (facts.KeyRotated, KEY_STREAM, on_key("RotateKey", **spec, version=2, cause="requested")),
        (facts.KeyEnabled, KEY_STREAM, on_key("EnableKey")),
        (facts.KeyDisabled, KEY_STREAM, on_key("DisableKey", reason="audit")),
        (facts.KeyDeletionScheduled, KEY_STREAM, on_key("ScheduleKeyDeletion", deletion_date=LATER)),
        (facts.KeyDeletionCancelled, KEY_STREAM, on_key("CancelKeyDeletion")),
        (facts.KeyDestroyed, KEY_STREAM, on_key("DestroyKey", versions=[1, 2])),
        (facts.AliasCreated, "registry", on_key("CreateAlias", alias="alias/orders")),
        (facts.AliasUpdated, "registry", on_key("UpdateAlias", alias="alias/orders")),
        (facts.AliasDeleted, "registry", {"decision": decision("DeleteAlias"), "alias": "alias/orders"}),
        (facts.PrincipalRegistered, "registry", {"decision": decision("RegisterPrincipal"), "tags": _TAGS, **bob}),
        (facts.PrincipalRevoked, "registry", {"decision": decision("RevokePrincipal"), "principal": "bob"}),
        (facts.PolicyPut, KEY_STREAM, {"decision": decision("PutPolicy"), **put}),
        (facts.PolicyDeleted, "registry", {"decision": decision("DeletePolicy"), "policy": "readers-use"}),
        *((kind, stream, _data(kind, name, data)) for kind, stream, name, data in _GOVERNANCE.events(_GIVEN)),
        (facts.UsageBudgetWarning, KEY_STREAM, _GOVERNANCE.warning(_GIVEN)),
    ]


def _hsm_events() -> list[tuple[type[facts.Event], str, dict[str, Any]]]:
    digest = sha256(b"an example").hexdigest()
    use = {"items": 3, "bytes": 11, "versions": {"2": 2}, "failures": {"InvalidCiphertext": [1]}, "mac": digest}
    material: dict[str, Any] = {"version": 1, "key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM"}
    pair = {"sealing_key": SEALING_KEY, "public_key": digest * 38}
    failed = {"key_id": KEY_ID, "code": "TokenUnavailable"}
    return [
        (facts.KeyUsed, KEY_STREAM, {**_outcome("Decrypt"), "key_id": KEY_ID, **use}),
        (
            facts.KeyMaterialGenerated,
            KEY_STREAM,
            {**_outcome("CreateKey"), "key_id": KEY_ID, **material, "blob_digest": digest},
        ),
        (facts.KeyUseCeased, KEY_STREAM, {**_outcome("DestroyKey"), "key_id": KEY_ID, "erased_versions": [1, 2]}),
        (
            facts.CommandCompleted,
            PRINCIPAL_STREAM,
            {**_outcome("GenerateRandom"), "items": 3, "bytes": 96, "mac": digest},
        ),
        (facts.OperationFailed, KEY_STREAM, {**_outcome("RotateKey"), **failed}),
        (facts.SealingKeyPublished, "registry", {**pair, "blob_digest": digest}),
        (facts.SealingKeyErased, "registry", {"sealing_key": OLD_SEALING_KEY}),
        (facts.KeyMaterialStored, KEY_STREAM, {"key_id": KEY_ID, **material, "blob": "YmxvYg=="}),
        (facts.KeyMaterialErased, KEY_STREAM, {"key_id": KEY_ID, "versions": [1, 2]}),
        (facts.SealingKeyStored, "registry", {**pair, "blob": "YmxvYg=="}),
        (facts.SealingKeyDeleted, "registry", {"sealing_key": OLD_SEALING_KEY}),
    ]


def _root_events() -> list[tuple[type[facts.Event], str, dict[str, Any]]]:
    def person(name: str, *groups: str) -> facts.InitialPrincipal:
        return facts.InitialPrincipal(principal=name, public_key=signer(name).public_key.hex(), groups=list(groups))

    genesis = {
        "root_public_key": ROOT.public_key.hex(),
        "partitions": 4,
        "development": True,
        "administrators": [person("alice", "administrators"), person("carol", "administrators")],
        "services": [person("scheduler", "services")],
        "policies": [facts.InitialPolicy(policy="administrators", text="permit (principal, action, resource);")],
    }
    certified = {
        "public_key": POLICY.public_key.hex(),
        "service": "policy",
        "topics": ["keyfold.events", "keyfold.authorized", "keyfold.policy-state"],
        "not_before": TIME,
        "not_after": "2026-05-01T12:00:00.000Z",
    }
    revoked = {"public_key": POLICY.public_key.hex(), "last_valid": {"keyfold.events/1": 17}}
    return [
        (facts.Genesis, "registry", genesis),
        (facts.ServiceKeyCertified, "registry", certified),
        (facts.ServiceKeyRevoked, "registry", revoked),
        (facts.PolicyReset, "registry", _GOVERNANCE.reset(_GIVEN)),
    ]


def events() -> list[facts.Event]:
    """Return one example of every event type, in the order of `facts.EVENT_TYPES`."""
    told = [(kind, stream, _data(kind, name, data)) for kind, stream, name, data in _KEYS.events(_GIVEN)]
    made = {
        kind: kind.new(f"{kind.type_name}/1", stream, TIME, **data)
        for kind, stream, data in (*_policy_events(), *_hsm_events(), *_root_events(), *told)
    }
    return [made[kind] for kind in facts.EVENT_TYPES]


def _certified_notary() -> dict[str, tuple[type[facts.Event], str, str | None, dict[str, Any]]]:
    certified = {
        "public_key": signer("notary").public_key.hex(),
        "service": "notary",
        "topics": ["keyfold.checkpoints", "keyfold.tiles", "keyfold.notary-state"],
        "not_before": TIME,
        "not_after": "2026-05-01T12:00:00.000Z",
        "checkpoint_key": (b"an ML-DSA-44 public key has this many bytes".ljust(1312, b".")).hex(),
    }
    return {"ServiceKeyCertified of a notary": (facts.ServiceKeyCertified, "registry", None, certified)}


def event_variants() -> dict[str, facts.Event]:
    """Return events that use what is optional, by name."""
    variants = _GOVERNANCE.event_variants(_GIVEN) | _KEYS.event_variants(_GIVEN) | _certified_notary()
    return {
        title: kind.new(f"{kind.type_name}/{number}", stream, TIME, **_data(kind, name, data))
        for number, (title, (kind, stream, name, data)) in enumerate(variants.items(), 2)
    }
