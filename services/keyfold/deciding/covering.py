"""Whether policy texts alone permit what a principal did, and what other policies permit that it never did. Pure.

Grants, rights and the policies in force are not asked. What holds of keys is not asked either: a text that depends on
more than principal, verb, resource, encryption context and approvals is no suggestion, and is not judged here.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from keyfold.deciding.cedar import REGISTRY_ID, Authorizer, Request
from keyfold.deciding.cedar.policies import ANY, Part, Policy, read_policies
from keyfold.deciding.suggesting import Use
from keyfold.events.commands import BY_VERB
from keyfold.events.entities import Entity, Key, KeyVersion, Principal, RegistryPolicy
from keyfold.events.errors import InvalidPolicy

_NEVER: Final = "1970-01-01T00:00:00.000Z"


class Coverage:
    """Evaluates texts as if they were all the policies there are."""

    def __init__(self, principal: str, texts: Sequence[str]) -> None:
        self._principal = Principal(principal=principal, keys=(), registered_at=_NEVER)
        self._authorizer = Authorizer()
        self._registry: dict[str, Entity] = {
            f"policy/text-{n}": RegistryPolicy(policy=f"text-{n}", text=text, updated_at=_NEVER)
            for n, text in enumerate(texts)
        }

    def permits(self, use: Use) -> bool:
        """Tell whether the texts alone permit a use."""
        is_key = use.resource != REGISTRY_ID
        request = Request(
            principal=self._principal,
            action=use.verb,
            key=_key(use.resource) if is_key else None,
            resource_id=use.resource,
            is_key=is_key,
            creation=None,
            contexts=use.contexts,
            items=0,
            bytes=0,
            now_ms=0,
            approvals=use.approvals,
        )
        return self._authorizer.authorize(request, self._registry, 0).allowed


@lru_cache(maxsize=1024)
def _key(key_id: str) -> Key:
    """Return a key of which nothing is asked."""
    return Key(
        key_id=key_id,
        key_spec="SYMMETRIC_DEFAULT",
        protection="HSM",
        description="",
        tags={},
        status="Enabled",
        created_at=_NEVER,
        created_by="nobody",
        versions=(KeyVersion(version=1, offset=0, created_at=_NEVER),),
        current_version=1,
    )


class Unused(NamedTuple):
    """Verbs that a statement permits to a principal by its scope, and that it never used where the statement holds."""

    policy_id: str
    verbs: tuple[str, ...]
    wholly: bool


class Attached(NamedTuple):
    """A policy in force; `key_id` is None for one of the registry."""

    key_id: str | None
    policy: str
    text: str


def unused(policies: Iterable[Attached], principal: Principal, used: Collection[tuple[str, str]]) -> Iterator[Unused]:
    """Yield the permits that could be narrowed or dropped; `used` are resources and verbs.

    Conditions are not asked: a permit may be unused because its condition never held.
    """
    for attached in policies:
        for policy in _permits(attached):
            if not _names(policy.principal, principal):
                continue
            where = {verb for resource, verb in used if _matches(policy.resource, attached.key_id, resource)}
            verbs = _verbs(policy, attached.key_id)
            left = tuple(verb for verb in verbs if verb not in where)
            if left:
                yield Unused(policy.policy_id, left, len(left) == len(verbs))


def _permits(attached: Attached) -> list[Policy]:
    prefix = "registry" if attached.key_id is None else f"key/{attached.key_id}"
    try:
        read = read_policies(attached.text, f"{prefix}/{attached.policy}")
    except InvalidPolicy:
        return []
    return [policy for policy in read if json.loads(policy.document)["effect"] == "permit"]


def _names(scope: Part, principal: Principal) -> bool:
    return scope in {ANY, ("Principal", principal.principal), *(("Group", group) for group in principal.groups)}


def _matches(scope: Part, key_id: str | None, resource: str) -> bool:
    kind = "Registry" if resource == REGISTRY_ID else "Key"
    return scope in {ANY, (kind,), (kind, resource)} and key_id in {None, resource}


def _verbs(policy: Policy, key_id: str | None) -> list[str]:
    """Return the verbs that a statement names, or all that fit its resource."""
    named = [verb for action in policy.actions for verb in action]
    on_key = key_id is not None or policy.resource[:1] == ("Key",)
    on_registry = key_id is None and policy.resource[:1] == ("Registry",)
    kinds = {"key", "any"} if on_key else {"registry", "principal", "any"} if on_registry else None
    known = (verb for verb in named or BY_VERB if verb in BY_VERB)
    return sorted(verb for verb in known if kinds is None or BY_VERB[verb].scope in kinds)
