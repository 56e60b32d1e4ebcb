"""Requests, keys and registries for the tests of Cedar, and the plain evaluation that the authorizer is held against.

`plainly` puts all policies into one set, from their text, and evaluates each context: no index, no cache, no JSON form.
"""

import json
from collections.abc import Mapping
from typing import Any

import cedarpy

from keyfold.deciding.cedar import Authorizer, Request, Verdict
from keyfold.events.entities import AttachedPolicy, Entity, Key, KeyVersion, Principal, PrincipalKey, RegistryPolicy

AT = "2026-01-01T00:00:00.000Z"
K1 = "01890000-0000-7000-8000-000000000001"
K2 = "01890000-0000-7000-8000-000000000002"
MONDAY_NINE = 1_767_603_600_000  # 2026-01-05T09:00:00Z
OWN = (
    "items", "bytes", "reason", "source", "cause", "algorithm", "message_type", "key_version", "destination",
    "proposes",
)  # fmt: skip
SIGNING_KEY = PrincipalKey(signing_key="0" * 64, public_key="0" * 64, algorithm="Ed25519", added_at=AT)


def principal(name: str = "alice", groups: tuple[str, ...] = (), **tags: str) -> Principal:
    return Principal(principal=name, keys=(SIGNING_KEY,), groups=groups, tags=tags, registered_at=AT)


def key(key_id: str = K1, *texts: str, revision: int = 0, **changes: Any) -> Key:
    """Make a key, with the texts as its own policies `p0`, `p1`, …"""
    values: dict[str, Any] = {
        "key_spec": "SYMMETRIC_DEFAULT",
        "protection": "HSM",
        "description": "",
        "tags": {},
        "status": "Enabled",
        "created_at": AT,
        "created_by": "bob",
        "versions": (KeyVersion(version=1, offset=0, created_at=AT),),
        "current_version": 1,
        "policies": tuple(AttachedPolicy(policy=f"p{n}", text=text) for n, text in enumerate(texts)),
        "policy_revision": revision,
    }
    return Key(key_id=key_id, **{**values, **changes})


def compromised(number: int = 1) -> KeyVersion:
    """Make a version that is marked as compromised."""
    return KeyVersion(version=number, offset=number, created_at=AT, compromised_at=AT, occurred_at=AT)


def request(action: str = "Encrypt", on: Key | None = None, **changes: Any) -> Request:
    """Make a request by alice: about the key, or about the registry without one."""
    values: dict[str, Any] = {
        "principal": principal(),
        "action": action,
        "key": on,
        "resource_id": "registry" if on is None else on.key_id,
        "is_key": on is not None,
        "creation": None,
        "contexts": [{}],
        "items": 1,
        "bytes": 16,
        "now_ms": MONDAY_NINE,
    }
    return Request(**{**values, **changes})


def registry(*texts: str, people: tuple[Principal, ...] = ()) -> dict[str, Entity]:
    """Make a registry with the texts as its policies `p0`, `p1`, …"""
    entities: dict[str, Entity] = {
        f"policy/p{n}": RegistryPolicy(policy=f"p{n}", text=text, updated_at=AT) for n, text in enumerate(texts)
    }
    return entities | {f"principal/{person.principal}": person for person in people}


def decide(asked: Request, *texts: str, people: tuple[Principal, ...] = ()) -> Verdict:
    """Decide with a fresh authorizer and these registry policies."""
    return Authorizer().authorize(asked, registry(*texts, people=people), 1)


def plainly(asked: Request, entities: Mapping[str, Entity]) -> tuple[bool, tuple[int, ...]]:
    """Decide without any of the authorizer's machinery: whether it is allowed, and which contexts are uncovered."""
    texts = [entity.text for entity in entities.values() if isinstance(entity, RegistryPolicy)]
    if asked.key is not None:
        texts += [attached.text for attached in asked.key.policies]
    policies = cedarpy.PolicySet.from_str("\n".join(texts))
    answers = [_plainly(asked, policies, entities, context) for context in asked.contexts or [{}]]
    uncovered = tuple(n for n, answer in enumerate(answers) if answer is None)
    return all(answers), () if False in answers else uncovered


def _plainly(
    asked: Request, policies: cedarpy.PolicySet, entities: Mapping[str, Entity], context: Mapping[str, str]
) -> bool | None:
    """Decide on one context: None when no policy says anything."""
    result = cedarpy.is_authorized(
        {
            "principal": _uid("Principal", asked.principal.principal),
            "action": _uid("Action", asked.action),
            "resource": _resource(asked)["uid"],
            "context": _context(asked),
        },
        policies,
        json.dumps([
            {"uid": _uid("EncryptionContext", "c"), "attrs": {}, "parents": [], "tags": dict(context)},
            _resource(asked),
            *map(_person, _people(asked, entities)),
        ]),
    )  # fmt: skip
    if result.diagnostics.errors or (result.diagnostics.reasons and not result.allowed):
        return False
    return result.allowed or None


def _people(asked: Request, entities: Mapping[str, Entity]) -> list[Principal]:
    """Return everybody who is registered, and the caller."""
    found = {entity.principal: entity for entity in entities.values() if isinstance(entity, Principal)}
    return list((found | {asked.principal.principal: asked.principal}).values())


def _resource(asked: Request) -> dict[str, Any]:
    described = {"uid": _uid("Key" if asked.is_key else "Registry", asked.resource_id), "attrs": {}, "parents": []}
    known = asked.key or asked.creation
    if known is not None:
        attributes = {name: getattr(known, name) for name in ("protection", "key_spec", "key_usage", "origin")}
        described |= {"attrs": attributes | _standing(asked), "tags": known.tags}
    return described


def _standing(asked: Request) -> dict[str, Any]:
    known = asked.key
    if known is None:
        creator = asked.principal.principal
        return {"status": "Creating", "compromised": False, "created_by": {"__entity": _uid("Principal", creator)}}
    return {
        "status": known.status if asked.status is None else asked.status,
        "compromised": known.versions[known.current_version - 1].compromised_at is not None,
        "created_by": {"__entity": _uid("Principal", known.created_by)},
    }


def _context(asked: Request) -> dict[str, Any]:
    hour = asked.now_ms // 3_600_000
    described: dict[str, Any] = {
        "encryption_context": {"__entity": _uid("EncryptionContext", "c")},
        **{name: getattr(asked, name) for name in OWN},
        **{name: getattr(asked.key or asked.creation, name, "") for name in ("protection", "key_usage", "origin")},
        "time": {"epoch_seconds": asked.now_ms // 1000, "hour": hour % 24, "weekday": (hour // 24 + 3) % 7 + 1},
        "approvals": {
            "count": len(asked.approvals),
            "principals": [{"__entity": _uid("Principal", name)} for name in asked.approvals],
        },
    }
    return described | ({"target": {"__entity": _uid("Principal", asked.target)}} if asked.target else {})


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _person(person: Principal) -> dict[str, Any]:
    parents = [_uid("Group", group) for group in person.groups]
    attributes = {"type": person.principal_type}
    return {"uid": _uid("Principal", person.principal), "attrs": attributes, "parents": parents, "tags": person.tags}
