"""How events about who may do what change entities: principals, issuers, policies, limits, grants.

Part of `evolve`, which says what all handlers promise. A handler reads only what it names: a view may be incomplete.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from keyfold.events import evolve_proposals, facts
from keyfold.events.entities import (
    DEPLOYMENT,
    AttachedPolicy,
    Bucket,
    Deployment,
    Grant,
    Grants,
    Issuer,
    Key,
    Limit,
    Principal,
    PrincipalKey,
    PrincipalStatus,
    RegistryPolicy,
    SigningKey,
    grants_name,
)
from keyfold.events.signatures import SignatureAlgorithm, fingerprint
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_milliseconds
from keyfold.events.view import Changes, View, get

MAX_REVOKED_KEYS: Final = 20


def initial_principal(initial: facts.InitialPrincipal, time: str) -> Changes:
    """Return who genesis or a reset registers, with its signing key's index."""
    key = principal_key(initial.public_key, "Ed25519", time, None)
    principal = Principal(
        principal=initial.principal, keys=(key,), groups=tuple(initial.groups), tags=initial.tags, registered_at=time
    )
    return _indexed(principal, key)


def principal_key(public_key: str, algorithm: SignatureAlgorithm, time: str, expires_at: str | None) -> PrincipalKey:
    """Return a signing key as a principal holds it."""
    name = fingerprint(bytes.fromhex(public_key))
    return PrincipalKey(
        signing_key=name, public_key=public_key, algorithm=algorithm, added_at=time, expires_at=expires_at
    )


def _indexed(principal: Principal, key: PrincipalKey) -> Changes:
    index = SigningKey(principal=principal.principal)
    return {f"principal/{principal.principal}": principal, f"signing-key/{key.signing_key}": index}


def _principal(view: View, event: Any) -> Principal:
    return get(view, f"principal/{event.data.principal}", Principal)


def _changed(principal: Principal, **update: Any) -> Changes:
    return {f"principal/{principal.principal}": principal.model_copy(update=update)}


def _principal_registered(_view: View, event: facts.PrincipalRegistered) -> Changes:
    data = event.data
    key = principal_key(data.public_key, data.algorithm, event.time, None)
    principal = Principal(
        principal=data.principal,
        principal_type=data.principal_type,
        keys=(key,),
        groups=tuple(data.groups),
        tags=data.tags,
        registered_at=event.time,
        expires_at=data.expires_at,
    )
    return _indexed(principal, key)


def _principal_updated(view: View, event: facts.PrincipalUpdated) -> Changes:
    data = event.data
    return _changed(_principal(view, event), groups=tuple(data.groups), tags=data.tags, expires_at=data.expires_at)


def _principal_status(status: PrincipalStatus) -> Callable[[View, Any], Changes]:
    def handler(view: View, event: facts.Event) -> Changes:
        return _changed(_principal(view, event), status=status, reason=getattr(event.data, "reason", ""))

    return handler


def _with_key(principal: Principal, key: PrincipalKey) -> Changes:
    kept = tuple(each for each in principal.keys if each.signing_key != key.signing_key)
    return _indexed(principal.model_copy(update={"keys": _bounded((*kept, key))}), key)


def _bounded(keys: tuple[PrincipalKey, ...]) -> tuple[PrincipalKey, ...]:
    """Keep the newest of the revoked keys only: a principal that rotates for ever must not outgrow its record.

    The index keeps the others, so that none of them is ever taken for another principal's.
    """
    revoked = [key.signing_key for key in keys if key.status == "Revoked"]
    dropped = set(revoked[:-MAX_REVOKED_KEYS])
    return tuple(key for key in keys if key.signing_key not in dropped)


def _without_key(principal: Principal, signing_key: str) -> Principal:
    """A revoked key stays in sight, so that who still signs with it is told why that is refused."""
    if principal.key(signing_key) is None:
        raise KeyError(f"principal/{principal.principal} signing key {signing_key}")
    keys = tuple(
        key.model_copy(update={"status": "Revoked"}) if key.signing_key == signing_key else key
        for key in principal.keys
    )
    return principal.model_copy(update={"keys": _bounded(keys)})


def _signing_key_added(view: View, event: facts.SigningKeyAdded) -> Changes:
    data = event.data
    key = principal_key(data.public_key, data.algorithm, event.time, data.expires_at)
    return _with_key(_principal(view, event), key)


def _signing_key_rotated(view: View, event: facts.SigningKeyRotated) -> Changes:
    data = event.data
    key = principal_key(data.public_key, data.algorithm, event.time, data.expires_at)
    return _with_key(_without_key(_principal(view, event), data.replaces), key)


def _signing_key_revoked(view: View, event: facts.SigningKeyRevoked) -> Changes:
    principal = _without_key(_principal(view, event), event.data.signing_key)
    return {f"principal/{principal.principal}": principal}


