"""One seed, evaluated: weeks that are learned from, then the same two weeks with attacks and without."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from keyfold.analytics.detectors.detector import Detector
from keyfold.analytics.engine import Engine
from simulation.matching import Judgement, judge
from simulation.requests import observations
from simulation.rhythm import START_MS, WEEK_MS
from simulation.running import Alert, Costs, Run
from simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What came out of one seed. `clean` are the alerts of the weeks without attacks, `before` how many alerts each
    week had that was learned from."""

    seed: int
    days: float
    judgement: Judgement
    clean: tuple[Alert, ...]
    before: tuple[int, ...]
    findings: dict[str, int]
    costs: Costs


def evaluate(scenario: Scenario, detectors: Sequence[Detector[Any]]) -> Evaluated:
    """Run the detectors over a scenario. An outcome that falls behind the beginning of the evaluated weeks, of a
    request before it, is evaluated with them."""
    run = Run(Engine(detectors))
    at = scenario.evaluated_ms
    run.take(takewhile(lambda seen: seen.ref.time_ms < at, observations(scenario.clean)))
    attacked, clean = run.copy(), run.copy()
    attacked.take(observations(scenario.attacked, at))
    clean.take(observations(scenario.clean, at))
    weeks = Counter((alert.moments[0].time_ms - START_MS) // WEEK_MS for alert in run.alerts.values())
    return Evaluated(
        seed=scenario.seed,
        days=scenario.evaluated_days,
        judgement=judge(scenario.labels, attacked.alerts.values()),
        clean=tuple(clean.alerts.values()),
        before=tuple(weeks[week] for week in range((at - START_MS) // WEEK_MS)),
        findings=dict(attacked.findings),
        costs=run.costs,
    )
