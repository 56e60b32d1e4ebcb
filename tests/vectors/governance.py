"""Examples of commands and events about who may do what, with budgets and incidents.

Part of `examples.py`, which gives the names (`given`), signs the commands and makes the decisions. A command is a
stream, arguments and other data; an event is a class, a stream, the name of its command and data without the decision.
"""

import json
from base64 import urlsafe_b64encode
from typing import Any

from keyfold.events import facts
from keyfold.events.identities import principal_name
from keyfold.events.times import to_milliseconds

Command = tuple[str, dict[str, Any], dict[str, Any]]
Event = tuple[type[facts.PolicyEvent], str, str, dict[str, Any]]
NEXT_MONTH = "2026-02-28T12:00:00.000Z"
ISSUER_URL = "https://id.acme.example"
SUBJECT = "repo:acme/orders:ref:refs/heads/main"
DEPLOYER = principal_name("acme", ISSUER_URL, SUBJECT)
PROPOSED_USE = "ProposeCommand of a use"
_TAGS = {"cost-centre": "4711"}
_CONTEXT = {"tenant": "blue"}
INCIDENT = "f3a1c2d4-5e6f-8a7b-9c8d-0e1f2a3b4c5d"
_CLOSED = {"incident": INCIDENT, "resolution": "FALSE_POSITIVE"}


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _jwk(signer: Any) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(signer.public_key)}


def key_set(given: Any) -> str:
    """Return the issuer's key set (RFC 7517, RFC 8037)."""
    return json.dumps({"keys": [_jwk(given.signer("issuer")) | {"kid": "2026-01", "alg": "EdDSA", "use": "sig"}]})


def token(given: Any) -> str:
    """Return a JWT of the issuer that binds the deployer's key by `cnf` (RFC 7519, RFC 7800)."""
    claims = {
        "iss": ISSUER_URL,
        "aud": "keyfold",
        "sub": SUBJECT,
        "iat": to_milliseconds(given.TIME) // 1000,
        "exp": to_milliseconds(given.LATER) // 1000,
        "jti": "token-1",
        "groups": ["Platform Team"],
        "repository": "acme/orders",
        "cnf": {"jwk": _jwk(given.signer(DEPLOYER))},
    }
    header = {"alg": "EdDSA", "kid": "2026-01", "typ": "JWT"}
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{_base64url(given.signer('issuer').sign(signed.encode()))}"


def _new_key(given: Any, name: str) -> dict[str, Any]:
    return {"public_key": given.signer(name).public_key.hex(), "algorithm": "Ed25519"}


def _issuer() -> dict[str, Any]:
    return {
        "issuer": "acme",
        "url": ISSUER_URL,
        "audience": "keyfold",
        "algorithms": ["EdDSA", "ES256"],
        "jwks_source": f"{ISSUER_URL}/jwks",
        "keys_lifetime_seconds": 86_400,
        "max_token_seconds": 3_600,
        "groups_claim": "groups",
        "groups": {"Platform Team": "operators"},
        "tags": {"repository": "repository"},
        "base_groups": ["federated"],
    }


def _limit() -> dict[str, Any]:
    return {
        "limit": "readers-rate",
        "kind": "rate",
        "unit": "items",
        "amount": 1_000,
        "period_seconds": 60,
        "burst": 2_000,
        "per": "principal",
        "group": "readers",
        "verbs": ["Decrypt", "Encrypt"],
    }


def _suppression() -> dict[str, Any]:
    return {
        "suppression": "nightly-export",
        "detector": "fan-out",
        "entity": "principal/bob",
        "until": NEXT_MONTH,
        "comment": "it reads every key",
    }


def _grant() -> dict[str, Any]:
    return {
        "grantee": "bob",
        "verbs": ["Decrypt", "CreateGrant"],
        "expires_at": NEXT_MONTH,
        "encryption_context_subset": _CONTEXT,
        "algorithms": ["SYMMETRIC_DEFAULT"],
        "max_operations": 100,
        "max_items": 1_000,
        "delegable": True,
        "retiring_principal": "carol",
    }


