"""What administrators do in honest weeks: policies, corrections of them, grants, tags, new keys, rotations."""

from collections.abc import Iterator, Sequence

import numpy as np

from simulation.life import Phase
from simulation.population import Population, Principal
from simulation.requests import Request
from simulation.rhythm import HOUR_MS, MINUTE_MS, START_MS, WEEK_MS, arrivals

_ACTS = {"PutPolicy": 3, "CreateGrant": 4, "TagResource": 4, "RotateKey": 3, "CreateAlias": 1, "UpdateKeyValidity": 1}


def act(time_ms: int, who: Principal, verb: str, key_id: str | None, target: str | None = None) -> Request:
    """Return one administrative request."""
    return Request(time_ms, who.name, key_id, verb, administrative=True, target=target)


def acts_of(
    rng: np.random.Generator, population: Population, who: Principal, end_ms: int, holidays: Sequence[int]
) -> Iterator[Request]:
    """Return what an administrator does by itself, in office hours; not yet in order."""
    idle = {key for each in population.principals if each.kind == "dormant" for key in each.keys}
    idle |= set(population.spare[who.tenant])
    keys = [key for key in population.keys[who.tenant] if key not in idle]
    weights = np.array(list(_ACTS.values()), float)
    for time in arrivals(
        rng, who.profile, 0.2, (START_MS, end_ms), zone_hours=who.zone_hours, holidays=holidays
    ).tolist():
        verb = list(_ACTS)[rng.choice(len(_ACTS), p=weights / weights.sum())]
        key = keys[int(rng.integers(len(keys)))]
        if verb != "PutPolicy":
            yield act(time, who, verb, key)
            continue
        yield from _policy(rng, who, time)
    for week in range((end_ms - START_MS) // WEEK_MS):
        if rng.random() < 0.15:  # one or two keys that nobody needs any more
            begin = START_MS + week * WEEK_MS + int((rng.uniform(9, 16) - who.zone_hours) * HOUR_MS)
            unused = rng.permutation(population.spare[who.tenant])[: int(rng.integers(1, 3))]
            for step, spare in enumerate(unused.tolist()):
                yield act(begin + step * MINUTE_MS, who, "ScheduleKeyDeletion", spare)


def _policy(rng: np.random.Generator, who: Principal, time: int) -> Iterator[Request]:
    """Return a change of a policy, sometimes corrected soon after, sometimes tried out with a key."""
    policy = f"{who.tenant}-policy-{int(rng.integers(12))}"
    yield act(time, who, "PutPolicy", None, policy)
    draw = rng.random()
    if draw < 0.15:
        yield act(time + int(rng.uniform(3, 40) * MINUTE_MS), who, "PutPolicy", None, policy)
    elif draw < 0.25:
        yield Request(time + int(rng.uniform(1, 5) * MINUTE_MS), who.name, who.keys[0], "Decrypt")


def arrangements(population: Population, who: Principal, phase: Phase) -> Iterator[Request]:
    """Return what an administrator does before a phase of somebody begins: a new key, a new principal."""
    admin = population.admin_of(who.tenant)
    before = phase.since_ms - 45 * MINUTE_MS
    if phase.created is not None:
        yield act(before, admin, "CreateKey", phase.created)
        yield act(before + 2 * MINUTE_MS, admin, "CreateGrant", phase.created)
    if phase.since_ms == who.joins_ms:
        yield act(before, admin, "RegisterPrincipal", None, who.name)
        for step, key in enumerate(who.keys):
            yield act(before + (step + 1) * MINUTE_MS, admin, "CreateKey", key)
        yield act(before + 20 * MINUTE_MS, admin, "PutPolicy", None, f"{who.tenant}-policy-{who.name}")
