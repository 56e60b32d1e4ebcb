"""Deciding whether a principal may do what a command asks, from policies alone: default deny, `forbid` wins.

A verdict is a function of the request, the registry and nothing else. What was worked out is remembered: which
policies apply (a plan), and what they said about exactly those attributes that they ask for. What asks for the time or
for approvals is never remembered. No clock, no I/O, no threads: one processor owns an authorizer. Grants are not asked.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import cedarpy

from keyfold.deciding.cedar.evaluation import entities_of, evaluate
from keyfold.deciding.cedar.library import Library
from keyfold.deciding.cedar.lru import Lru
from keyfold.deciding.cedar.mentions import NOTHING
from keyfold.deciding.cedar.plans import Plan, Projection, creator_of, registered
from keyfold.deciding.cedar.requests import Request, Verdict
from keyfold.events.entities import DEPLOYMENT, Deployment, Entity, Principal

DEFAULT_DENIAL: Final = Verdict(allowed=False, policies=(), uncovered=(0,))
CACHE_SIZE: Final = 32_768
MAX_REMEMBERED: Final = 4_096  # characters of one context in the cache; a larger one is evaluated every time
ENTITY_TEXT: Final = 4_000_000  # characters


class Authorizer:
    """Evaluates requests. Memory is bounded: about `cache_size` plans, and as many kilobytes of verdicts at most."""

    def __init__(self, cache_size: int = CACHE_SIZE, library: Library | None = None) -> None:
        self._library = library or Library()
        self._revision: int | None = None
        self._plans: Lru[tuple[str, str, str], Plan] = Lru(cache_size)
        self._verdicts: Lru[tuple[Plan, Projection], Verdict] = Lru(cache_size)
        self._entities: Lru[Plan, cedarpy.Entities] = Lru(ENTITY_TEXT)

    def authorize(self, request: Request, registry: Mapping[str, Entity], revision: int) -> Verdict:
        """Decide. Every context must be allowed; the first that is forbidden, or in error, is the answer.

        Contexts that no policy permits are uncovered. They are found for all contexts, as a later one may be forbidden.

        `registry` has the registry's policies and principals under their entity names; its policies are read again
        when `revision`, the deployment's `policies_revision`, is not the last one.
        """
        if revision != self._revision:
            self._load(registry, revision)
        plan = self._plan(request, registry)
        constant = plan.constant
        if constant is not None:
            if not constant.uncovered or len(request.contexts) <= 1:
                return constant
            return _uncovered(plan, range(len(request.contexts)))
        target = None
        if plan.target and request.target != request.principal.principal:  # who is known already
            target = registered(request.target, registry)
        if len(request.contexts) > 1:
            return self._together(plan, request, target)
        return self._verdict(plan, request, request.contexts[0] if request.contexts else {}, target)

    def supposing(self, registry: Mapping[str, Entity]) -> "Authorizer":
        """Return an authorizer for a registry that may never be: for a question, not for keeping.

        It knows the texts that were read here and parses only others, and changes nothing here.
        """
        supposed = Authorizer(library=self._library.beside())
        deployment = registry.get(DEPLOYMENT)
        if isinstance(deployment, Deployment):
            supposed._load(registry, deployment.policies_revision)
        return supposed

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
        name = (request.principal.principal, request.action, request.resource_id)
        plan = self._plans.get(name)
        if plan is not None and plan.holds(request, registry):
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
        plan = Plan(request, policies, mentions, creator_of(request, registry) if mentions.creator else None)
        if unreadable:
            named = tuple(f"error:{name}" for name in unreadable)
            plan.constant = Verdict(allowed=False, policies=named, approvals=mentions.approvals)
        elif not policies:
            plan.constant = DEFAULT_DENIAL
        elif plan.independent():
            plan.constant = self._evaluate(plan, request, {}, None)
        return plan

    def _together(self, plan: Plan, request: Request, target: Principal | None) -> Verdict:
        """Decide on several contexts."""
        last: Verdict | None = None
        permits: set[str] = set()
        uncovered: list[int] = []
        for n, context in enumerate(request.contexts):
            verdict = self._verdict(plan, request, context, target)
            if verdict is last:
                continue
            if verdict.allowed:
                last = verdict
                permits.update(verdict.policies)
            elif verdict.uncovered:
                uncovered.append(n)
            else:
                return verdict
        if uncovered or last is None:
            return _uncovered(plan, uncovered)
        return last if len(permits) == len(last.policies) else Verdict(allowed=True, policies=tuple(sorted(permits)))

    def _verdict(self, plan: Plan, request: Request, context: Mapping[str, str], target: Principal | None) -> Verdict:
        """Decide on one context."""
        if plan.fresh:
            return self._evaluate(plan, request, context, target)
        asked = (plan, plan.projection(request, context, target))
        verdict = self._verdicts.get(asked)
        if verdict is None:
            verdict = self._evaluate(plan, request, context, target)
            size = sum(len(name) + len(value) for name, value in context.items())
            size += len(request.reason) + len(request.source)
            if size <= MAX_REMEMBERED:
                self._verdicts.put(asked, verdict, 1 + size // 1024)
        return verdict

    def _evaluate(self, plan: Plan, request: Request, context: Mapping[str, str], target: Principal | None) -> Verdict:
        entities = self._entities.get(plan)
        if entities is None:
            described = entities_of(request, plan.creator)
            entities = cedarpy.Entities.from_json_str(described)
            self._entities.put(plan, entities, len(described))
        return evaluate(request, self._library.set_of(plan.policies), plan.mentions, entities, context, target=target)


def _uncovered(plan: Plan, contexts: Iterable[int]) -> Verdict:
    return Verdict(False, (), tuple(contexts), plan.mentions.approvals)