def with_token_key(
    principal: Principal, key: PrincipalKey, groups: tuple[str, ...], tags: dict[str, str], now_ms: int
) -> Principal:
    """Return an issuer's principal with the key that a token binds, and with the token's claims.

    Keys that are over make room, and so do those that came with other claims: so whatever a key may do was said by a
    token that binds it and lives; rights of one token are not lent to another's key, and do not outlast it.
    """
    same = (principal.groups, principal.tags) == (groups, tags)
    kept = (each for each in principal.keys if each.status == "Revoked" or (same and each.usable(now_ms)))
    keys = _bounded((*(each for each in kept if each.signing_key != key.signing_key), key))
    return principal.model_copy(update={"keys": keys, "groups": groups, "tags": tags})


def _principal_authenticated(view: View, event: facts.PrincipalAuthenticated) -> Changes:
    data = event.data
    name = f"principal/{data.principal}"
    key = principal_key(data.public_key, data.algorithm, event.time, data.expires_at)
    known = view.get(name)
    before = (
        known
        if isinstance(known, Principal)
        else Principal(
            principal=data.principal,
            principal_type="federated",
            keys=(),
            registered_at=event.time,
            issuer=data.issuer,
            token_subject=data.token_subject,
        )
    )
    after = with_token_key(before, key, tuple(data.groups), data.tags, to_milliseconds(event.time))
    gone = (each for each in before.keys if each.status == "Active" and after.key(each.signing_key) is None)
    return dict.fromkeys(_indexes(view, data.principal, gone)) | _indexed(after, key)


def _indexes(view: View, principal: str, keys: Iterable[PrincipalKey]) -> Iterator[str]:
    """Name the indexes that lead to this principal: root may have given a key to somebody else."""
    for key in keys:
        name = f"signing-key/{key.signing_key}"
        index = view.get(name)
        if isinstance(index, SigningKey) and index.principal == principal:
            yield name


def _issuer_put(view: View, event: facts.IssuerPut) -> Changes:
    data = event.data
    name = f"issuer/{data.issuer}"
    known = view.get(name)
    same = known if isinstance(known, Issuer) and known.url == data.url else None
    config = data.model_dump(exclude={"decision"}) | {
        "algorithms": tuple(data.algorithms),
        "base_groups": tuple(data.base_groups),
    }
    issuer = Issuer(
        **config,
        updated_at=event.time,
        jwks=same.jwks if same else None,
        keys_expire_at=same.keys_expire_at if same else None,
    )
    return {name: issuer}


def _issuer_deleted(_view: View, event: facts.IssuerDeleted) -> Changes:
    return {f"issuer/{event.data.issuer}": None}


def _issuer_keys_put(view: View, event: facts.IssuerKeysPut) -> Changes:
    name, data = f"issuer/{event.data.issuer}", event.data
    return {name: get(view, name, Issuer).model_copy(update={"jwks": data.jwks, "keys_expire_at": data.expires_at})}


def _policy_put(view: View, event: facts.PolicyPut) -> Changes:
    data = event.data
    if event.subject == REGISTRY:
        return {f"policy/{data.policy}": RegistryPolicy(policy=data.policy, text=data.text, updated_at=event.time)}
    key = get(view, event.subject, Key)
    others = [p for p in key.policies if p.policy != data.policy]
    policies = (*others, AttachedPolicy(policy=data.policy, text=data.text))
    return {event.subject: key.model_copy(update={"policies": policies, "policy_revision": key.policy_revision + 1})}


def _policy_deleted(view: View, event: facts.PolicyDeleted) -> Changes:
    if event.subject == REGISTRY:
        return {f"policy/{event.data.policy}": None}
    key = get(view, event.subject, Key)
    policies = tuple(p for p in key.policies if p.policy != event.data.policy)
    return {event.subject: key.model_copy(update={"policies": policies, "policy_revision": key.policy_revision + 1})}


def _policy_reset(view: View, event: facts.PolicyReset) -> Changes:
    """Root's word: what is put stands above what is removed, who is an administrator above who is revoked."""
    data = event.data
    changes: Changes = {f"policy/{name}": None for name in data.removed}
    for policy in data.policies:
        name = f"policy/{policy.policy}"
        changes[name] = RegistryPolicy(policy=policy.policy, text=policy.text, updated_at=event.time)
    for revoked in data.revoked:
        known = view.get(f"principal/{revoked}")
        if isinstance(known, Principal):
            changes |= _changed(known, status="Revoked", reason=data.reason)
    for initial in data.administrators:
        changes |= _restored(view, initial, event.time)
    deployment = get(view, DEPLOYMENT, Deployment)
    revisions = {"revision": deployment.revision + 1, "policies_revision": deployment.policies_revision + 1}
    changes[DEPLOYMENT] = deployment.model_copy(update=revisions)
    return changes


