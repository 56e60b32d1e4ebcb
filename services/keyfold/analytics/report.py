"""What a report shows, gathered while history passes: use over time, by principal and key, refusals, incidents. Pure.

Time is cut into equal slots, few enough to be drawn: where more are needed, two and more become one. Names are bounded:
those beyond the first two thousand are counted together. It draws nothing (`report_page`).
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from keyfold.analytics.incidents import Changed, Incident
from keyfold.analytics.observations import Observation

MAX_SLOTS: Final = 600
MAX_NAMES: Final = 2_000
MAX_INCIDENTS: Final = 2_000
OTHERS: Final = "(others)"
MINUTE_MS: Final = 60_000
SLOTS_MS: Final = tuple(minutes * MINUTE_MS for minutes in (1, 5, 15, 60, 360, 1_440, 10_080, 40_320, 403_200))


@dataclass(slots=True)
class Totals:
    """What one principal or key did in all: operations, denied, failed and not admitted commands, and when last."""

    operations: int = 0
    denied: int = 0
    failed: int = 0
    rejected: int = 0
    incidents: int = 0
    last_ms: int = 0


@dataclass(slots=True)
class Series:
    """Counts by name and slot. Names beyond the bound are `OTHERS`."""

    counts: dict[str, Counter[int]] = field(default_factory=dict)

    def add(self, name: str, slot: int, number: int) -> None:
        """Count."""
        if name not in self.counts and len(self.counts) >= MAX_NAMES:
            name = OTHERS
        self.counts.setdefault(name, Counter())[slot] += number

    def coarsen(self, slot_ms: int) -> None:
        """Put the counts into longer slots."""
        for name, counts in self.counts.items():
            merged: Counter[int] = Counter()
            for slot, number in counts.items():
                merged[slot - slot % slot_ms] += number
            self.counts[name] = merged

    def largest(self, number: int) -> list[tuple[str, Counter[int]]]:
        """Return the series with the largest sums, and all others as one."""
        ordered = sorted(self.counts, key=lambda name: (name == OTHERS, -self.counts[name].total(), name))
        found = [(name, self.counts[name]) for name in ordered[:number]]
        rest: Counter[int] = Counter()
        for name in ordered[number:]:
            rest.update(self.counts[name])
        return [*found, (OTHERS, rest)] if rest else found


class Report:
    """What was seen from one time until another (event time, ms; None: no bound)."""

    def __init__(self, since_ms: int | None = None, until_ms: int | None = None) -> None:
        self.since_ms, self.until_ms = since_ms, until_ms
        self.slot_ms = SLOTS_MS[0]
        self.verbs, self.principals, self.keys, self.refusals = Series(), Series(), Series(), Series()
        self.totals: dict[str, Totals] = {}
        self.incidents: dict[str, Incident] = {}
        self.observations = 0
        self._slots: set[int] = set()

    @property
    def slots(self) -> list[int]:
        """The starts of all slots between the first and the last that anything was in."""
        if not self._slots:
            return []
        return list(range(min(self._slots), max(self._slots) + 1, self.slot_ms))

    def see(self, seen: Observation) -> None:
        """Take in an observation."""
        if not self._is_within(seen.ref.time_ms):
            return
        self.observations += 1
        slot = self._slot(seen.ref.time_ms)
        for name in seen.entities():
            self._count(name, seen)
        match seen.result:
            case "authorized":
                self.verbs.add(seen.verb, slot, seen.items)
                if seen.principal is not None:
                    self.principals.add(seen.principal, slot, seen.items)
                if seen.key_id is not None:
                    self.keys.add(seen.key_id, slot, seen.items)
            case "completed":
                if seen.failures:
                    self.refusals.add("items that failed", slot, seen.failures)
            case "denied" | "failed" | "rejected":
                self.refusals.add(f"{seen.result}: {seen.code or 'no code'}", slot, 1)

    def tell(self, changed: Changed) -> None:
        """Take in what a finding or an act changed."""
        incident = changed.incident
        if incident is None or not self._is_within(incident.until_ms):
            return
        if incident.id not in self.incidents:
            if len(self.incidents) >= MAX_INCIDENTS:
                return
            for entity in incident.entities:
                if entity in self.totals:
                    self.totals[entity].incidents += 1
        self.incidents[incident.id] = incident

    def of(self, prefix: str) -> list[tuple[str, Totals]]:
        """Return principals or keys by name, those that did most first."""
        found = [(name.removeprefix(prefix), each) for name, each in self.totals.items() if name.startswith(prefix)]
        return sorted(found, key=lambda pair: (-pair[1].operations, -pair[1].denied, pair[0]))

    def _is_within(self, time_ms: int) -> bool:
        return (self.since_ms or 0) <= time_ms and (self.until_ms is None or time_ms < self.until_ms)

    def _count(self, name: str, seen: Observation) -> None:
        totals = self.totals.get(name)
        if totals is None:
            if len(self.totals) >= 2 * MAX_NAMES:
                return
            totals = self.totals[name] = Totals()
        totals.operations += seen.items if seen.result == "authorized" else 0
        totals.denied += seen.result == "denied"
        totals.failed += seen.failures + (seen.result == "failed")
        totals.rejected += seen.result == "rejected"
        totals.last_ms = max(totals.last_ms, seen.ref.time_ms)

    def _slot(self, time_ms: int) -> int:
        slot = time_ms - time_ms % self.slot_ms
        self._slots.add(slot)
        while (max(self._slots) - min(self._slots)) // self.slot_ms >= MAX_SLOTS and self.slot_ms != SLOTS_MS[-1]:
            self.slot_ms = next(length for length in SLOTS_MS if length > self.slot_ms)
            self._slots = {each - each % self.slot_ms for each in self._slots}
            for series in (self.verbs, self.principals, self.keys, self.refusals):
                series.coarsen(self.slot_ms)
        return time_ms - time_ms % self.slot_ms
