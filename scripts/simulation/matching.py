"""Which attacks were found, when and by what, and which alerts belong to none. Pure.

An attack is found by the first moment of an alert that names its principal or one of its keys between its first
request and ten minutes after its last. An alert is false if no moment of it is such a moment of any attack.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from simulation.attacks import Label
from simulation.rhythm import MINUTE_MS
from simulation.running import Alert, Moment

GRACE_MS: Final = 10 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Judged:
    """An attack, how long after its first request it was found (event time; None: missed), and by which detectors."""

    label: Label
    after_ms: int | None
    detectors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of the attacks and alerts of one run."""

    judged: tuple[Judged, ...]
    alerts: int
    false: tuple[Alert, ...]


def judge(labels: Sequence[Label], alerts: Iterable[Alert]) -> Judgement:
    """Hold alerts against labels."""
    alerts = list(alerts)
    judged = []
    for label in labels:
        moments = sorted(
            (moment for alert in alerts for moment in alert.moments if _is_of(moment, label)),
            key=lambda moment: moment.time_ms,
        )
        after = moments[0].time_ms - label.from_ms if moments else None
        judged.append(Judged(label, after, tuple(dict.fromkeys(moment.detector for moment in moments))))
    false = tuple(
        alert for alert in alerts if not any(_is_of(moment, label) for moment in alert.moments for label in labels)
    )
    return Judgement(tuple(judged), len(alerts), false)


def _is_of(moment: Moment, label: Label) -> bool:
    in_time = label.from_ms <= moment.time_ms <= label.until_ms + GRACE_MS
    return in_time and not moment.names.isdisjoint(label.entities)
