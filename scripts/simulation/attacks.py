"""Attacks of every kind, each at three strengths relative to what is usual for its victim, with labels.

`recipes` makes the requests of each kind; here is who the victim is, and when. No two attacks of a scenario have a
principal or a first key in common within a day and a half, and all lie in the evaluated weeks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from simulation.population import Kind, Population, Principal, generator
from simulation.recipes import RECIPES
from simulation.requests import Request
from simulation.rhythm import DAY_MS, HOUR_MS
from simulation.victims import STRENGTHS, Made, Plan, Strength, Victim

APART_MS: Final = 36 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Label:
    """What an attack is: it touches these entities from its first request to its last, both included."""

    kind: str
    strength: Strength
    principal: str
    keys: tuple[str, ...]
    from_ms: int
    until_ms: int

    @property
    def entities(self) -> frozenset[str]:
        """Name whom an alert may name, as `principal/NAME` and `key/ID`."""
        return frozenset({f"principal/{self.principal}", *(f"key/{key}" for key in self.keys)})


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack of a scenario."""

    label: Label
    made: Made


def attacks(
    seed: int, population: Population, honest: Mapping[str, Sequence[Request]], span: tuple[int, int]
) -> Iterator[Attack]:
    """Return one attack of each kind and strength within a span; none where no victim is free."""
    taken: list[Label] = []
    for strength in STRENGTHS:
        for kind, recipe in RECIPES.items():
            rng = generator(seed, "attack", kind, strength)
            for _ in range(200):
                victim = _victim(rng, population, honest, recipe.victims, span)
                begin = int(rng.integers(span[0] + HOUR_MS, span[1] - recipe.longest_ms))
                begin = recipe.moment(victim, begin)
                made = recipe.make(Plan(victim.before(begin), strength, begin, rng))
                label = _label(kind, strength, victim, made)
                if label.until_ms < span[1] and not any(_collide(label, other) for other in taken):
                    taken.append(label)
                    yield Attack(label, made)
                    break


def _victim(
    rng: np.random.Generator,
    population: Population,
    honest: Mapping[str, Sequence[Request]],
    kinds: Sequence[Kind],
    span: tuple[int, int],
) -> Victim:
    """Pick one who has been there for two weeks at least."""
    able = [
        each
        for each in population.principals
        if each.kind in kinds and honest[each.name] and each.joins_ms < span[0] - 14 * DAY_MS
    ]
    who = able[int(rng.integers(len(able)))]
    return Victim(who, honest[who.name], _reachable(population, who), _asleep(population, who))


def _reachable(population: Population, who: Principal) -> list[str]:
    """Return the tenant's keys, those in use first, without those that sleep."""
    asleep = {key for each in population.principals if each.kind == "dormant" for key in each.keys}
    awake = [key for key in population.keys[who.tenant] if key not in asleep]
    return sorted(awake, key=lambda key: key in population.spare[who.tenant])


def _asleep(population: Population, who: Principal) -> list[str]:
    """Return a key of each principal that sleeps, of its own tenant or, if there is none, of any."""
    asleep = [each for each in population.principals if each.kind == "dormant"]
    near = [each for each in asleep if each.tenant == who.tenant] or asleep
    return [each.keys[-1] for each in near]


def _label(kind: str, strength: Strength, victim: Victim, made: Made) -> Label:
    keys = tuple(dict.fromkeys(each.key_id for each in made.requests if each.key_id is not None))
    last = max(made.requests[-1].time_ms, made.turned_until_ms)
    return Label(kind, strength, victim.who.name, keys, made.requests[0].time_ms, last)


def _collide(one: Label, other: Label) -> bool:
    near = one.kind.startswith("dormant") and other.kind.startswith("dormant")  # nobody sleeps after the first
    near = near or (one.from_ms < other.until_ms + APART_MS and other.from_ms < one.until_ms + APART_MS)
    return near and (one.principal == other.principal or bool(set(one.keys[:1]) & set(other.keys[:1])))
