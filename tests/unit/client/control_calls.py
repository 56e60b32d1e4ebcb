"""A call of every control verb, and arguments that its command must have; where a reason counts, it is "because"."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from keyfold.events.arguments import EpochEvidence
from keyfold.events.signatures import Signer

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
KEY = "01890a5d-ac96-774b-bcce-b302099a8058"
PUBLIC = Signer(b"p" * 32).public_key
EARLIER = "1999-01-31T12:00:00.000Z"
LATER = "2999-01-31T12:00:00.000Z"
DIGEST = "ab" * 32
Call = Callable[..., Awaitable[Any]]
CALLS: dict[str, tuple[Call, dict[str, Any]]] = {
    "CreateKey": (
        lambda kms, **how: kms.create_key(
            key_spec="RSA_2048", key_usage="SIGN_VERIFY", origin="EXTERNAL", not_before=EARLIER, not_after=LATER,
            rotation_period=90, usage_budget=9, rotate_at_percent=None, tags={"a": "b"}, **how,
        ),
        {
            "key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY", "origin": "EXTERNAL", "not_before": EARLIER,
            "not_after": LATER, "rotation_period_seconds": 90 * 86_400, "usage_budget": 9, "rotate_at_percent": None,
            "tags": {"a": "b"}, "protection": "HSM",
        },
    ),
    "UpdateKeyValidity": (
        lambda kms, **how: kms.update_key_validity(KEY, not_before=LATER, not_after="never", **how),
        {"not_before": LATER, "not_after": "never"},
    ),
    "EnableKeyRotation": (
        lambda kms, **how: kms.enable_key_rotation(KEY, 90, **how), {"rotation_period_seconds": 90 * 86_400}
    ),
    "DisableKeyRotation": (lambda kms, **how: kms.disable_key_rotation(KEY, **how), {}),
    "DisableKeyVersion": (
        lambda kms, **how: kms.disable_key_version(KEY, 2, **how), {"version": 2, "reason": "because"}
    ),
    "EnableKeyVersion": (lambda kms, **how: kms.enable_key_version(KEY, 2, **how), {"version": 2}),
    "DestroyKeyVersion": (lambda kms, **how: kms.destroy_key_version(KEY, 2, **how), {"version": 2}),
    "MarkKeyCompromised": (
        lambda kms, **how: kms.mark_key_compromised(KEY, EARLIER, versions=[1, 2], rotate=False, **how),
        {"occurred_at": EARLIER, "versions": [1, 2], "reason": "because"},
    ),
    "GetPublicKey": (lambda kms, **how: kms.get_public_key(KEY, 2, **how), {"key_version": 2}),
    "GetParametersForImport": (
        lambda kms, **how: kms.get_parameters_for_import(
            KEY, version=2, wrapping_algorithm="RSAES_OAEP_SHA_256", wrapping_key_spec="RSA_3072", **how
        ),
        {"key_version": 2, "wrapping_algorithm": "RSAES_OAEP_SHA_256", "wrapping_key_spec": "RSA_3072"},
    ),
    "DeleteImportedKeyMaterial": (
        lambda kms, **how: kms.delete_imported_key_material(KEY, version=2, cause="expired", **how),
        {"key_version": 2, "cause": "expired"},
    ),
    "BeginStorageEpoch": (lambda kms, **how: kms.begin_storage_epoch(**how), {}),
    "EndStorageEpoch": (
        lambda kms, **how: kms.end_storage_epoch(1, [EpochEvidence(partition=0, offset=7)], **how),
        {"epoch": 1, "evidence": [{"partition": 0, "offset": 7}]},
    ),
    "RotateKey": (lambda kms, **how: kms.rotate_key(KEY, cause="usage-budget", **how), {"cause": "usage-budget"}),
    "EnableKey": (lambda kms, **how: kms.enable_key(KEY, **how), {}),
    "DisableKey": (lambda kms, **how: kms.disable_key(KEY, **how), {"reason": "because"}),
    "ScheduleKeyDeletion": (lambda kms, **how: kms.schedule_key_deletion(KEY, 7, **how), {}),
    "CancelKeyDeletion": (lambda kms, **how: kms.cancel_key_deletion(KEY, **how), {}),
    "DestroyKey": (lambda kms, **how: kms.destroy_key(KEY, **how), {}),
    "DestroyKeyNow": (lambda kms, **how: kms.destroy_key_now(KEY, **how), {}),
    "TagResource": (lambda kms, **how: kms.tag_key(KEY, {"team": "shop"}, **how), {"tags": {"team": "shop"}}),
    "UntagResource": (lambda kms, **how: kms.untag_key(KEY, ["team"], **how), {"tag_keys": ["team"]}),
    "UpdateUsageBudget": (
        lambda kms, **how: kms.update_usage_budget(KEY, 100, rotate_at_percent=90, **how),
        {"items": 100, "rotate_at_percent": 90},
    ),
    "CreateGrant": (
        lambda kms, **how: kms.create_grant(
            KEY, "bob", ["Decrypt"], expires_at=LATER, encryption_context_subset={"t": "7"}, max_items=5,
            algorithms=["SYMMETRIC_DEFAULT"], delegable=True, retiring_principal="carol", parent=ID, **how,
        ),
        {
            "grantee": "bob", "verbs": ["Decrypt"], "expires_at": LATER, "encryption_context_subset": {"t": "7"},
            "encryption_context_equals": None, "max_items": 5, "max_operations": None, "delegable": True,
            "retiring_principal": "carol", "parent": ID, "algorithms": ["SYMMETRIC_DEFAULT"],
        },
    ),
    "RetireGrant": (lambda kms, **how: kms.retire_grant(KEY, ID, **how), {"grant": ID}),
    "RevokeGrant": (lambda kms, **how: kms.revoke_grant(KEY, ID, **how), {"grant": ID}),
    "CreateAlias": (lambda kms, **how: kms.create_alias("alias/a", KEY, **how), {"alias": "alias/a", "key_id": KEY}),
    "UpdateAlias": (lambda kms, **how: kms.update_alias("alias/a", KEY, **how), {"alias": "alias/a", "key_id": KEY}),
    "DeleteAlias": (lambda kms, **how: kms.delete_alias("alias/a", **how), {"alias": "alias/a"}),
    "RegisterPrincipal": (
        lambda kms, **how: kms.register_principal(
            "bob", PUBLIC, groups=["ops"], tags={"t": "1"}, principal_type="human", expires_at=LATER, **how
        ),
        {
            "principal": "bob", "public_key": PUBLIC.hex(), "algorithm": "Ed25519", "groups": ["ops"],
            "tags": {"t": "1"}, "principal_type": "human", "expires_at": LATER,
        },
    ),
    "UpdatePrincipal": (
        lambda kms, **how: kms.update_principal("bob", groups=[], expires_at="never", **how),
        {"principal": "bob", "groups": [], "tags": None, "expires_at": "never"},
    ),
    "SuspendPrincipal": (
        lambda kms, **how: kms.suspend_principal("bob", **how), {"principal": "bob", "reason": "because"}
    ),
    "ResumePrincipal": (lambda kms, **how: kms.resume_principal("bob", **how), {"principal": "bob"}),
    "RevokePrincipal": (lambda kms, **how: kms.revoke_principal("bob", **how), {"principal": "bob"}),
    "AddSigningKey": (
        lambda kms, **how: kms.add_signing_key("bob", PUBLIC, expires_at=LATER, **how),
        {"principal": "bob", "public_key": PUBLIC.hex(), "expires_at": LATER},
    ),
    "RotateSigningKey": (
        lambda kms, **how: kms.rotate_signing_key("bob", PUBLIC, DIGEST, **how),
        {"principal": "bob", "public_key": PUBLIC.hex(), "replaces": DIGEST, "expires_at": None},
    ),
    "RevokeSigningKey": (
        lambda kms, **how: kms.revoke_signing_key("bob", DIGEST, **how), {"principal": "bob", "signing_key": DIGEST}
    ),
    "AssumePrincipalWithWebIdentity": (
        lambda kms, **how: kms.assume_principal_with_web_identity("ci", "a.b.c", **how),
        {"issuer": "ci", "token": "a.b.c"},
    ),
    "PutIssuer": (
        lambda kms, **how: kms.put_issuer(
            "ci", "https://ci.example", "keyfold", ["ES256"], jwks_source="ci.json", keys_lifetime_seconds=600,
            max_token_seconds=900, groups_claim="roles", groups={"dev": "builders"}, tags={"repo": "repository"},
            base_groups=["builds"], **how,
        ),
        {
            "issuer": "ci", "url": "https://ci.example", "audience": "keyfold", "algorithms": ["ES256"],
            "jwks_source": "ci.json", "keys_lifetime_seconds": 600, "max_token_seconds": 900, "groups_claim": "roles",
            "groups": {"dev": "builders"}, "tags": {"repo": "repository"}, "base_groups": ["builds"],
        },
    ),
    "DeleteIssuer": (lambda kms, **how: kms.delete_issuer("ci", **how), {"issuer": "ci"}),
    "PutIssuerKeys": (
        lambda kms, **how: kms.put_issuer_keys("ci", '{"keys":[]}', **how), {"issuer": "ci", "jwks": '{"keys":[]}'}
    ),
    "PutLimit": (
        lambda kms, **how: kms.put_limit(
            "l", "rate", 5, timedelta(minutes=1), unit="items", burst=7, per="key", principal="bob", group="ops",
            key=KEY, verbs=["Decrypt"], **how,
        ),
        {
            "limit": "l", "kind": "rate", "amount": 5, "period_seconds": 60, "unit": "items", "burst": 7, "per": "key",
            "principal": "bob", "group": "ops", "key_id": KEY, "verbs": ["Decrypt"],
        },
    ),
    "DeleteLimit": (lambda kms, **how: kms.delete_limit("l", **how), {"limit": "l"}),
    "AcknowledgeIncident": (
        lambda kms, **how: kms.acknowledge_incident(ID, "mine", **how), {"incident": ID, "comment": "mine"}
    ),
    "CloseIncident": (
        lambda kms, **how: kms.close_incident(ID, "FALSE_POSITIVE", **how),
        {"incident": ID, "resolution": "FALSE_POSITIVE", "comment": ""},
    ),
    "PutSuppression": (
        lambda kms, **how: kms.put_suppression("s", entity="principal/bob", until=LATER, **how),
        {"suppression": "s", "detector": None, "entity": "principal/bob", "until": LATER, "comment": ""},
    ),
    "DeleteSuppression": (lambda kms, **how: kms.delete_suppression("s", **how), {"suppression": "s"}),
    "PutPolicy": (lambda kms, **how: kms.put_policy("p", "permit();", **how), {"policy": "p", "text": "permit();"}),
    "DeletePolicy": (lambda kms, **how: kms.delete_policy("p", **how), {"policy": "p"}),
    "ProposeCommand": (
        lambda kms, **how: kms.propose("DisableKey", KEY, arguments={"reason": "x"}, expires_at=LATER, **how),
        {
            "verb": "DisableKey", "arguments": {"reason": "x"}, "expires_at": LATER, "contexts": None, "items": None,
            "bytes": None,
        },
    ),
    "ApproveProposal": (
        lambda kms, **how: kms.approve_proposal(ID, DIGEST, key=KEY, **how), {"proposal": ID, "digest": DIGEST}
    ),
    "DenyProposal": (
        lambda kms, **how: kms.deny_proposal(ID, DIGEST, key=KEY, **how), {"proposal": ID, "digest": DIGEST}
    ),
    "CancelProposal": (lambda kms, **how: kms.cancel_proposal(ID, **how), {"proposal": ID}),
    "RotateSealingKey": (lambda kms, **how: kms.rotate_sealing_key(**how), {}),
    "EraseSealingKey": (lambda kms, **how: kms.erase_sealing_key(ID, **how), {"sealing_key": ID}),
}  # fmt: skip