def arguments(given: Any) -> dict[str, Command]:
    """Return every verb's example but `approvals`."""
    grant, registry, key = given.command_id("CreateGrant"), "registry", given.KEY_STREAM
    bob = {"principal": "bob"}
    return {
        "DestroyKeyNow": (key, {}, {"reason": "the material is known to be out"}),
        "TagResource": (key, {"tags": _TAGS}, {}),
        "UntagResource": (key, {"tag_keys": ["cost-centre"]}, {}),
        "UpdateUsageBudget": (key, {"items": 1_000_000, "rotate_at_percent": 80}, {}),
        "CreateGrant": (key, _grant(), {}),
        "RetireGrant": (key, {"grant": grant}, {"principal": "bob"}),
        "RevokeGrant": (key, {"grant": grant}, {}),
        "UpdatePrincipal": (registry, {**bob, "groups": ["readers", "writers"], "expires_at": NEXT_MONTH}, {}),
        "SuspendPrincipal": (registry, {**bob, "reason": "on leave"}, {}),
        "ResumePrincipal": (registry, bob, {}),
        "AddSigningKey": (registry, {**bob, **_new_key(given, "bob 2"), "expires_at": NEXT_MONTH}, {}),
        "RotateSigningKey": (
            registry,
            {**bob, **_new_key(given, "bob 3"), "replaces": given.signer("bob").fingerprint},
            {"principal": "bob"},
        ),
        "RevokeSigningKey": (registry, {**bob, "signing_key": given.signer("bob 2").fingerprint}, {}),
        "AssumePrincipalWithWebIdentity": (
            registry,
            {"issuer": "acme", "token": token(given), **_new_key(given, DEPLOYER)},
            {"principal": DEPLOYER},
        ),
        "PutIssuer": (registry, _issuer(), {}),
        "DeleteIssuer": (registry, {"issuer": "acme"}, {}),
        "PutIssuerKeys": (registry, {"issuer": "acme", "jwks": key_set(given)}, {"principal": "scheduler"}),
        "PutLimit": (registry, _limit(), {}),
        "DeleteLimit": (registry, {"limit": "readers-rate"}, {}),
        "AcknowledgeIncident": (registry, {"incident": INCIDENT, "comment": "looking"}, {}),
        "CloseIncident": (registry, {**_CLOSED, "comment": "the nightly export ran twice"}, {}),
        "PutSuppression": (registry, _suppression(), {}),
        "DeleteSuppression": (registry, {"suppression": "nightly-export"}, {}),
        "ProposeCommand": (key, {"verb": "DestroyKeyNow", "arguments": {}, "expires_at": NEXT_MONTH}, {}),
        "CancelProposal": (key, {"proposal": given.command_id("ProposeCommand")}, {}),
    }


def approvals(given: Any) -> dict[str, Command]:
    """Return the examples that name what was proposed by its digest."""
    agreed = {"proposal": given.command_id("ProposeCommand"), "digest": given.digest("ProposeCommand")}
    use = {"proposal": given.command_id(PROPOSED_USE), "digest": given.digest(PROPOSED_USE)}
    return {
        "ApproveProposal": (given.KEY_STREAM, agreed, {"principal": "carol"}),
        "ApproveProposal of a use": (given.KEY_STREAM, use, {"principal": "carol"}),
        "DenyProposal": (given.KEY_STREAM, agreed, {"principal": "carol"}),
    }


def variants(given: Any) -> dict[str, Command]:
    """Return commands that use what is optional, by name; a name starts with the verb."""
    key, plane = given.KEY_STREAM, given.DATA_PLANE
    strong = given.signer("erin", "ML-DSA-65").public_key.hex()
    budget = {"usage_budget": 1_000_000, "rotate_at_percent": None}
    exact = {"grantee": "dave", "verbs": ["Decrypt"], "expires_at": NEXT_MONTH, "encryption_context_equals": _CONTEXT}
    quota = {"limit": "bob-quota", "kind": "quota", "amount": 50, "period_seconds": 86_400, "per": "key"}
    proposed = {"contexts": given.CONTEXTS, "items": 3, "bytes": 11}
    lasting = {"principal": "bob", "tags": {}, "expires_at": "never"}
    human = {"principal": "erin", "principal_type": "human", "expires_at": NEXT_MONTH}
    return {
        "CreateKey with a usage budget": (key, budget, {}),
        "RotateKey for its usage budget": (key, {"cause": "usage-budget"}, {"principal": "scheduler"}),
        "RegisterPrincipal with ML-DSA-65": ("registry", {**human, "public_key": strong, "algorithm": "ML-DSA-65"}, {}),
        "UpdatePrincipal without an end": ("registry", lasting, {}),
        "CreateGrant under a parent": (key, {**exact, "parent": given.command_id("CreateGrant")}, {"principal": "bob"}),
        "PutSuppression of a detector": ("registry", {"suppression": "s", "detector": "rate", "until": NEXT_MONTH}, {}),
        "PutLimit as a quota": ("registry", {**quota, "principal": "bob", "key_id": given.KEY_ID}, {}),
        PROPOSED_USE: (key, {"verb": "Decrypt", "expires_at": NEXT_MONTH, **proposed}, {}),
        "Decrypt as proposed": (key, {}, {**plane, "proposal": given.command_id(PROPOSED_USE)}),
        "Decrypt as a dry run": (key, {}, {**plane, "dry_run": True, "reason": "ticket 4711"}),
    }


