"""The worker's facts are read late by policy and in the order of the log by everybody else: both come to the same."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.lives import DECISIONS, READINGS, Life, folded
from tests.support.desk import outcome_of
from tests.support.office import KEY, Office, office
from tests.support.people import START_MS

from keyfold.events import facts
from keyfold.events.entities import Entity
from keyfold.events.times import DAY_MS

Steps = list[tuple[str, int]]
MOVES = st.sampled_from([*DECISIONS, *READINGS, "done", "done", "failed", "failed", "rotate", "issue", "import"])


def lived(origin: str, steps: Steps, *, to_the_end: bool = True) -> Life:
    life = Life(origin)
    for move, number in steps:
        life.step(move, number)
    while to_the_end and (life.step("done") or life.step("erased")):
        pass
    return life


def told(events: list[facts.Event]) -> str:
    """A history in short, for who has to understand a disagreement."""
    return ", ".join(f"{type(e).__name__}({getattr(e.data, 'version', '')})" for e in events)


def agree(life: Life, orders: list[list[facts.Event]]) -> None:
    for events in orders:
        found: dict[str, Entity] = folded(events)
        assert found == life.view, told(events)


@given(st.sampled_from(["KEYFOLD", "EXTERNAL"]), st.lists(st.tuples(MOVES, st.integers(0, 3)), max_size=30), st.data())
@settings(max_examples=300, deadline=None)
def test_late_outcomes_come_to_the_same(origin: str, steps: Steps, data: st.DataObject) -> None:
    """Wherever outcomes lie in the log between their commands and where policy read them, the key is the same."""
    life = lived(origin, steps, to_the_end=data.draw(st.booleans()))
    places: list[int] = []
    for read in life.outcomes:
        least = max([read.earliest, *places[-1:]])
        places.append(data.draw(st.integers(least, read.latest)))
    earliest: list[int] = []
    for read in life.outcomes:
        earliest.append(max([read.earliest, *earliest[-1:]]))
    latest = [read.latest for read in life.outcomes]
    agree(life, [life.in_order(each) for each in (places, earliest, latest)])


@given(st.sampled_from(["KEYFOLD", "EXTERNAL"]), st.lists(st.tuples(MOVES, st.integers(0, 3)), max_size=30))
@settings(max_examples=200, deadline=None)
def test_what_always_holds(origin: str, steps: Steps) -> None:
    """The current version can be used, or the key is failed or destroyed; and it is the newest that is active."""
    life = Life(origin)
    uses = 0
    for move, number in steps:
        current, known = life.key.current_version, len(life.key.versions)
        if life.step(move, number) and move == "use":
            uses += 1
        key = life.key
        usable = [v for v in key.versions if v.status in {"Active", "Disabled"}]
        assert [v.version for v in key.versions] == list(range(1, len(key.versions) + 1))
        assert (key.status == "Failed") == (not usable and key.status != "Destroyed")
        assert key.current in usable or key.status in {"Failed", "Destroyed"}
        assert all(v.version <= key.current_version for v in usable if v.status == "Active" and v.material)
        assert move != "delete" or key.current_version == current
        assert move != "rotate" or origin == "EXTERNAL" or key.current_version in {current, known + 1}
        assert (key.deletion_date is not None) == (key.status == "PendingDeletion")
        assert key.status != "Destroyed" or key.import_parameters is None
        assert all(v.status == "Destroyed" for v in key.versions if v.erased_at is not None)
        assert sum(v.protected_items for v in key.versions) == 2 * uses


WEEK: Steps = [("schedule", 0), ("cancel", 0)]
IMPORT: Steps = [("issue", 0), ("import", 0)]
NAMED: dict[str, tuple[str, Steps]] = {
    "failed creation, disabled": ("KEYFOLD", [("disable", 0), ("failed", 0)]),
    "failed creation, enabled again": ("KEYFOLD", [("disable", 0), ("enable", 0), ("rotate", 0), ("failed", 0)]),
    "failed creation, mended": ("KEYFOLD", [("rotate", 0), ("failed", 0), ("done", 0)]),
    "failed creation, disabled and destroyed": ("KEYFOLD", [("disable", 0), ("destroy", 0), ("failed", 0)]),
    "failed creation, deletion": ("KEYFOLD", [*WEEK, ("schedule", 0), ("failed", 0), ("destroy", 0)]),
    "failed rotation of the last version": (
        "KEYFOLD",
        [("done", 0), ("rotate", 0), ("disable version", 0), ("destroy version", 0), ("disable", 0), ("failed", 0)],
    ),
    "failed version, disabled": (
        "KEYFOLD",
        [("done", 0), ("rotate", 0), ("rotate", 0), ("disable version", 1), ("failed", 0), ("done", 0)],
    ),
    "failed version, disabled and enabled": (
        "KEYFOLD",
        [("done", 0), ("rotate", 0), ("rotate", 0), ("disable version", 1), ("enable version", 1), ("failed", 0)],
    ),
    "failed version, destroyed": (
        "KEYFOLD",
        [("done", 0), ("rotate", 0), ("rotate", 0), ("mark", 1), ("destroy version", 1), ("failed", 0), ("done", 0)],
    ),
    "failed version, disabled, key destroyed": (
        "KEYFOLD",
        [("done", 0), ("rotate", 0), ("rotate", 0), ("disable version", 1), ("destroy", 0), ("failed", 0)],
    ),
    "failed rotations of versions that wait": (
        "EXTERNAL",
        [("done", 0), *IMPORT, ("done", 0), ("rotate", 0), ("rotate", 0), ("failed", 0)],
    ),
    "failed creation of a key that waits": ("EXTERNAL", [("rotate", 0), ("rotate", 0), ("failed", 0), ("failed", 0)]),
    "import, deletion meanwhile": (
        "EXTERNAL",
        [("done", 0), *IMPORT, ("done", 0), *IMPORT, ("delete", 0), ("done", 0)],
    ),
    "import, version destroyed meanwhile": (
        "EXTERNAL",
        [
            ("done", 0), ("rotate", 0), ("done", 0), ("issue", 1), ("import", 0), ("disable version", 1),
            ("destroy version", 1), ("done", 0), ("erased", 0),
        ],
    ),
    "import, and another": ("EXTERNAL", [("done", 0), *IMPORT, *IMPORT, ("done", 0)]),
    "import, key destroyed meanwhile": ("EXTERNAL", [*IMPORT, ("destroy", 0), ("done", 0)]),
    "import, rotation meanwhile": ("EXTERNAL", [*IMPORT, ("rotate", 0), ("mark", 0), ("done", 0)]),
    "erased, read late": (
        "KEYFOLD",
        [("rotate", 0), ("disable version", 0), ("destroy version", 0), ("done", 0), ("done", 0), ("erased", 0)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_every_order_of_a_life(name: str) -> None:
    """Histories that are hard to get right, in every order that the log can have them in."""
    for to_the_end in (False, True):
        life = lived(*NAMED[name], to_the_end=to_the_end)
        orders = list(life.orders())
        assert len(orders) > 1
        agree(life, orders)


@pytest.mark.parametrize("name", NAMED)
def test_every_step_can_happen(name: str) -> None:
    """The named histories are what they say: each of their steps is legal where it stands."""
    origin, steps = NAMED[name]
    life = Life(origin)
    assert [step for step in steps if not life.step(*step)] == []


def test_orders_are_those_of_a_log() -> None:
    """No outcome comes before its command, none overtakes another, and decisions keep their order."""
    life = lived(*NAMED["import, deletion meanwhile"])
    decided = [event.id for event in life.decisions]
    outcomes = [read.event.id for read in life.outcomes]
    for events in life.orders():
        ids = [event.id for event in events]
        assert [each for each in ids if each in decided] == decided
        assert [each for each in ids if each in outcomes] == outcomes
        for read in life.outcomes:
            assert ids.index(read.event.id) > ids.index(decided[read.earliest - 1])
    assert all(before.latest <= after.latest for before, after in pairwise(life.outcomes))


WINDOW = {"pending_window_seconds": 7 * 86_400}
DECIDED: list[list[tuple[str, dict[str, Any]]]] = [
    [("RotateKey", {})],
    [("EnableKey", {})],
    [("DisableKey", {"reason": "x"})],
    [("DisableKey", {"reason": "x"}), ("EnableKey", {})],
    [("ScheduleKeyDeletion", WINDOW)],
    [("ScheduleKeyDeletion", WINDOW), ("CancelKeyDeletion", {})],
    [("ScheduleKeyDeletion", WINDOW), ("DestroyKey", {})],
    [("DestroyKeyNow", {})],
    [("TagResource", {"tags": {"a": "b"}})],
    [("UpdateUsageBudget", {"items": 5})],
    [("RotateKey", {}), ("RotateKey", {}), ("DisableKey", {"reason": "x"})],
    [("RotateKey", {}), ("DestroyKeyNow", {})],
]


@pytest.mark.parametrize("decided", DECIDED, ids=lambda steps: "-".join(verb for verb, _ in steps))
@pytest.mark.parametrize("failing", ["CreateKey", "RotateKey"])
def test_a_failure_comes_to_the_same_wherever_it_is_read(failing: str, decided: list[tuple[str, Any]]) -> None:
    """A failed operation before or behind every later decision that policy really makes leaves the same key."""
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
