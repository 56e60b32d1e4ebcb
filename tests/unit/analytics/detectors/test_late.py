"""What comes late tells detectors who and with what, and never how much: all of it is in one tick, whenever it was."""

from collections.abc import Iterable

import pytest
from tests.unit.analytics.detectors.lives import ALICE, DAY, HOUR, ITS_KEY, MONDAY_MS, SECOND, WEEK, office, seen, ticks

from keyfold.analytics.detectors import DetectorSettings, all_detectors
from keyfold.analytics.detectors.detector import Detector
from keyfold.analytics.findings import Signal
from keyfold.analytics.observations import Observation
from keyfold.analytics.ticks import Tick, tick_of

AFTER = 5 * WEEK + DAY + 11 * HOUR
DETECTORS = {each.name: each for each in all_detectors(DetectorSettings())}


def told(name: str, late: Iterable[Observation], entity: str = ALICE, at_ms: int = AFTER) -> list[Signal]:
    """What a detector says of five usual weeks and one tick in which others come late."""
    detector: Detector[object] = DETECTORS[name]
    memory = detector.begin()
    tick = Tick(tick_of(MONDAY_MS + at_ms))
    for each in late:
        tick.add(entity, each, late=True)
    lived = [*ticks(office(5, contexts=("tenant=a",)), entity), tick]
    return [signal for each in lived for signal in detector.look(entity, each, memory)]


@pytest.mark.parametrize("entity", [ALICE, ITS_KEY])
@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_an_hour_of_ordinary_use_that_comes_at_once_says_nothing(name: str, entity: str) -> None:
    """Policy was away, and decides all that has waited: by the events' time nothing is unusual about it."""
    if entity is ITS_KEY and "key" not in DETECTORS[name].scopes:
        return
    waited = [seen(AFTER - HOUR + step * SECOND, items=50, contexts=("tenant=a",)) for step in range(3_600)]
    assert told(name, waited, entity) == []
    assert told(name, waited, entity, AFTER + 11 * HOUR) == []


@pytest.mark.parametrize("result", ["denied", "failed", "completed"])
def test_late_failures_and_denials_are_no_probing(result: str) -> None:
    """Nor do late ones hide others."""
    more = {"failures": 50, "items": 50} if result == "completed" else {}
    waited = [seen(AFTER - HOUR + step * SECOND, result=result, code="AccessDenied", **more) for step in range(999)]  # type: ignore[arg-type]
    assert told("denials", waited) == []


def test_a_key_s_new_user_is_told_though_it_comes_late() -> None:
    """And what it did is known to be what an attacker wants."""
    (signal,) = told("first-use", [seen(AFTER - HOUR, principal="mallory")], ITS_KEY)
    assert (signal.severity, signal.principal) == ("medium", "mallory")
    assert signal.evidence


def test_new_verbs_and_contexts_are_told_though_they_come_late() -> None:
    """Each under its own aspect."""
    late = [seen(AFTER - HOUR, "CreateGrant", administrative=True), seen(AFTER - HOUR + 1, contexts=("tenant=b",))]
    assert [(each.severity, each.aspect) for each in told("first-use", late)] == [
        ("medium", "verb/CreateGrant"),
        ("low", "context"),
    ]


def test_replayed_commands_are_told_though_they_come_late() -> None:
    """They are what they are by their code."""
    late = [seen(AFTER - HOUR + step, result="denied", code="IdempotencyConflict") for step in range(20)]
    signals = told("replays", late)
    assert signals[-1].severity in {"medium", "high", "critical"}
    assert signals[-1].evidence


def test_late_state_codes_hide_no_denials() -> None:
    """What is denied on time counts whole, whatever comes late beside it."""
    detector = DETECTORS["denials"]
    tick = Tick(MONDAY_MS)
    for step in range(30):
        tick.add(ALICE, seen(step, result="denied", code="AccessDenied"))
        tick.add(ALICE, seen(-HOUR + step, result="denied", code="KeyDisabled"), late=True)
        tick.add(ALICE, seen(-HOUR + step, result="failed", code="TokenUnavailable"), late=True)
    (signal,) = detector.look(ALICE, tick, detector.begin())
    assert signal.observed == 30
