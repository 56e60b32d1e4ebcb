"""Requests, keys and registries for the tests of Cedar, and the plain evaluation that the authorizer is held against.

`plainly` puts all policies into one set, from their text, and evaluates each context: no index, no cache, no JSON form.
"""

import json
from collections.abc import Mapping
from typing import Any

import cedarpy

from keyfold.deciding.cedar import Authorizer, Request, Verdict
from keyfold.events.entities import AttachedPolicy, Entity, Key, Principal, RegistryPolicy

AT = "2026-01-01T00:00:00.000Z"
K1 = "01890000-0000-7000-8000-000000000001"
K2 = "01890000-0000-7000-8000-000000000002"
MONDAY_NINE = 1_767_603_600_000  # 2026-01-05T09:00:00Z


def principal(name: str = "alice", groups: tuple[str, ...] = (), **tags: str) -> Principal:
    return Principal(
        principal=name, public_key="0" * 64, signing_key="0" * 64, groups=groups, tags=tags, registered_at=AT
    )


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
        "versions": (),
        "current_version": 1,
        "policies": tuple(AttachedPolicy(policy=f"p{n}", text=text) for n, text in enumerate(texts)),
        "policy_revision": revision,
    }
    return Key(key_id=key_id, **{**values, **changes})


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


def plainly(asked: Request, entities: Mapping[str, Entity]) -> bool:
    """Decide without any of the authorizer's machinery."""
    texts = [entity.text for entity in entities.values() if isinstance(entity, RegistryPolicy)]
    if asked.key is not None:
        texts += [attached.text for attached in asked.key.policies]
    policies = cedarpy.PolicySet.from_str("\n".join(texts))
    return all(_plainly(asked, policies, entities, context) for context in asked.contexts)


def _plainly(
    asked: Request, policies: cedarpy.PolicySet, entities: Mapping[str, Entity], context: Mapping[str, str]
) -> bool:
    hour = asked.now_ms // 3_600_000
    known = [_person(asked.principal), {"uid": _uid("EncryptionContext", "c"), "attrs": {}, "parents": []}]
    known[1]["tags"] = dict(context)
    resource = _uid("Key" if asked.is_key else "Registry", asked.resource_id)
    known.append({"uid": resource, "attrs": {}, "parents": []})
    if asked.key is not None:
        creator = entities.get(f"principal/{asked.key.created_by}")
        if isinstance(creator, Principal) and creator.principal != asked.principal.principal:
            known.append(_person(creator))
        attributes = {name: getattr(asked.key, name) for name in ("protection", "key_spec", "status")}
        attributes["created_by"] = {"__entity": _uid("Principal", asked.key.created_by)}
        known[2] |= {"attrs": attributes, "tags": asked.key.tags}
    result = cedarpy.is_authorized(
        {
            "principal": _uid("Principal", asked.principal.principal),
            "action": _uid("Action", asked.action),
            "resource": resource,
            "context": {
                "encryption_context": {"__entity": _uid("EncryptionContext", "c")},
                "items": asked.items,
                "bytes": asked.bytes,
                "time": {"epoch_seconds": asked.now_ms // 1000, "hour": hour % 24, "weekday": (hour // 24 + 3) % 7 + 1},
            },
        },
        policies,
        json.dumps(known),
    )
    return result.allowed and not result.diagnostics.errors


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _person(person: Principal) -> dict[str, Any]:
    parents = [_uid("Group", group) for group in person.groups]
    return {"uid": _uid("Principal", person.principal), "attrs": {}, "parents": parents, "tags": person.tags}
