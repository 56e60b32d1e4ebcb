"""The worker's facts are read late by policy and in the order of the log by everybody else: both come to the same."""

from typing import Any

import pytest
from tests.support.desk import fold, outcome_of
from tests.support.office import KEY, Office, office
from tests.support.people import START_MS

from keyfold.events import facts
from keyfold.events.entities import Entity
from keyfold.events.times import DAY_MS

WEEK = {"pending_window_seconds": 7 * 86_400}
DECIDED: list[list[tuple[str, dict[str, Any]]]] = [
    [("RotateKey", {})],
    [("EnableKey", {})],
    [("DisableKey", {"reason": "x"})],
    [("DisableKey", {"reason": "x"}), ("EnableKey", {})],
    [("ScheduleKeyDeletion", WEEK)],
    [("ScheduleKeyDeletion", WEEK), ("CancelKeyDeletion", {})],
    [("ScheduleKeyDeletion", WEEK), ("DestroyKey", {})],
    [("DestroyKeyNow", {})],
    [("TagResource", {"tags": {"a": "b"}})],
    [("UpdateUsageBudget", {"items": 5})],
    [("RotateKey", {}), ("RotateKey", {}), ("DisableKey", {"reason": "x"})],
    [("RotateKey", {}), ("DestroyKeyNow", {})],
]


def folded(events: list[facts.Event]) -> dict[str, Entity]:
    view: dict[str, Entity] = {}
    for event in events:
        fold(view, event)
    return view


@pytest.mark.parametrize("decided", DECIDED, ids=lambda steps: "-".join(verb for verb, _ in steps))
@pytest.mark.parametrize("failing", ["CreateKey", "RotateKey"])
def test_a_failure_comes_to_the_same_wherever_it_is_read(failing: str, decided: list[tuple[str, Any]]) -> None:
    """A failed operation before or behind every later decision leaves the same key."""
    made = office() if failing == "RotateKey" else Office()
    event = made.ask(failing)
    before = len(made.events)
    for verb, arguments in decided:
        made.now_ms = START_MS + 8 * DAY_MS if verb == "DestroyKey" else made.now_ms
        assert made.code(verb, arguments=arguments) is None
    failed = outcome_of(event, facts.OperationFailed, key_id=KEY.removeprefix("key/"), code="TokenUnavailable")
    found = [
        folded([*made.events[:place], failed, *made.events[place:]]) for place in range(before, len(made.events) + 1)
    ]
    assert all(view == found[0] for view in found), found
