"""Simulating other policies over what happened: what would be denied, what would be allowed, what is not asked."""

import random
from dataclasses import replace
from typing import Any

import pytest
from tests.support.archive import ONLY_ADMINISTRATORS, Archive
from tests.support.people import RULES, START_MS
from tests.unit.deciding.replays import KEY_ID, ONE, asked, put, quiet, read, recorded

from keyfold.deciding.asking import questions, refused_before
from keyfold.deciding.cedar import Authorizer
from keyfold.deciding.simulating import Changed, Simulation
from keyfold.deciding.supposing import Proposed, Supposed
from keyfold.events import facts
from keyfold.events.entities import Entity, Key, RegistryPolicy
from keyfold.events.errors import InternalError
from keyfold.events.evolve import View
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text

FORBID_CAROL = 'forbid (principal == Principal::"carol", action == Action::"Encrypt", resource);'


def simulated(made: Archive, registry: dict[str, str] | None = None, **options: Any) -> Simulation:
    keys = options.pop("keys", {})
    simulation = Simulation(Proposed(registry or {}, keys, **options))
    for each in recorded(made):
        simulation.consider(each)
    return simulation


def told(simulation: Simulation) -> list[tuple[str, str, str, int]]:
    return [(each.change, each.principal, each.verb, each.count) for each in simulation.changed]


def used(rules: str = RULES) -> Archive:
    """A key that alice made and carol used twice, once in vain."""
    made = quiet(rules)
    asked(made, ("CreateKey", ONE, {}))
    asked(made, ("Encrypt", ONE, {}), ("Decrypt", ONE, {}), by="carol")
    made.now_ms += 1000
    asked(made, ("Encrypt", ONE, {}), by="carol")
    asked(made, ("DisableKey", ONE, {}))
    asked(made, ("Encrypt", ONE, {}), by="carol")
    return made


def test_nothing_proposed_changes_nothing() -> None:
    """With the policies that were in force, every answer is what it was; every decision is accounted for."""
    made = Archive(random.Random(14)).live(60)  # noqa: S311 - choices of a test
    simulation = simulated(made)
    totals = simulation.totals
    assert simulation.changed == []
    assert totals.decisions == made.decisions
    assert totals.unreadable == 0
    assert totals.authorizations >= totals.decisions - totals.dry_runs - totals.refused.total() > 50


def test_a_forbid_denies_what_was_allowed() -> None:
    """Also what was refused for the state of the key: it was authorized. With times, an example and the policy."""
    made = used()
    simulation = simulated(made, {"carol": FORBID_CAROL})
    first, last = (leaf.event for leaf in (made.log[1][1], made.log[1][5]))
    assert isinstance(last, facts.CommandDenied)
    assert simulation.changed == [
        Changed(
            "newly denied", "carol", "Encrypt", ONE, first.time, last.time, first.id, 3,
            {"registry/carol#0"}, {"AccessDenied"},
        )
    ]  # fmt: skip
    assert (simulation.totals.newly_denied, simulation.totals.newly_allowed) == (3, 0)


def test_a_permit_allows_what_was_denied() -> None:
    """What nothing permitted, by the policy that would."""
    simulation = simulated(used(ONLY_ADMINISTRATORS), {"open": "permit (principal, action, resource);"})
    assert told(simulation) == [
        ("newly allowed", "carol", "Encrypt", 3),
        ("newly allowed", "carol", "Decrypt", 1),
    ]
    assert simulation.changed[0].policies == {"registry/open#0"}
    assert simulation.changed[0].codes == set()


def test_proposed_policies_replace_those_of_the_same_name() -> None:
    """For the whole of the log; others stay, unless they are all."""
    made = used()
    assert told(simulated(made, {"rules": ONLY_ADMINISTRATORS})) == [
        ("newly denied", "carol", "Encrypt", 3),
        ("newly denied", "carol", "Decrypt", 1),
    ]
    assert told(simulated(made, {"rules": RULES})) == []
    alone = simulated(
        made, {"carol": 'permit (principal == Principal::"carol", action, resource);'}, instead_of_all=True
    )
    assert {each.principal for each in alone.changed} == {"alice"}
    assert all(each.policies == set() and each.change == "newly denied" for each in alone.changed)


