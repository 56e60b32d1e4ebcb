"""The engine and the correlation of `keyfold.analytics` over a scenario, as a live worker would run them.

Observations come in time order; each ten seconds of event time the ticks behind are closed, and what is found goes to
the incidents at once. An alert is an incident that is `medium` or worse.
"""

from collections import defaultdict
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from time import thread_time_ns

from keyfold.analytics.engine import Engine, EntityState
from keyfold.analytics.incidents import Incident, Incidents, subjects
from keyfold.analytics.observations import Observation
from keyfold.analytics.ticks import TICK_MS, tick_of


@dataclass(frozen=True, slots=True)
class Moment:
    """When an alert was opened or told more: by which detector, and whom it named then. Event time."""

    time_ms: int
    detector: str
    names: frozenset[str]
    sentence: str


@dataclass(slots=True)
class Alert:
    """One incident from when it was opened: its state at last, and its moments."""

    incident: Incident
    moments: list[Moment]


@dataclass(slots=True)
class Costs:
    """Microseconds of processor time of each round: for one observation taken in, for one tick closed."""

    take_us: list[float] = field(default_factory=list)
    close_us: list[float] = field(default_factory=list)
    observations: int = 0
    ticks: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Run:
    """How far a run has come: all entities' states, the incidents, and the alerts since it was begun or copied."""

    engine: Engine
    states: dict[str, EntityState] = field(default_factory=dict)
    incidents: Incidents = field(default_factory=Incidents)
    alerts: dict[str, Alert] = field(default_factory=dict)
    findings: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    costs: Costs = field(default_factory=Costs)

    def copy(self) -> "Run":
        """Return a run that goes on from here by itself, without the alerts and costs so far."""
        return Run(self.engine, deepcopy(self.states), deepcopy(self.incidents))

    def take(self, observations: Iterable[Observation]) -> None:
        """Take observations in, and close all their ticks."""
        waiting: dict[str, list[Observation]] = defaultdict(list)
        now, number = 0, 0
        for seen in observations:
            start = tick_of(seen.ref.time_ms)
            if start != now:
                self._close(waiting, now + TICK_MS, number)
                waiting.clear()
                now, number = start, 0
            number += 1
            for entity in seen.entities():
                waiting[entity].append(seen)
        self._close(waiting, now + TICK_MS, number)

    def _close(self, waiting: dict[str, list[Observation]], end_ms: int, number: int) -> None:
        """Close one tick of all who were active in it."""
        if not waiting:
            return
        begin = thread_time_ns()
        for entity, seen in waiting.items():
            state = self.states.get(entity)
            if state is None:
                state = self.states[entity] = EntityState()
            self.engine.take(entity, state, seen)
        taken = thread_time_ns()
        found = [each for entity in waiting for each in self.engine.close(entity, self.states[entity], end_ms)]
        closed = thread_time_ns()
        costs = self.costs
        costs.take_us.append((taken - begin) / 1e3 / number)
        costs.close_us.append((closed - taken) / 1e3 / len(waiting))
        costs.observations += number
        costs.ticks += len(waiting)
        costs.seconds += (closed - begin) / 1e9
        for each in sorted(found, key=lambda one: (one.entity, one.detector, one.signal.aspect)):
            self.findings[f"{each.detector}/{each.signal.severity}"] += 1
            for changed in self.incidents.take(each):
                if changed.change != "detected" and changed.incident is not None:
                    names = frozenset(subjects(each))
                    self._tell(changed.incident, Moment(end_ms, each.detector, names, each.signal.sentence))

    def _tell(self, incident: Incident, moment: Moment) -> None:
        alert = self.alerts.get(incident.id)
        if alert is not None:
            alert.incident = incident
            alert.moments.append(moment)
            return
        names = moment.names | set(incident.entities) if incident.revision == 1 else moment.names
        opened = Moment(moment.time_ms, moment.detector, frozenset(names), moment.sentence)
        self.alerts[incident.id] = Alert(incident, [opened])
