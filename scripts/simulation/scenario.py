"""A scenario: honest weeks of a seed, attacks in the last of them, all as requests in time order, with the labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from simulation.administration import acts_of, arrangements
from simulation.attacks import Attack, Label, attacks
from simulation.life import Phase, phases
from simulation.population import Population, Principal, generator, populate
from simulation.requests import Request
from simulation.rhythm import START_MS, WEEK_MS
from simulation.traffic import expired_of, holidays_of, requests_of, storm_of

EVALUATED_WEEKS = 2
_IN_ORDER = attrgetter("time_ms")


@dataclass(frozen=True, slots=True)
class Scenario:
    """The weeks of a seed. `clean` is honest life alone, `attacked` the same with the attacks in it."""

    seed: int
    evaluated_ms: int
    end_ms: int
    clean: list[Request]
    attacked: list[Request]
    labels: tuple[Label, ...]

    @property
    def evaluated_days(self) -> float:
        """Return how many days are evaluated."""
        return (self.end_ms - self.evaluated_ms) / (WEEK_MS / 7)


def scenario(seed: int, weeks: int = 8, evaluated: int = EVALUATED_WEEKS) -> Scenario:
    """Make the scenario of a seed: honest weeks, and attacks in the last `evaluated` of them."""
    if not 0 < evaluated < weeks:
        raise ValueError(f"of {weeks} weeks, {evaluated} cannot be evaluated: some come before that are learned from")
    end = START_MS + weeks * WEEK_MS
    population = populate(seed, START_MS, weeks)
    honest = _honest(population, end, weeks)
    clean = sorted((each for requests in honest.values() for each in requests), key=_IN_ORDER)
    begin = end - evaluated * WEEK_MS
    made = tuple(attacks(seed, population, honest, (begin, end)))
    extra = [each for attack in made for each in attack.made.requests]
    attacked = sorted((*_turned(seed, clean, made), *extra), key=_IN_ORDER)
    return Scenario(seed, begin, end, clean, attacked, tuple(attack.label for attack in made))


def _honest(population: Population, end_ms: int, weeks: int) -> dict[str, list[Request]]:
    holidays = holidays_of(generator(population.seed, "holidays"), weeks)
    found: dict[str, list[Request]] = {each.name: [] for each in population.principals}
    for who in population.principals:
        rng = generator(population.seed, "life", who.name)
        for phase in phases(rng, population, who, end_ms):
            found[who.name] += requests_of(rng, who, phase, holidays)
            found[who.name] += _trouble(population, who, phase)
            for each in arrangements(population, who, phase):
                found[each.principal].append(each)
    for who in population.principals:
        if who.kind == "admin":
            rng = generator(population.seed, "acts", who.name)
            found[who.name] += acts_of(rng, population, who, end_ms, holidays)
    return {
        name: sorted((each for each in requests if START_MS <= each.time_ms < end_ms), key=_IN_ORDER)
        for name, requests in found.items()
    }


def _trouble(population: Population, who: Principal, phase: Phase) -> list[Request]:
    """Return honest trouble of a phase: a retry storm in some five weeks, commands that come too late in some two."""
    if who.kind not in {"api", "ingest", "worker", "signer"}:
        return []
    rng = generator(population.seed, "trouble", who.name, str(phase.since_ms))
    length = phase.until_ms - phase.since_ms
    made: list[Request] = []
    for weeks, kind in ((15.0, storm_of), (3.0, expired_of)):
        for _ in range(int(rng.poisson(length / (weeks * WEEK_MS)))):
            made += kind(rng, who, phase, phase.since_ms + int(rng.integers(0, max(1, length))))
    return made


def _turned(seed: int, clean: Sequence[Request], made: Sequence[Attack]) -> list[Request]:
    """Return honest requests, some of which an attack has turned into decryption."""
    rng = generator(seed, "turned")
    turning = {each.label.principal: each for each in made if each.made.turned}
    turned = []
    for request in clean:
        attack = turning.get(request.principal)
        if (
            attack is not None
            and attack.label.from_ms <= request.time_ms < attack.made.turned_until_ms
            and request.result == "completed"
            and rng.random() < attack.made.turned
        ):
            turned.append(request._replace(verb="Decrypt"))
        else:
            turned.append(request)
    return turned
