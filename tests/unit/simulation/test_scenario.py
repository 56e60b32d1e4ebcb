"""A scenario is the seed's alone, in order, and its labels say what is in it."""

from collections import Counter
from itertools import pairwise

import pytest
from simulation.attacks import APART_MS, Label
from simulation.population import populate
from simulation.recipes import RECIPES
from simulation.requests import observations
from simulation.rhythm import DAY_MS, MINUTE_MS, START_MS, WEEK_MS
from simulation.scenario import Scenario, scenario
from simulation.victims import STRENGTHS


def test_the_same_seed_gives_the_same_scenario(small: Scenario) -> None:
    """Nothing but the seed decides: neither the process nor what was made before."""
    assert scenario(2, 2, 1) == small
    assert scenario(3, 2, 1).clean != small.clean


def test_there_are_fifty_principals_and_two_hundred_keys() -> None:
    """As many as the issue speaks of, with names and ids that tell them apart."""
    population = populate(1, START_MS, 8)
    keys = [key for each in population.keys.values() for key in each]
    assert len({each.name for each in population.principals}) == len(population.principals) == 50
    assert len(set(keys)) == len(keys) == 200
    assert sum(each.joins_ms > START_MS for each in population.principals) == 3


def test_each_kind_is_there_at_each_strength(made: Scenario) -> None:
    """Fifteen kinds, three strengths, all in the evaluated weeks."""
    assert Counter((label.kind, label.strength) for label in made.labels) == {
        (kind, strength): 1 for kind in RECIPES for strength in STRENGTHS
    }
    assert all(made.evaluated_ms <= label.from_ms <= label.until_ms < made.end_ms for label in made.labels)


def test_attacks_of_one_entity_lie_apart(small: Scenario) -> None:
    """No principal is attacked twice within a day and a half."""
    by_principal: dict[str, list[Label]] = {}
    for label in sorted(small.labels, key=lambda one: one.from_ms):
        by_principal.setdefault(label.principal, []).append(label)
    for labels in by_principal.values():
        assert all(later.from_ms - earlier.until_ms >= APART_MS for earlier, later in pairwise(labels))


def test_what_is_learned_from_is_the_same_with_attacks_and_without(small: Scenario) -> None:
    """Before the evaluated weeks nobody is attacked, so that one run can be learned from for both."""
    before = [[one for one in some if one.time_ms < small.evaluated_ms] for some in (small.clean, small.attacked)]
    assert before[0] == before[1]
    assert len(small.attacked) > len(small.clean)


def test_labels_are_where_the_requests_are(small: Scenario) -> None:
    """What an attack adds lies between the label's times, and is its principal's."""
    added = Counter(small.attacked) - Counter(small.clean)
    assert len(added) > 500
    for request in added:
        assert any(
            label.principal == request.principal and label.from_ms <= request.time_ms <= label.until_ms
            for label in small.labels
        )


def test_a_thief_knows_nothing_of_what_comes(small: Scenario) -> None:
    """The contexts of what a burst asks for were in use before it, and so were its keys."""
    for label in small.labels:
        if label.kind not in {"mass-decryption", "signing-burst", "data-key-volume", "failed-decryptions"}:
            continue
        own = [one for one in small.clean if one.principal == label.principal]
        known = {(pair, one.key_id) for one in own if one.time_ms < label.from_ms for pair in (one.contexts, ())}
        during = (one for one in small.attacked if one.principal == label.principal)
        added = {one for one in during if label.from_ms <= one.time_ms <= label.until_ms} - set(own)
        assert added
        assert {one.key_id for one in added} <= {key for _, key in known}
        assert {one.contexts for one in added} <= {pairs for pairs, _ in known}


@pytest.mark.parametrize("kind", ["dormant-wakes", "dormant-key"])
def test_who_wakes_was_silent_for_a_month(made: Scenario, kind: str) -> None:
    """The principal, or the key, was in use at first, and not for thirty days before the attack."""
    for label in made.labels:
        if label.kind != kind:
            continue
        times = [
            one.time_ms
            for one in made.attacked
            if (one.principal == label.principal if kind == "dormant-wakes" else one.key_id == label.keys[0])
            and one.time_ms < label.from_ms
        ]
        assert times
        assert label.from_ms - times[-1] > 30 * DAY_MS


def test_observations_come_in_order_with_offsets_that_count_up(small: Scenario) -> None:
    """Event time never goes back; each partition's offsets have no gaps; a decision comes before its outcome."""
    last, offsets, count = 0, Counter[int](), Counter[str]()
    for seen in observations(small.attacked):
        assert seen.ref.time_ms >= last
        assert seen.ref.offset == offsets[seen.ref.partition]
        last = seen.ref.time_ms
        offsets[seen.ref.partition] += 1
        count[seen.result] += 1
        assert count["authorized"] >= count["completed"] + count["failed"]
    assert count["authorized"] == count["completed"] + count["failed"]
    assert min(count[result] for result in ("denied", "failed", "rejected")) > 0


def test_administrators_sleep_at_night_and_monitoring_does_not(small: Scenario) -> None:
    """Honest administrators have some ten busy hours a day; monitoring has all."""
    people = {hours_of(small, name) for name in {one.principal for one in small.clean} if "-admin-" in name}
    assert max(people) <= 13
    assert min(hours_of(small, name) for name in {one.principal for one in small.clean} if "-monitor-" in name) == 24


def hours_of(made: Scenario, principal: str) -> int:
    """Count the hours of the day in which a principal has a share of its requests."""
    hours = Counter(one.time_ms // (60 * MINUTE_MS) % 24 for one in made.clean if one.principal == principal)
    return sum(number > 0.01 * hours.total() for number in hours.values())


def test_weeks_differ_from_each_other_by_little(made: Scenario) -> None:
    """Traffic neither grows without bound nor dies out."""
    weeks = Counter((one.time_ms - START_MS) // WEEK_MS for one in made.clean)
    assert len(weeks) == 8
    assert max(weeks.values()) < 2.5 * min(weeks.values())


def test_a_scenario_without_weeks_to_learn_from_is_refused() -> None:
    """All weeks cannot be evaluated."""
    with pytest.raises(ValueError, match="2 weeks, 2"):
        scenario(1, 2, 2)
