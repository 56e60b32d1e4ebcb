"""Deciding whether a principal may do what a command asks, from policies alone: default deny, `forbid` wins.

A verdict is a function of the request, the registry and nothing else. What was worked out is remembered: which
policies apply (a plan), and what they said about exactly those attributes that they ask for. What asks for the time is
never remembered. No clock, no I/O, no threads: one processor owns an authorizer.
"""

from collections.abc import Mapping
from typing import Final

import cedarpy

from keyfold.deciding.cedar.evaluation import entities_of, evaluate
from keyfold.deciding.cedar.library import Library
from keyfold.deciding.cedar.lru import Lru
from keyfold.deciding.cedar.mentions import NOTHING, Mentions
from keyfold.deciding.cedar.policies import Policy
from keyfold.deciding.cedar.requests import Request, Verdict
from keyfold.events.entities import Entity, Principal

DEFAULT_DENIAL: Final = Verdict(allowed=False, policies=())
CACHE_SIZE: Final = 32_768
MAX_REMEMBERED: Final = 4_096  # characters of one context in the cache; a larger one is evaluated every time
ENTITY_TEXT: Final = 4_000_000  # characters
_NO_CONTEXT: Final[tuple[Mapping[str, str], ...]] = ({},)

Slice = tuple[object, ...]
Projection = tuple[object, ...]


class Plan:
    """What is needed to decide for one principal, action and resource as they were when it was made."""

    __slots__ = ("about", "constant", "creator", "mentions", "policies", "resource", "tags", "timeless", "who")

    def __init__(
        self, request: Request, policies: tuple[Policy, ...], mentions: Mentions, creator: Principal | None
    ) -> None:
        self.who = (request.principal.groups, request.principal.tags)
        self.resource = _resource(request)
        self.policies = policies
        self.mentions = mentions
        self.tags = None if mentions.tags is None else tuple(sorted(mentions.tags))
        self.about = mentions.items or mentions.bytes
        self.timeless = not mentions.time
        self.creator = creator
        self.constant: Verdict | None = None


class Authorizer:
    """Evaluates requests. Memory is bounded: about `cache_size` plans, and as many kilobytes of verdicts at most."""

    def __init__(self, cache_size: int = CACHE_SIZE) -> None:
        self._library = Library()
        self._revision: int | None = None
        self._plans: Lru[tuple[str, str, str], Plan] = Lru(cache_size)
        self._verdicts: Lru[tuple[Plan, Projection], Verdict] = Lru(cache_size)
        self._entities: Lru[Plan, cedarpy.Entities] = Lru(ENTITY_TEXT)

    def authorize(self, request: Request, registry: Mapping[str, Entity], revision: int) -> Verdict:
        """Decide. Every context must be allowed; the first denial is the answer.

        `registry` has the registry's policies and principals under their entity names; its policies are read again
        when `revision`, the deployment's `policies_revision`, is not the last one.
        """
        if revision != self._revision:
            self._load(registry, revision)
        plan = self._plan(request, registry)
        if plan.constant is not None:
            return plan.constant
        first: Verdict | None = None
        others: set[str] | None = None
        for context in request.contexts or _NO_CONTEXT:
            verdict = self._verdict(plan, request, context)
            if not verdict.allowed:
                return verdict
            if first is None:
                first = verdict
            elif verdict is not first:
                others = (others or set()) | set(verdict.policies)
        if first is None or others is None:
            return first or DEFAULT_DENIAL
        return Verdict(allowed=True, policies=tuple(sorted(others.union(first.policies))))

    def forget(self) -> None:
        """Drop all that was read and remembered: needed when state that was decided on is rolled back.

        A rolled back `policies_revision` comes again, and may then stand for other policies.
        """
        self._revision = None

    def _load(self, registry: Mapping[str, Entity], revision: int) -> None:
        self._plans.clear()
        self._verdicts.clear()
        self._entities.clear()
        self._library.load(registry)
        self._revision = revision

    def _plan(self, request: Request, registry: Mapping[str, Entity]) -> Plan:
        principal = request.principal
        name = (principal.principal, request.action, request.resource_id)
        plan = self._plans.get(name)
        if (
            plan is not None
            and plan.who == (principal.groups, principal.tags)
            and plan.resource == _resource(request)
            and (not plan.mentions.creator or _same(plan.creator, _creator(request, registry)))
        ):
            return plan
        plan = self._make(request, registry)
        if request.key is not None or not request.is_key:  # a key that is not there yet is asked for once
            self._plans.put(name, plan)
        return plan

    def _make(self, request: Request, registry: Mapping[str, Entity]) -> Plan:
        policies, unreadable = self._library.applicable(request)
        mentions = NOTHING
        for policy in policies:
            mentions |= policy.mentions
        plan = Plan(request, policies, mentions, _creator(request, registry) if mentions.creator else None)
        if unreadable:
            plan.constant = Verdict(allowed=False, policies=tuple(f"error:{name}" for name in unreadable))
        elif not policies:
            plan.constant = DEFAULT_DENIAL
        elif mentions == NOTHING._replace(creator=mentions.creator):
            plan.constant = self._evaluate(plan, request, {})
        return plan

    def _verdict(self, plan: Plan, request: Request, context: Mapping[str, str]) -> Verdict:
        if not plan.timeless:
            return self._evaluate(plan, request, context)
        asked = (plan, _projection(plan, request, context))
        verdict = self._verdicts.get(asked)
        if verdict is None:
            verdict = self._evaluate(plan, request, context)
            size = sum(len(name) + len(value) for name, value in context.items())
            if size <= MAX_REMEMBERED:
                self._verdicts.put(asked, verdict, 1 + size // 1024)
        return verdict

    def _evaluate(self, plan: Plan, request: Request, context: Mapping[str, str]) -> Verdict:
        entities = self._entities.get(plan)
        if entities is None:
            described = entities_of(request, plan.creator)
            entities = cedarpy.Entities.from_json_str(described)
            self._entities.put(plan, entities, len(described))
        return evaluate(request, self._library.set_of(plan.policies), entities, context)


def _projection(plan: Plan, request: Request, context: Mapping[str, str]) -> Projection:
    """Take exactly what the plan's policies ask for."""
    tags = plan.tags
    asked: Projection = (frozenset(context.items()),) if tags is None else tuple(map(context.get, tags))
    if not plan.about:
        return asked
    mentions = plan.mentions
    return (*asked, request.items if mentions.items else None, request.bytes if mentions.bytes else None)


def _resource(request: Request) -> Slice:
    """Take of a resource what policies can ask for, and the revision of its own policies with their texts."""
    key = request.key
    if key is None:
        return (request.is_key, request.creation)
    return (key.status, key.policy_revision, key.policies, key.tags, key.protection, key.key_spec, key.created_by)


def _creator(request: Request, registry: Mapping[str, Entity]) -> Principal | None:
    if request.key is None:
        return None
    creator = registry.get(f"principal/{request.key.created_by}")
    return creator if isinstance(creator, Principal) else None


def _same(one: Principal | None, other: Principal | None) -> bool:
    return one is other or one == other
