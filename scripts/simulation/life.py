"""What changes in an honest life: deployments, new keys in the place of old ones, new verbs, misconfigured roll-outs.

A principal's life is a row of phases. Rates wander between a third and three times of what they were at first.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from simulation.population import DORMANT_AFTER_MS, Population, Principal
from simulation.rhythm import DAY_MS, HOUR_MS, MINUTE_MS, START_MS, WEEK_MS

_DEPLOYED = {"api": 1.6, "ingest": 2.5, "signer": 3.0, "worker": 2.0, "batch": 4.0}
"""Mean weeks between deployments."""

_FURTHER_VERBS = {
    "api": ("GenerateDataKeyWithoutPlaintext", "ReEncrypt", "GenerateMac"),
    "ingest": ("GenerateDataKeyWithoutPlaintext", "GenerateMac"),
    "signer": ("GenerateMac", "GetPublicKey"),
    "worker": ("ReEncrypt", "GenerateMac"),
    "batch": ("Encrypt", "GenerateDataKey"),
}


@dataclass(frozen=True, slots=True)
class Phase:
    """What a principal is like for a while. `denied_until_ms`: until then many requests are refused: the roll-out
    names a key that its policy does not allow."""

    since_ms: int
    until_ms: int
    factor: float
    release: int
    verbs: dict[str, float]
    keys: tuple[str, ...]
    denied_until_ms: int = 0
    created: str | None = None


def phases(rng: np.random.Generator, population: Population, who: Principal, end_ms: int) -> Iterator[Phase]:
    """Return the life of one principal until the end, or until it falls asleep."""
    start = max(START_MS, who.joins_ms)
    if who.kind == "dormant":
        end_ms = start + DORMANT_AFTER_MS
    now = Phase(start, end_ms, 1.0, int(rng.integers(10, 60)), dict(who.verbs), tuple(who.keys))
    weeks = _DEPLOYED.get(who.kind)
    for moment in _deployments(rng, who, weeks, start, end_ms) if weeks else ():
        yield replace(now, until_ms=moment)
        now = _deployed(rng, population, who, now, moment)
    yield now


def _deployments(rng: np.random.Generator, who: Principal, weeks: float, start: int, end: int) -> Iterator[int]:
    """Return when it is deployed: from Monday to Thursday, ten to four."""
    moment = start + int(rng.exponential(weeks) * WEEK_MS)
    while moment < end:
        day = (moment - START_MS) // DAY_MS
        day -= max(0, day % 7 - 3)
        moment = START_MS + day * DAY_MS + int((rng.uniform(10, 16) - who.zone_hours) * HOUR_MS)
        if start + HOUR_MS < moment < end - HOUR_MS:
            yield moment
        start = max(start, moment)
        moment += int((0.3 + rng.exponential(weeks)) * WEEK_MS)


def _deployed(rng: np.random.Generator, population: Population, who: Principal, old: Phase, moment: int) -> Phase:
    change = float(rng.uniform(0.2, 0.6)) * (1 if rng.random() < 0.5 else -1)
    factor = min(3.0, max(0.33, old.factor * (1 + change)))
    verbs, keys, created = dict(old.verbs), list(old.keys), None
    further = _FURTHER_VERBS[who.kind]
    if rng.random() < 0.2:
        verbs[further[int(rng.integers(len(further)))]] = float(rng.uniform(0.3, 2))
    spare = population.spare[who.tenant]
    if rng.random() < 0.25 and spare:
        created = spare.pop()
        keys[int(rng.integers(len(who.keys)))] = created
    began = moment + int(rng.uniform(1, 4) * MINUTE_MS)
    denied = began + int(rng.uniform(4, 20) * MINUTE_MS) if rng.random() < 0.1 else 0
    return Phase(began, old.until_ms, factor, old.release + 1, verbs, tuple(keys), denied, created)
