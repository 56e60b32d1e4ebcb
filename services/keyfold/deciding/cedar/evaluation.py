"""One evaluation by Cedar: entities and context in its JSON form, its answer as a verdict.

Fails closed: what Cedar cannot evaluate, in whole or in part, is a denial. Nothing is remembered here.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import cedarpy

from keyfold.deciding.cedar.requests import Request, Verdict
from keyfold.events.entities import Principal
from keyfold.events.times import HOUR_MS, SECOND_MS

_FAILED: Final = re.compile(r"error while evaluating policy `([^`]+)`")
_CONTEXT_ID: Final = {"type": "EncryptionContext", "id": "request"}
_THURSDAY: Final = 3  # 1970-01-01, counted from Monday as 0
REQUEST_ERROR: Final = Verdict(allowed=False, policies=("error:request",))


def resource_of(request: Request) -> tuple[str, str]:
    """Return the type and id of what the request acts on."""
    return ("Key" if request.is_key else "Registry", request.resource_id)


def entities_of(request: Request, creator: Principal | None) -> str:
    """Describe what stays the same for all contexts of a request. `creator` is described too unless it is the caller.

    A key that does not exist has no attributes, so a policy that asks for one is in error, which is a denial.
    """
    kind, name = resource_of(request)
    resource: dict[str, Any] = {"uid": _uid(kind, name), "attrs": {}, "parents": []}
    key = request.key
    if key is not None:
        resource["attrs"] = _key(key.protection, key.key_spec, key.status, key.created_by)
        resource["tags"] = key.tags
    elif request.is_key and request.creation is not None:
        protection, key_spec, tags = request.creation
        resource["attrs"] = _key(protection, key_spec, "Creating", request.principal.principal)
        resource["tags"] = tags
    people = [request.principal]
    if creator is not None and creator.principal != request.principal.principal:
        people.append(creator)
    return json.dumps([resource, *map(_person, people)])


def evaluate(
    request: Request, policies: cedarpy.PolicySet, entities: cedarpy.Entities, context: Mapping[str, str]
) -> Verdict:
    """Evaluate one encryption context. Any error that Cedar reports makes it a denial."""
    described = {"uid": _CONTEXT_ID, "attrs": {}, "parents": [], "tags": dict(context)}
    kind, name = resource_of(request)
    asked = {
        "principal": _uid("Principal", request.principal.principal),
        "action": _uid("Action", request.action),
        "resource": _uid(kind, name),
        "context": _context(request),
    }
    try:
        result = cedarpy.is_authorized(asked, policies, entities.with_added_json_str(json.dumps([described])))
    except ValueError:
        return REQUEST_ERROR
    errors = {_failed(error) for error in result.diagnostics.errors}
    if result.allowed and not errors:
        return Verdict(allowed=True, policies=tuple(sorted(result.diagnostics.reasons)))
    reasons = () if result.allowed else result.diagnostics.reasons
    return Verdict(allowed=False, policies=tuple(sorted({*reasons, *errors})))


def _context(request: Request) -> str:
    hours = request.now_ms // HOUR_MS
    return json.dumps(
        {
            "encryption_context": {"__entity": _CONTEXT_ID},
            "items": request.items,
            "bytes": request.bytes,
            "time": {
                "epoch_seconds": request.now_ms // SECOND_MS,
                "hour": hours % 24,
                "weekday": (hours // 24 + _THURSDAY) % 7 + 1,
            },
        }
    )


def _failed(error: str) -> str:
    found = _FAILED.match(error)
    return f"error:{found[1]}" if found else "error:request"


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _key(protection: str, key_spec: str, status: str, created_by: str) -> dict[str, Any]:
    creator = {"__entity": _uid("Principal", created_by)}
    return {"protection": protection, "key_spec": key_spec, "status": status, "created_by": creator}


def _person(principal: Principal) -> dict[str, Any]:
    return {
        "uid": _uid("Principal", principal.principal),
        "attrs": {},
        "parents": [_uid("Group", group) for group in principal.groups],
        "tags": principal.tags,
    }
