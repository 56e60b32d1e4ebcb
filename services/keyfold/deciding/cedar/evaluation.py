"""One evaluation by Cedar: entities and context in its JSON form, its answer as a verdict.

Fails closed: what Cedar cannot evaluate, in whole or in part, is a denial. Of a command, Cedar is told only what the
policies mention, so that a remembered verdict cannot depend on anything else. Nothing is remembered here.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import cedarpy

from keyfold.deciding.cedar.mentions import PLAIN, Mentions
from keyfold.deciding.cedar.requests import Request, Traits, Verdict
from keyfold.events.entities import Principal
from keyfold.events.times import HOUR_MS, SECOND_MS

_FAILED: Final = re.compile(r"error while evaluating policy `([^`]+)`")
_CONTEXT_ID: Final = {"type": "EncryptionContext", "id": "request"}
_THURSDAY: Final = 3  # 1970-01-01, counted from Monday as 0
REQUEST_ERROR: Final = "error:request"


def resource_of(request: Request) -> tuple[str, str]:
    """Return the type and id of what the request acts on."""
    return ("Key" if request.is_key else "Registry", request.resource_id)


def entities_of(request: Request, creator: Principal | None) -> str:
    """Describe what stays the same for all contexts of a request. `creator` is described too unless it is the caller.

    A key that does not exist has no attributes, so a policy that asks for one is in error, which is a denial.
    """
    kind, name = resource_of(request)
    resource: dict[str, Any] = {"uid": _uid(kind, name), "attrs": {}, "parents": []}
    key, creation = request.key, request.creation
    if key is not None:
        resource |= {"attrs": _key(request.traits(), key.created_by), "tags": key.tags}
    elif request.is_key and creation is not None:
        resource |= {"attrs": _key(request.traits(), request.principal.principal), "tags": creation.tags}
    people = [request.principal]
    if creator is not None and creator.principal != request.principal.principal:
        people.append(creator)
    return json.dumps([resource, *map(_person, people)])


def evaluate(
    request: Request,
    policies: cedarpy.PolicySet,
    mentions: Mentions,
    entities: cedarpy.Entities,
    context: Mapping[str, str],
    *,
    target: Principal | None,
) -> Verdict:
    """Evaluate one encryption context. Any error that Cedar reports makes it a denial.

    `target` is the registered principal that the request is about, unless it is the caller. A denial by default is one
    of an only context: number 0 is uncovered.
    """
    tags = context if mentions.tags is None else {tag: context[tag] for tag in mentions.tags if tag in context}
    described = [{"uid": _CONTEXT_ID, "attrs": {}, "parents": [], "tags": tags}]
    if target is not None:
        described.append(_person(target))
    kind, name = resource_of(request)
    asked = {
        "principal": _uid("Principal", request.principal.principal),
        "action": _uid("Action", request.action),
        "resource": _uid(kind, name),
        "context": json.dumps(_context(request, mentions)),
    }
    try:
        result = cedarpy.is_authorized(asked, policies, entities.with_added_json_str(json.dumps(described)))
    except ValueError:
        return Verdict(allowed=False, policies=(REQUEST_ERROR,), approvals=mentions.approvals)
    errors = {_failed(error) for error in result.diagnostics.errors}
    if result.allowed and not errors:
        return Verdict(allowed=True, policies=tuple(sorted(result.diagnostics.reasons)))
    reasons = () if result.allowed else result.diagnostics.reasons
    named = tuple(sorted({*reasons, *errors}))
    return Verdict(allowed=False, policies=named, uncovered=() if named else (0,), approvals=mentions.approvals)


def _context(request: Request, mentions: Mentions) -> dict[str, Any]:
    """Describe what the policies mention of a command. Protection, usage and origin are properties of the resource."""
    traits = request.traits()
    context: dict[str, Any] = {
        "encryption_context": {"__entity": _CONTEXT_ID},
        "protection": traits.protection,
        "key_usage": traits.key_usage,
        "origin": traits.origin,
        **{name: getattr(request, name) for name in PLAIN if getattr(mentions, name)},
    }
    if mentions.time:
        context["time"] = _time(request.now_ms)
    if mentions.target and request.target is not None:
        context["target"] = {"__entity": _uid("Principal", request.target)}
    if mentions.approvals:
        names = sorted(set(request.approvals))
        people = [{"__entity": _uid("Principal", name)} for name in names]
        context["approvals"] = {"count": len(people), "principals": people}
    return context


def _time(now_ms: int) -> dict[str, int]:
    hours = now_ms // HOUR_MS
    return {
        "epoch_seconds": now_ms // SECOND_MS,
        "hour": hours % 24,
        "weekday": (hours // 24 + _THURSDAY) % 7 + 1,
    }


def _failed(error: str) -> str:
    found = _FAILED.match(error)
    return f"error:{found[1]}" if found else REQUEST_ERROR


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _key(traits: Traits, created_by: str) -> dict[str, Any]:
    return {**traits._asdict(), "created_by": {"__entity": _uid("Principal", created_by)}}


def _person(principal: Principal) -> dict[str, Any]:
    return {
        "uid": _uid("Principal", principal.principal),
        "attrs": {"type": principal.principal_type},
        "parents": [_uid("Group", group) for group in principal.groups],
        "tags": principal.tags,
    }
