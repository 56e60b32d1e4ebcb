"""The evaluation as Markdown: the table of attacks, the totals, the costs; for those who tune, every false alert."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from simulation.evaluation import Evaluated
from simulation.matching import Judged
from simulation.running import Alert
from simulation.victims import STRENGTHS, Strength

SLOW: Final = frozenset({"slow-exfiltration", "ratio-shift"})
"""Kinds that have done next to nothing after a minute, at any strength."""


def report(evaluated: Sequence[Evaluated]) -> str:
    """Return the tables of some seeds."""
    return "\n".join([*_attacks(evaluated), "", *_totals(evaluated), "", *_costs(evaluated)])


def summary(each: Evaluated) -> str:
    """Return one line on one seed."""
    found = sum(one.after_ms is not None for one in each.judgement.judged)
    return (
        f"seed {each.seed}: {found} of {len(each.judgement.judged)} found, {len(each.judgement.false)} of "
        f"{each.judgement.alerts} alerts false; {len(each.clean)} alerts in {each.days:.0f} clean days"
    )


def details(evaluated: Sequence[Evaluated]) -> str:
    """Return every missed attack and false alert, and how often each detector spoke."""
    lines = []
    for each in evaluated:
        lines += [f"## seed {each.seed}", f"alerts in the weeks that are learned from: {each.before}"]
        lines += [f"findings: {dict(sorted(each.findings.items()))}"]
        lines += ["missed:"]
        lines += [
            f"  {one.label.kind} {one.label.strength} {_time(one.label.from_ms)} to {_time(one.label.until_ms)} "
            f"{one.label.principal} {' '.join(one.label.keys[:2])}"
            for one in each.judgement.judged
            if one.after_ms is None
        ]
        lines += ["false, in the weeks with attacks:", *map(_alert, each.judgement.false)]
        lines += ["false, in clean weeks:", *map(_alert, each.clean)]
    return "\n".join(lines)


def _attacks(evaluated: Sequence[Evaluated]) -> Iterator[str]:
    judged = [one for each in evaluated for one in each.judgement.judged]
    yield "| attack | strength | found | median time | longest | first found by |"
    yield "|---|---|---|---|---|---|"
    for kind in dict.fromkeys(one.label.kind for one in judged):
        for strength in STRENGTHS:
            some = [one for one in judged if (one.label.kind, one.label.strength) == (kind, strength)]
            if some:
                yield f"| {kind} | {strength} | {_found(some)} |"


def _found(some: Sequence[Judged]) -> str:
    times = sorted(one.after_ms / 1e3 for one in some if one.after_ms is not None)
    by = Counter(one.detectors[0] for one in some if one.detectors)
    names = ", ".join(f"{name} ({number})" for name, number in by.most_common())
    shown = f"{_length(float(np.median(times)))} | {_length(times[-1])}" if times else "– | –"
    return f"{len(times)} of {len(some)} | {shown} | {names or '–'}"


def _totals(evaluated: Sequence[Evaluated]) -> Iterator[str]:
    judged = [one for each in evaluated for one in each.judgement.judged]
    found = sum(one.after_ms is not None for one in judged)
    alerts = sum(each.judgement.alerts for each in evaluated)
    false = sum(len(each.judgement.false) for each in evaluated)
    days = sum(each.days for each in evaluated)
    recall, precision = found / max(1, len(judged)), (alerts - false) / max(1, alerts)
    yield "| what | value |"
    yield "|---|---|"
    yield f"| recall | {recall:.3f} ({found} of {len(judged)}) |"
    for strength in STRENGTHS:
        yield f"| recall, {strength} | {_recall(judged, strength)} |"
    yield f"| precision | {precision:.3f} ({alerts - false} of {alerts} alerts) |"
    yield f"| F1 | {2 * recall * precision / max(1e-9, recall + precision):.3f} |"
    clean = [len(each.clean) / each.days for each in evaluated]
    yield f"| alerts per day without attacks | {np.mean(clean):.2f} (by seed {min(clean):.2f} to {max(clean):.2f}) |"
    yield f"| false alerts per day beside attacks | {false / max(1, days):.2f} |"
    strong = [one for one in judged if one.label.strength == "strong"]
    sudden = [one for one in strong if one.label.kind not in SLOW]
    yield f"| strong attacks found within 60 s of event time | {_quick(strong)} of {len(strong)} |"
    yield f"| the same, of those that do not take hours | {_quick(sudden)} of {len(sudden)} |"


def _quick(some: Sequence[Judged]) -> int:
    return sum(one.after_ms is not None and one.after_ms <= 60_000 for one in some)


def _recall(judged: Sequence[Judged], strength: Strength) -> str:
    some = [one for one in judged if one.label.strength == strength]
    found = sum(one.after_ms is not None for one in some)
    return f"{found / max(1, len(some)):.3f} ({found} of {len(some)})"


def _costs(evaluated: Sequence[Evaluated]) -> Iterator[str]:
    yield "| cost, µs of processor time | median | 95 % | 99 % | mean |"
    yield "|---|---|---|---|---|"
    observations = sum(each.costs.observations for each in evaluated)
    ticks = sum(each.costs.ticks for each in evaluated)
    for name, rounds in (
        ("an observation taken in", [each.costs.take_us for each in evaluated]),
        ("a tick closed", [each.costs.close_us for each in evaluated]),
    ):
        values = np.concatenate(rounds)
        shown = " | ".join(f"{value:.1f}" for value in np.quantile(values, (0.5, 0.95, 0.99)))
        yield f"| {name} | {shown} | {values.mean():.1f} |"
    seconds = sum(each.costs.seconds for each in evaluated)
    yield ""
    yield (
        f"{observations:,} observations, {ticks:,} ticks, {seconds:.0f} s: {observations / max(1e-9, seconds):,.0f} "
        f"observations per second on one core, with {ticks / max(1, observations):.2f} ticks to an observation."
    )


def _alert(alert: Alert) -> str:
    incident, first = alert.incident, alert.moments[0]
    by = " ".join(incident.detectors)
    return f"  {_time(first.time_ms)} {incident.severity} [{by}] {' '.join(incident.entities[:2])}: {incident.sentence}"


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1e3, UTC).strftime("%a %m-%d %H:%M:%S")


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
