"""Who is attacked and what is usual for it; what a recipe of an attack is given, and what it gives."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from simulation.population import Principal
from simulation.requests import Request
from simulation.rhythm import DAY_MS, MINUTE_MS

Strength = Literal["weak", "medium", "strong"]
STRENGTHS: Final[tuple[Strength, ...]] = ("weak", "medium", "strong")


@dataclass(slots=True)
class Victim:
    """A principal with its honest requests, in order, and what there is around it."""

    who: Principal
    requests: Sequence[Request]
    tenant_keys: Sequence[str]
    asleep: Sequence[str] = ()

    def before(self, time_ms: int) -> "Victim":
        """Return it as it is known at a time: a thief does not know what comes."""
        known = bisect_left(self.requests, time_ms, key=lambda each: each.time_ms)
        return replace(self, requests=self.requests[:known])

    def keys(self) -> list[str]:
        """Return the keys that it uses, the most used first."""
        counts: dict[str, int] = {}
        for each in self.requests:
            if each.key_id is not None and not each.administrative:
                counts[each.key_id] = counts.get(each.key_id, 0) + 1
        return sorted(counts, key=lambda key: -counts[key])

    def foreign(self) -> list[str]:
        """Return its tenant's keys that it never used."""
        used = {each.key_id for each in self.requests}
        return [key for key in self.tenant_keys if key not in used]

    def peak(self, *verbs: str) -> float:
        """Return the items of some verbs in ten minutes that are exceeded in one of twenty of its active ones."""
        sums: dict[int, int] = {}
        for each in self.requests:
            if each.verb in verbs:
                bucket = each.time_ms // (10 * MINUTE_MS)
                sums[bucket] = sums.get(bucket, 0) + each.items
        return float(np.quantile(list(sums.values()), 0.95)) if sums else 1.0

    def daily(self, *verbs: str) -> float:
        """Return the mean items of some verbs in a day."""
        amounts = [each.items for each in self.requests if each.verb in verbs]
        days = (self.requests[-1].time_ms - self.requests[0].time_ms) / DAY_MS + 1
        return sum(amounts) / days


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe is given: `begin_ms` is the first moment."""

    victim: Victim
    strength: Strength
    begin_ms: int
    rng: np.random.Generator

    def of(self, weak: float, medium: float, strong: float) -> float:
        """Pick by strength."""
        return {"weak": weak, "medium": medium, "strong": strong}[self.strength]


@dataclass(frozen=True, slots=True)
class Made:
    """The requests of one attack in order, and how the victim's honest ones change meanwhile: a share becomes
    decryption."""

    requests: list[Request]
    turned: float = 0.0
    turned_until_ms: int = 0