def _restored(view: View, initial: facts.InitialPrincipal, time: str) -> Changes:
    known = view.get(f"principal/{initial.principal}")
    if not isinstance(known, Principal):
        return initial_principal(initial, time)
    key = principal_key(initial.public_key, "Ed25519", time, None)
    update = {"status": "Active", "reason": "", "expires_at": None, "groups": tuple(initial.groups)}
    return _with_key(known.model_copy(update=update), key)


def _limit_put(view: View, event: facts.LimitPut) -> Changes:
    data = event.data
    config = data.model_dump(exclude={"decision", "kind"}) | {"verbs": tuple(data.verbs)}
    limit = Limit(**config, limit_kind=data.kind, updated_at=event.time)
    return {f"limit/{data.limit}": limit, DEPLOYMENT: _with_limits(view, {data.limit}, set())}


def _limit_deleted(view: View, event: facts.LimitDeleted) -> Changes:
    name = event.data.limit
    return {f"limit/{name}": None, DEPLOYMENT: _with_limits(view, set(), {name})}


def _with_limits(view: View, put: set[str], deleted: set[str]) -> Deployment:
    """The names of all limits stand in one place, because every command asks for them."""
    deployment = get(view, DEPLOYMENT, Deployment)
    return deployment.model_copy(update={"limits": tuple(sorted({*deployment.limits, *put} - deleted))})


def _grant_created(view: View, event: facts.GrantCreated) -> Changes:
    """What a delegated grant allows is taken out of its parent's allowance at once, used or not."""
    data = event.data
    config = data.model_dump(exclude={"decision"}) | {
        "verbs": tuple(data.verbs),
        "algorithms": None if data.algorithms is None else tuple(data.algorithms),
    }
    grant = Grant(**config, created_at=event.time)
    index = grants_name(data.key_id, data.grantee)
    known = view.get(index)
    earlier = _live_grants(view, known.grants, to_milliseconds(event.time)) if isinstance(known, Grants) else ()
    changes: Changes = {f"grant/{data.grant}": grant, index: Grants(grants=(*earlier, data.grant))}
    if data.parent is not None:
        parent = get(view, f"grant/{data.parent}", Grant)
        used = _used(parent, data.max_operations or 0, data.max_items or 0)
        changes[f"grant/{data.parent}"] = used
    return changes


def _live_grants(view: View, grants: tuple[str, ...], now_ms: int) -> tuple[str, ...]:
    """Forget in the index what has ended; the grants themselves stay."""
    known = ((name, view.get(f"grant/{name}")) for name in grants)
    return tuple(name for name, grant in known if isinstance(grant, Grant) and grant.live(now_ms))


def _used(grant: Grant, operations: int, items: int) -> Grant:
    update = {"used_operations": grant.used_operations + operations, "used_items": grant.used_items + items}
    return grant.model_copy(update=update)


def _grant_ended(status: str) -> Callable[[View, Any], Changes]:
    def handler(view: View, event: facts.GrantRetired | facts.GrantRevoked) -> Changes:
        name = f"grant/{event.data.grant}"
        return {name: get(view, name, Grant).model_copy(update={"status": status})}

    return handler


def consequences(view: View, event: facts.PolicyEvent) -> Changes:
    """Return what a decision changes beside its own fact: limits' levels, a grant's use, the executed proposal."""
    decision = event.data.decision
    changes: Changes = {name: Bucket(level=level, updated_at=event.time) for name, level in decision.charges.items()}
    if decision.grant is not None and isinstance(event, facts.CommandAuthorized):
        name = f"grant/{decision.grant}"
        changes[name] = _used(get(view, name, Grant), 1, event.data.items)
    if decision.proposal is not None and not isinstance(event, facts.CommandDenied | facts.DryRunSucceeded):
        changes |= evolve_proposals.executed(view, event, decision.proposal)
    return changes


HANDLERS: Final[dict[type[facts.Event], Callable[[View, Any], Changes]]] = {
    facts.PrincipalRegistered: _principal_registered,
    facts.PrincipalUpdated: _principal_updated,
    facts.PrincipalSuspended: _principal_status("Suspended"),
    facts.PrincipalResumed: _principal_status("Active"),
    facts.PrincipalRevoked: _principal_status("Revoked"),
    facts.SigningKeyAdded: _signing_key_added,
    facts.SigningKeyRotated: _signing_key_rotated,
    facts.SigningKeyRevoked: _signing_key_revoked,
    facts.PrincipalAuthenticated: _principal_authenticated,
    facts.IssuerPut: _issuer_put,
    facts.IssuerDeleted: _issuer_deleted,
    facts.IssuerKeysPut: _issuer_keys_put,
    facts.PolicyPut: _policy_put,
    facts.PolicyDeleted: _policy_deleted,
    facts.PolicyReset: _policy_reset,
    facts.LimitPut: _limit_put,
    facts.LimitDeleted: _limit_deleted,
    facts.GrantCreated: _grant_created,
    facts.GrantRetired: _grant_ended("Retired"),
    facts.GrantRevoked: _grant_ended("Revoked"),
    **evolve_proposals.HANDLERS,
}
