"""Start and stop times: which aims count as missed, and which calls were under way when the last service had ended."""

from benchmarks.startup import Measured
from benchmarks.startup_load import unanswered
from fault_injection.calls import Call
from tests.support.log_story import Finding
from tests.support.together import Ended

JUST_ENDED = Ended(10.0, 0)


def measured(ready_s: float = 15.0, ended: Ended = JUST_ENDED) -> Measured:
    """One round of one service, just within the aims."""
    found = Measured(ended={"hsm": [ended]})
    found.add("together", {"hsm": ready_s, "policy": 1.0})
    return found


def test_what_is_within_the_aims_is_not_missed() -> None:
    """To the last moment."""
    assert measured().missed() == []


def test_each_aim_is_missed_by_itself() -> None:
    """A slow start, a slow end, an end that was no end in order, and anything that was lost."""
    lost = measured()
    lost.load.findings.append(Finding("told", "a command", "was acknowledged, and has 0 outcomes"))
    assert measured(ready_s=15.1).missed() == ["ready after 15.1 s, aim 15 s"]
    assert measured(ended=Ended(10.1, 0)).missed() == ["ended after 10.1 s, aim 10 s"]
    assert measured(ended=Ended(1.0, -9)).missed() == ["exit codes other than 0: hsm -9"]
    assert "has 0 outcomes" in lost.missed()[0]


def test_the_worst_of_all_rounds_and_services_counts() -> None:
    """In every case, not only in the last."""
    found = measured(ready_s=3.0)
    found.add("alone", {"hsm": 16.0})
    found.add("alone", {"hsm": 2.0})
    found.ended["policy"] = [Ended(11.0, 0), Ended(1.0, 0)]
    assert (found.slowest_ready_s, found.slowest_end_s) == (16.0, 11.0)


def test_calls_under_way_are_counted_by_what_they_were_told() -> None:
    """Those that were answered before, or began later, are not among them."""
    calls = [
        Call("Encrypt", 1.0, 2.0, "acknowledged"),
        Call("Encrypt", 1.0, 9.0, "acknowledged"),
        Call("Sign", 4.0, 34.0, "unknown", "DeadlineExceeded"),
        Call("Sign", 6.0, 9.0, "acknowledged"),
    ]
    assert unanswered(calls, 5.0) == {"acknowledged": 1, "unknown DeadlineExceeded": 1}