def test_policies_of_a_key_count_for_it_only() -> None:
    """A key's own policies are in force from its creation on."""
    made = used()
    other = "01890000-0000-7000-8000-000000000009"
    assert told(simulated(made, keys={KEY_ID: {"p": FORBID_CAROL}})) == [("newly denied", "carol", "Encrypt", 3)]
    assert told(simulated(made, keys={other: {"p": FORBID_CAROL}})) == []
    asked(made, ("EnableKey", ONE, {}), put("p", FORBID_CAROL, ONE))
    asked(made, ("Encrypt", ONE, {}), by="carol")
    assert told(simulated(made, keys={KEY_ID: {"p": "permit (principal, action, resource);"}})) == [
        ("newly allowed", "carol", "Encrypt", 1)
    ]
    assert ("newly allowed", "carol", "Encrypt", 1) in told(simulated(made, {"rules": RULES}, instead_of_all=True))


def test_grants_are_asked_as_ever() -> None:
    """What a grant covers stays allowed when no policy permits it; a forbid ends that."""
    made = quiet(ONLY_ADMINISTRATORS)
    asked(made, ("CreateKey", ONE, {}))
    grant = {"grantee": "carol", "verbs": ["Encrypt"], "expires_at": "2027-01-01T00:00:00.000Z"}
    asked(made, ("CreateGrant", ONE, {"arguments": grant}))
    asked(made, ("Encrypt", ONE, {}), by="carol")
    assert told(simulated(made, {"rules": RULES})) == []
    assert told(simulated(made, {"carol": FORBID_CAROL})) == [("newly denied", "carol", "Encrypt", 1)]


def test_what_an_approval_carries_out_is_asked_for_its_author() -> None:
    """A larger quorum denies the proposed command, in the name of who proposed it, on the approval's event."""
    made = quiet()
    asked(made, ("CreateKey", ONE, {}))
    ends = {"expires_at": "2026-10-01T00:00:00.000Z"}
    asked(made, ("ProposeCommand", ONE, {"arguments": {"verb": "DestroyKeyNow", **ends}}))
    proposed = made.log[1][-1].event
    assert isinstance(proposed, facts.ProposalCreated)
    agreed = {"proposal": proposed.data.proposal, "digest": proposed.data.digest}
    asked(made, ("ApproveProposal", ONE, {"arguments": agreed}), by="bob")
    assert isinstance(made.log[1][-1].event, facts.KeyDestroyed)
    quorum = 'forbid (principal, action == Action::"DestroyKeyNow", resource) unless { context.approvals.count >= 2 };'
    simulation = simulated(made, {"quorum": quorum})
    assert told(simulation) == [("newly denied", "alice", "DestroyKeyNow", 1)]
    assert simulation.changed[0].codes == {"ApprovalRequired"}
    assert told(simulated(made, {"quorum": quorum.replace(">= 2", ">= 1")})) == []


def test_compromised_versions_are_asked_about_beside_the_verb() -> None:
    """A policy that takes the permission away changes that answer, not the verb's."""
    made = quiet()
    asked(made, ("CreateKey", ONE, {}), ("MarkKeyCompromised", ONE, {"arguments": {"occurred_at": to_text(START_MS)}}))
    asked(made, ("Decrypt", ONE, {}))
    asked(made, ("Decrypt", ONE, {}), by="carol")
    closed = 'forbid (principal, action == Action::"UseCompromisedVersion", resource);'
    simulation = simulated(made, {"closed": closed})
    assert told(simulation) == [("newly denied", "alice", "UseCompromisedVersion", 1)]
    assert simulation.changed[0].codes == {"KeyCompromised"}
    opened = closed.replace("forbid", "permit")
    assert told(simulated(made, {"opened": opened})) == [("newly allowed", "carol", "UseCompromisedVersion", 1)]