def events(given: Any) -> list[Event]:
    """Return the example of every event that policy decides."""
    registry = "registry"
    bob = {"principal": "bob"}
    no_wishes = {"principal": None, "key_id": None}
    limit = no_wishes | _limit()
    token_says = {"groups": ["federated", "operators"], "tags": {"repository": "acme/orders"}, "token_id": "token-1"}
    federated = {"principal": DEPLOYER, "issuer": "acme", "token_subject": SUBJECT, "expires_at": given.LATER}
    return [
        (
            facts.PrincipalUpdated,
            registry,
            "UpdatePrincipal",
            {**bob, "groups": ["readers", "writers"], "tags": _TAGS, "expires_at": NEXT_MONTH},
        ),
        (facts.PrincipalSuspended, registry, "SuspendPrincipal", {**bob, "reason": "on leave"}),
        (facts.PrincipalResumed, registry, "ResumePrincipal", bob),
        (
            facts.SigningKeyAdded,
            registry,
            "AddSigningKey",
            {**bob, **_new_key(given, "bob 2"), "expires_at": NEXT_MONTH},
        ),
        (
            facts.SigningKeyRotated,
            registry,
            "RotateSigningKey",
            {**bob, **_new_key(given, "bob 3"), "replaces": given.signer("bob").fingerprint},
        ),
        (
            facts.SigningKeyRevoked,
            registry,
            "RevokeSigningKey",
            {**bob, "signing_key": given.signer("bob 2").fingerprint},
        ),
        (
            facts.PrincipalAuthenticated,
            registry,
            "AssumePrincipalWithWebIdentity",
            {**federated, **_new_key(given, DEPLOYER), **token_says},
        ),
        (facts.IssuerPut, registry, "PutIssuer", _issuer()),
        (facts.IssuerDeleted, registry, "DeleteIssuer", {"issuer": "acme"}),
        (
            facts.IssuerKeysPut,
            registry,
            "PutIssuerKeys",
            {"issuer": "acme", "jwks": key_set(given), "expires_at": "2026-02-01T12:00:00.000Z"},
        ),
        (facts.LimitPut, registry, "PutLimit", limit),
        (facts.LimitDeleted, registry, "DeleteLimit", {"limit": "readers-rate"}),
        (
            facts.IncidentAcknowledged,
            registry,
            "AcknowledgeIncident",
            {"incident": INCIDENT, "comment": "looking", "by": "alice"},
        ),
        (
            facts.IncidentClosed,
            registry,
            "CloseIncident",
            {**_CLOSED, "comment": "the nightly export ran twice", "by": "alice"},
        ),
        (facts.SuppressionPut, registry, "PutSuppression", {**_suppression(), "by": "alice"}),
        (facts.SuppressionDeleted, registry, "DeleteSuppression", {"suppression": "nightly-export"}),
        *_on_key(given),
    ]


def _on_key(given: Any) -> list[Event]:
    stream, key = given.KEY_STREAM, {"key_id": given.KEY_ID}
    grant = {**key, "grant": given.command_id("CreateGrant")}
    proposal, digest = {"proposal": given.command_id("ProposeCommand")}, {"digest": given.digest("ProposeCommand")}
    proposed = {"verb": "DestroyKeyNow", "proposer": "alice", "expires_at": NEXT_MONTH}
    approved = {"approver": "carol", "approvals": 1, "status": "Pending"}
    given_out = {**_grant(), "encryption_context_equals": None, "parent": None, "created_by": "alice"}
    dry = {"verb": "Decrypt", "principal": "alice", "would_be": facts.CommandAuthorized.type_name}
    return [
        (facts.DryRunSucceeded, stream, "Decrypt as a dry run", dry),
        (facts.KeyTagged, stream, "TagResource", {**key, "tags": _TAGS}),
        (facts.UsageBudgetUpdated, stream, "UpdateUsageBudget", {**key, "items": 1_000_000, "rotate_at_percent": 80}),
        (facts.GrantCreated, stream, "CreateGrant", {**grant, **given_out}),
        (facts.GrantRetired, stream, "RetireGrant", grant),
        (facts.GrantRevoked, stream, "RevokeGrant", grant),
        (facts.ProposalCreated, stream, "ProposeCommand", {**proposal, **digest, **proposed}),
        (facts.ProposalApproved, stream, "ApproveProposal", {**proposal, **digest, **approved}),
        (facts.ProposalDenied, stream, "DenyProposal", {**proposal, "approver": "carol"}),
        (facts.ProposalCancelled, stream, "CancelProposal", proposal),
    ]


