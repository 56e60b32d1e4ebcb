"""What is counted when it is decided: allowances of grants, rates and quotas, usage budgets. Never more than allowed.

Each is held against a plain count beside it, over random commands in random batches with restarts between them.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import accumulate
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.wishes import OTHER
from tests.support.forks import codes, fork, restarted
from tests.support.office import KEY, Office, bare
from tests.support.people import PARTITIONS, START_MS, Signed, command, uuid

from keyfold.events import facts
from keyfold.events.entities import Grant
from keyfold.events.streams import REGISTRY
from keyfold.events.times import HOUR_MS, to_text

SLOW = [HealthCheck.too_slow]
PEOPLE = ("carol", "dave", "erin")
USERS = 'permit (principal, action in [Action::"Encrypt", Action::"Decrypt", Action::"GenerateDataKey"], resource);'


@cache
def lab(rules: str = "") -> Office:
    made = bare(rules)
    made.ask("CreateKey", OTHER)
    for name in PEOPLE:
        made.register(name)
    return made


# Grants


@dataclass
class Given:
    """A grant as the oracle knows it. `given_on` is what was taken out of it for others."""

    name: str
    grantee: str
    parent: "Given | None"
    most: tuple[int | None, int | None]
    delegable: bool
    ends_ms: int
    used: tuple[int, int] = (0, 0)
    given_on: tuple[int, int] = (0, 0)
    revoked: bool = False

    def holds(self, now_ms: int) -> bool:
        alone = not self.revoked and now_ms < self.ends_ms
        return alone and (self.parent is None or self.parent.holds(now_ms))

    def has_room(self, more: tuple[int, int]) -> bool:
        together = zip(self.most, self.used, self.given_on, more, strict=True)
        return all(most is None or used + given + extra <= most for most, used, given, extra in together)

    def depth(self) -> int:
        return 0 if self.parent is None else 1 + self.parent.depth()


class Giving:
    """An office where a few people give parts of their grants on and use them, and the oracle of it."""

    def __init__(self) -> None:
        self.made = fork(lab())
        self.grants: list[Given] = []

    def step(
        self, kind: str, who: int, which: int, most: tuple[int | None, int | None], items: int
    ) -> tuple[Signed, bool]:
        """Return one command, and whether it must be authorized."""
        self.made.number += 1
        person = PEOPLE[who]
        if kind == "use":
            return self._ask("Encrypt", person, items=items), self._used(person, items)
        parent = self.grants[which % len(self.grants)] if self.grants else None
        if kind == "revoke" and parent is not None:
            possible, parent.revoked = not parent.revoked, True
            return self._ask("RevokeGrant", "alice", arguments={"grant": parent.name}), possible
        delegable = items % 2 == 0
        given = Given(uuid(self.made.number), person, parent, most, delegable, START_MS + HOUR_MS * (1 + which % 2))
        if kind == "give" or parent is None:
            given.parent = None
            self.grants.append(given)
            return self._give(given, "alice"), True
        possible = self._may_give_on(given, parent)
        if possible:
            more = tuple(number or 0 for number in most)
            parent.given_on = (parent.given_on[0] + more[0], parent.given_on[1] + more[1])
            self.grants.append(given)
        return self._give(given, parent.grantee), possible

    def _ask(self, verb: str, by: str, **options: Any) -> Signed:
        return command(verb, KEY, self.made.number, principal=by, issued_ms=self.made.now_ms, **options)

    def _give(self, given: Given, by: str) -> Signed:
        arguments = {
            "grantee": given.grantee,
            "verbs": ["Encrypt", "CreateGrant"] if given.delegable else ["Encrypt"],
            "delegable": given.delegable,
            "expires_at": to_text(given.ends_ms),
            "max_operations": given.most[0],
            "max_items": given.most[1],
            "parent": given.parent.name if given.parent else None,
        }
        return self._ask("CreateGrant", by, arguments=arguments)

    def _may_give_on(self, given: Given, parent: Given) -> bool:
        limited = all(most is None or part is not None for most, part in zip(parent.most, given.most, strict=True))
        within = limited and given.ends_ms <= parent.ends_ms and (not given.delegable or parent.depth() < 4)
        room = parent.has_room((given.most[0] or 0, given.most[1] or 0))
        return (
            parent.delegable and parent.holds(self.made.now_ms) and within and room and given.ends_ms > self.made.now_ms
        )

    def _used(self, person: str, items: int) -> bool:
        mine = (each for each in self.grants if each.grantee == person and each.holds(self.made.now_ms))
        for given in mine:
            if given.has_room((1, items)):
                given.used = (given.used[0] + 1, given.used[1] + items)
                return True
        return False

    def below(self, given: Given) -> tuple[int, int]:
        """What was used of a grant and of everything that was given on of it."""
        parts = [given.used, *(self.below(each) for each in self.grants if each.parent is given)]
        return sum(operations for operations, _ in parts), sum(items for _, items in parts)


bounds = st.tuples(*[st.one_of(st.none(), st.integers(1, 12))] * 2)
kinds = st.sampled_from(("use", "use", "use", "use", "give", "on", "on", "revoke"))
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
    for given in giving.grants:
        assert all(most is None or used <= most for most, used in zip(given.most, giving.below(given), strict=True))
        known = giving.made.state.entities[f"grant/{given.name}"]
        assert isinstance(known, Grant)
        assert (known.used_operations, known.used_items) == tuple(
            used + on for used, on in zip(given.used, given.given_on, strict=True)
        )


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
    """Between any two commands no more is authorized than the burst and what the rate brings, by looking at all pairs."""
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
    st.tuples(st.sampled_from(("Encrypt", "GenerateDataKey", "Decrypt", "RotateKey")), st.integers(1, 60)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(st.integers(1, 200), st.one_of(st.none(), st.integers(1, 95)), uses, st.integers(1, 5))
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