def test_what_is_not_asked_is_counted_apart() -> None:
    """Refused before authorization, dry runs, and what an error inside policy answered."""
    made = used()
    asked(made, ("Encrypt", ONE, {"items": 1001}), ("Encrypt", ONE, {"dry_run": True}), by="carol")
    asked(made, ("SuspendPrincipal", REGISTRY, {"arguments": {"principal": "carol"}}))
    read(made)
    asked(made, ("Encrypt", ONE, {}), by="carol")
    asked(made, ("Encrypt", ONE, {"proposal": "01890000-0000-7000-8000-000000000009"}))
    leaf = made.log[1][-1]
    broken = leaf.event.model_copy(update={"data": leaf.event.data.model_copy(update={"code": InternalError.code})})
    made.log[1].append(replace(leaf, position=leaf.position + 1, event=broken))
    totals = simulated(made, {"carol": FORBID_CAROL}).totals
    assert totals.refused == {"BatchTooLarge": 1, "PrincipalSuspended": 1, "NotFound": 1}
    assert (totals.dry_runs, totals.unreadable, totals.newly_denied) == (1, 1, 3)


def in_force(view: View, texts: dict[str, str]) -> dict[str, Entity]:
    """The same, spelled out: exactly these policies on the registry, none on keys."""
    entities: dict[str, Entity] = {}
    for name, entity in view.items():
        if isinstance(entity, Key):
            entities[name] = entity.model_copy(update={"policies": ()})
        elif not isinstance(entity, RegistryPolicy):
            entities[name] = entity
    return entities | {f"policy/{n}": RegistryPolicy(policy=n, text=t, updated_at="") for n, t in texts.items()}


@pytest.mark.parametrize("seed", [2, 14, 27])
def test_answers_are_those_of_a_registry_with_these_policies(seed: int) -> None:
    """Against each question asked of an authorizer that knows nothing, in a registry that is spelled out."""
    texts = {
        "a": 'permit (principal in Group::"administrators", action, resource) unless { context.items > 2 };',
        "b": 'permit (principal in Group::"readers", action, resource) when { context.approvals.count == 0 };',
        "c": FORBID_CAROL,
    }
    made = Archive(random.Random(seed)).live(50)  # noqa: S311 - choices of a test
    simulation, expected = Simulation(Proposed(texts, {}, instead_of_all=True)), {True: 0, False: 0}
    for each in recorded(made):
        simulation.consider(each)
        if isinstance(each.event, facts.DryRunSucceeded) or each.command.data.dry_run or refused_before(each):
            continue
        spelled = {"entities": in_force(each.world.entities, texts), "registry": in_force(each.world.registry, texts)}
        world = replace(each.world, **spelled, authorizer=Authorizer())
        for question in questions(each):
            before, after = question.answer(each.world), question.answer(world)
            expected[after.allowed] += before.allowed != after.allowed
    assert (simulation.totals.newly_allowed, simulation.totals.newly_denied) == (expected[True], expected[False])
    assert min(expected.values()) > 0
    assert sum(expected.values()) > 10


def test_a_supposed_view_is_a_whole_mapping() -> None:
    """Iteration, length and lookup agree: proposed policies are there, replaced ones once, removed ones not."""
    policy = RegistryPolicy(policy="a", text="x", updated_at="")
    view: dict[str, Entity] = {"policy/a": policy, "policy/b": policy.model_copy(update={"policy": "b"})}
    beside, alone = (Supposed(view, Proposed({"b": "y", "c": "z"}, {}, all_of_them)) for all_of_them in (False, True))
    assert {name: each.text for name, each in beside.items()} == {"policy/a": "x", "policy/b": "y", "policy/c": "z"}
    assert {name: each.text for name, each in alone.items()} == {"policy/b": "y", "policy/c": "z"}
    assert (len(beside), len(alone), "policy/a" in alone, alone.get("policy/a")) == (3, 2, False, None)