def event_variants(given: Any) -> dict[str, Event]:
    """Return events that use what is optional, by name; a name starts with the class.

    `decision` in their data is what the decision has beside what every decision has.
    """
    key, erin = {"key_id": given.KEY_ID}, given.signer("erin", "ML-DSA-65").public_key.hex()
    use = {"verb": "Decrypt", "principal": "alice", "key_version": None, "protection": "HSM", "items": 3, "bytes": 11}
    strong = {"principal": "erin", "public_key": erin, "algorithm": "ML-DSA-65", "principal_type": "human"}
    failed = {"status": "Failed", "code": "InvalidState"}
    levels = {"bucket/rate/readers-rate/alice": 1_997_000, f"bucket/quota/alice-quota/alice/{given.KEY_ID}": 3}
    carried = {"proposal": given.proposal(PROPOSED_USE), "grant": given.command_id("CreateGrant"), "charges": levels}
    delegated = {"grant": given.command_id("CreateGrant under a parent"), "parent": given.command_id("CreateGrant")}
    no_bounds: dict[str, Any] = {"algorithms": None, "max_operations": None, "max_items": None, "delegable": False}
    exact = {"encryption_context_equals": _CONTEXT, "encryption_context_subset": None, "retiring_principal": None}
    who = {"grantee": "dave", "verbs": ["Decrypt"], "expires_at": NEXT_MONTH, "created_by": "bob"}

    def approved(name: str, **more: Any) -> dict[str, Any]:
        agreed = {"proposal": given.command_id(name), "digest": given.digest(name)}
        return {**agreed, "approver": "carol", "approvals": 2, **more}

    return {
        "CommandAuthorized as proposed, under a grant and a limit": (
            facts.CommandAuthorized,
            given.KEY_STREAM,
            "Decrypt as proposed",
            {**key, **use, "decision": carried},
        ),
        "KeyDestroyed by a proposal": (
            facts.KeyDestroyed,
            given.KEY_STREAM,
            "ApproveProposal",
            {**key, "versions": [1], "decision": {"proposal": given.proposal("ProposeCommand")}},
        ),
        "ProposalApproved for a use": (
            facts.ProposalApproved,
            given.KEY_STREAM,
            "ApproveProposal of a use",
            approved(PROPOSED_USE, status="Approved"),
        ),
        "ProposalApproved in vain": (
            facts.ProposalApproved,
            given.KEY_STREAM,
            "ApproveProposal",
            approved("ProposeCommand", **failed),
        ),
        "GrantCreated under a parent": (
            facts.GrantCreated,
            given.KEY_STREAM,
            "CreateGrant under a parent",
            {**key, **delegated, **no_bounds, **exact, **who},
        ),
        "PrincipalRegistered with ML-DSA-65": (
            facts.PrincipalRegistered,
            "registry",
            "RegisterPrincipal with ML-DSA-65",
            {**strong, "groups": [], "tags": {}, "expires_at": NEXT_MONTH},
        ),
    }


def warning(given: Any) -> dict[str, Any]:
    """Return the data of the example of a warning."""
    used = {"percent": 95, "protected_items": 950_003, "usage_budget": 1_000_000}
    return {"key_id": given.KEY_ID, "version": 2, "offset": 41, **used}


def reset(given: Any) -> dict[str, Any]:
    """Return the data of the example of a reset."""
    public_key = given.signer("alice 2").public_key.hex()
    restored = facts.InitialPrincipal(principal="alice", public_key=public_key, groups=["administrators"])
    return {
        "reason": "every policy forbids PutPolicy since this morning",
        "removed": ["readers-use"],
        "policies": [facts.InitialPolicy(policy="administrators", text="permit (principal, action, resource);")],
        "administrators": [restored],
        "revoked": ["bob"],
    }
