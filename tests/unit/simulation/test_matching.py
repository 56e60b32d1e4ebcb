"""An alert belongs to an attack by name and time, and to nothing else."""

from dataclasses import replace

import pytest
from simulation.attacks import Label
from simulation.matching import GRACE_MS, judge
from simulation.running import Alert, Moment

from keyfold.analytics.incidents import Incident

LABEL = Label("mass-decryption", "strong", "eve", ("k1", "k2"), 1_000_000, 2_000_000)


def alert(time_ms: int, name: str, *more: Moment) -> Alert:
    """Return an alert that names one entity."""
    incident = Incident("i", "high", time_ms, time_ms, time_ms, (name,), ("rate",), ("f",), "f", "high", "s")
    return Alert(incident, [Moment(time_ms, "rate", frozenset({name}), "s"), *more])


@pytest.mark.parametrize("name", ["principal/eve", "key/k1", "key/k2"])
def test_an_alert_that_names_its_principal_or_a_key_finds_it(name: str) -> None:
    """The time counts from the first request."""
    judgement = judge([LABEL], [alert(1_030_000, name)])
    assert judgement.judged[0].after_ms == 30_000
    assert judgement.judged[0].detectors == ("rate",)
    assert not judgement.false


@pytest.mark.parametrize(
    ("time_ms", "name"),
    [(999_999, "principal/eve"), (2_000_001 + GRACE_MS, "principal/eve"), (1_500_000, "principal/adam")],
)
def test_an_alert_at_another_time_or_of_another_is_false(time_ms: int, name: str) -> None:
    """Neither before, nor long after, nor somebody else."""
    judgement = judge([LABEL], [alert(time_ms, name)])
    assert judgement.judged[0].after_ms is None
    assert len(judgement.false) == 1


def test_the_last_moment_of_grace_counts() -> None:
    """Ten minutes after the last request an alert is still in time."""
    assert judge([LABEL], [alert(2_000_000 + GRACE_MS, "key/k2")]).judged[0].after_ms == 1_000_000 + GRACE_MS


def test_an_alert_is_not_false_if_a_later_moment_is_of_an_attack() -> None:
    """What was opened too early and told more in time has found it, by what it was told then."""
    later = Moment(1_100_000, "denials", frozenset({"principal/eve"}), "s")
    judgement = judge([LABEL], [alert(500_000, "principal/eve", later)])
    assert judgement.judged[0].after_ms == 100_000
    assert judgement.judged[0].detectors == ("denials",)
    assert not judgement.false


def test_one_alert_can_find_two_attacks() -> None:
    """Each attack is looked at by itself."""
    other = replace(LABEL, kind="scraping", principal="adam", keys=())
    both = alert(1_200_000, "principal/eve", Moment(1_300_000, "fan-out", frozenset({"principal/adam"}), "s"))
    assert [one.after_ms for one in judge([LABEL, other], [both]).judged] == [200_000, 300_000]
