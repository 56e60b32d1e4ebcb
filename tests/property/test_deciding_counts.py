"""What is counted when it is decided: allowances of grants, rates and quotas, usage budgets. Never more than allowed.

Each is held against a plain count beside it, over random commands in random batches with restarts between them.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.crowd import OTHER
from tests.property.giving import Giving, lab
from tests.support.forks import codes, fork, restarted
from tests.support.office import KEY
from tests.support.people import PARTITIONS, command

from keyfold.events import facts
from keyfold.events.streams import REGISTRY
from keyfold.events.times import HOUR_MS

SLOW = [HealthCheck.too_slow]
USERS = 'permit (principal, action in [Action::"Encrypt", Action::"Decrypt", Action::"GenerateDataKey"], resource);'


# Grants

bounds = st.tuples(*[st.one_of(st.none(), st.none(), st.integers(1, 12))] * 2)
kinds = st.sampled_from((*["use"] * 4, "give", *["on"] * 3, "revoke"))
steps = st.tuples(kinds, st.integers(0, 2), st.integers(0, 9), bounds, st.integers(1, 6))


@settings(max_examples=120, deadline=None, suppress_health_check=SLOW)
@given(
    st.lists(st.tuples(st.lists(steps, min_size=1, max_size=6), st.booleans(), st.booleans()), min_size=2, max_size=8)
)
def test_grants_are_never_used_beyond_their_allowance(story: list[tuple[list[Any], bool, bool]]) -> None:
    """What is used of a grant and of all that was given on of it is at most its allowance, and no less is refused."""
    giving = Giving()
    for wishes, restart, late in story:
        giving.made.now_ms += HOUR_MS // 3 if late else 0
        asked = [giving.step(*each) for each in wishes]
        found = codes(giving.made, *(signed for signed, _ in asked))
        assert [code is None for code in found] == [possible for _, possible in asked], found
        if restart:
            giving.made.state = restarted(giving.made)
    for grant in giving.grants:
        assert all(most is None or used <= most for most, used in zip(grant.most, giving.below(grant), strict=True))
        known = giving.made.grant(grant.name)
        assert (known.used_operations, known.used_items) == grant.taken


# Rates and quotas

arrivals = st.lists(st.tuples(st.integers(0, 4_000), st.integers(1, 4), st.booleans()), min_size=5, max_size=40)


@dataclass(frozen=True)
class Rule:
    """A limit, as its arguments say, and as the oracle reads it for one partition."""

    per: str
    unit: str
    amount: int
    period: int
    burst: int | None = None

    def share(self, number: int) -> int:
        return number if self.per == "key" else -(-number // (PARTITIONS - 1))

    def arguments(self, kind: str) -> dict[str, Any]:
        size = {"amount": self.amount, "period_seconds": self.period, "burst": self.burst}
        return {"limit": "l", "kind": kind, "unit": self.unit, "per": self.per, **size}


rules = st.builds(
    Rule,
    st.sampled_from(("key", "principal")),
    st.sampled_from(("commands", "items")),
    st.integers(1, 9),
    st.integers(1, 5),
    st.one_of(st.none(), st.integers(1, 9)),
)


def arrived(kind: str, rule: Rule, coming: Iterable[tuple[int, int, bool]]) -> dict[str, list[tuple[int, int, bool]]]:
    """Let commands arrive; return by bucket their times, costs and whether they were authorized."""
    made = fork(lab(USERS))
    assert made.code("PutLimit", REGISTRY, arguments=rule.arguments(kind)) is None
    found = defaultdict(list)
    for n, (gap, items, other) in enumerate(coming):
        made.now_ms += gap
        stream = OTHER if other else KEY
        code = made.code("Encrypt", stream, by="carol", items=items)
        assert code in {None, "RateLimited" if kind == "rate" else "QuotaExceeded"}
        cost = items if rule.unit == "items" else 1
        found[stream if rule.per == "key" else ""].append((made.now_ms, cost, code is None))
        if n % 7 == 6:
            made.state = restarted(made)
    return found


@settings(max_examples=80, deadline=None, suppress_health_check=SLOW)
@given(rules, arrivals)
def test_a_rate_is_never_exceeded_in_any_window(rule: Rule, coming: list[tuple[int, int, bool]]) -> None:
    """Between any two commands at most the burst and what the rate brings is authorized: all pairs are looked at."""
    burst = rule.share(rule.burst or rule.amount)
    per_ms = Fraction(rule.share(rule.amount), rule.period * 1000)
    for history in arrived("rate", rule, coming).values():
        taken = [(at, cost) for at, cost, authorized in history if authorized]
        for first in range(len(taken)):
            for last, total in enumerate(accumulate(cost for _, cost in taken[first:]), first):
                assert total <= burst + per_ms * (taken[last][0] - taken[first][0])


@settings(max_examples=80, deadline=None, suppress_health_check=SLOW)
@given(rules, arrivals)
def test_a_rate_refuses_only_what_is_above_it(rule: Rule, coming: list[tuple[int, int, bool]]) -> None:
    """A bucket in fractions agrees, but for the thousandth of a token that each charge may round away."""
    burst = Fraction(rule.share(rule.burst or rule.amount))
    per_ms = Fraction(rule.share(rule.amount), rule.period * 1000)
    for history in arrived("rate", rule, coming).values():
        level, before, charges = burst, history[0][0], 0
        for at, cost, authorized in history:
            level, before = min(burst, level + per_ms * (at - before)), at
            if authorized:
                assert cost <= level
                level, charges = level - cost, charges + 1
            else:
                assert level < cost + Fraction(charges, 1000)


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(rules.map(lambda rule: Rule(rule.per, rule.unit, rule.amount, rule.period)), arrivals)
def test_a_quota_is_exact_in_every_window(rule: Rule, coming: list[tuple[int, int, bool]]) -> None:
    """In each period, counted from 1970, exactly what fits is authorized."""
    for history in arrived("quota", rule, coming).values():
        used: dict[int, int] = defaultdict(int)
        for at, cost, authorized in history:
            window = at // (rule.period * 1000)
            assert authorized is (used[window] + cost <= rule.share(rule.amount))
            used[window] += cost if authorized else 0


# Budgets

uses = st.lists(
    st.tuples(
        st.sampled_from(("Encrypt", "GenerateDataKey", "Decrypt", "RotateKey")),
        st.sampled_from((1, 1, 2, 3, 5, 10, 40)),
    ),
    min_size=1,
    max_size=40,
)
budgets = st.one_of(st.integers(1, 200), st.sampled_from((2, 4, 10, 20, 40)))  # of the latter, exactly 50 % is met


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(budgets, st.one_of(st.none(), st.integers(1, 95)), uses, st.integers(1, 5))
def test_budgets(budget: int, percent: int | None, story: list[tuple[str, int]], size: int) -> None:
    """A version never protects more than its budget, and each percentage that it reaches is said exactly once."""
    made = fork(lab(USERS))
    assert made.code("UpdateUsageBudget", arguments={"items": budget, "rotate_at_percent": percent}) is None
    used, asked, expected = [0], [], []
    for verb, items in story:
        made.number += 1
        options = {} if verb == "RotateKey" else {"items": items}
        asked.append(command(verb, KEY, made.number, **options))
        fits = verb in {"RotateKey", "Decrypt"} or used[-1] + items <= budget
        expected.append(None if fits else "UsageLimitReached")
        if verb == "RotateKey":
            used.append(0)
        elif fits and verb != "Decrypt":
            used[-1] += items
    found = [code for n in range(0, len(asked), size) for code in codes(made, *asked[n : n + size])]
    assert found == expected
    assert [version.protected_items for version in made.key().versions] == used
    said = [
        (event.data.version, event.data.percent) for event in made.events if isinstance(event, facts.UsageBudgetWarning)
    ]
    reached = [
        (version, each)
        for version, count in enumerate(used, 1)
        for each in sorted({50, 80, 95, percent or 95})
        if count * 100 >= budget * each
    ]
    assert said == reached
