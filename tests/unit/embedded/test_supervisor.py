"""Restart with back-off, as a value: when a part that died is started again, and when it is given up."""

from keyfold.embedded.supervisor import CALM_S, GIVE_UP_AFTER, Backoff


def crash(backoff: Backoff, now_s: float) -> tuple[Backoff, float]:
    """The part is found ended and is started as soon as allowed; returns the new state and the waiting time."""
    ended = backoff.after_end(now_s)
    wait = ended.not_before_s - now_s
    return ended.started(ended.not_before_s), wait


def test_waits_grow_to_a_bound_and_then_it_is_given_up() -> None:
    """A part that dies at once again and again waits longer each time, at most 15 s, and is given up in the end."""
    backoff, now_s, waits = Backoff(), 100.0, []
    while not backoff.given_up:
        backoff, wait = crash(backoff, now_s)
        waits.append(wait)
        now_s = backoff.last_start_s + 0.1
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(waits) == 15.0
    assert len(waits) == GIVE_UP_AFTER + 1


def test_a_minute_of_calm_forgives() -> None:
    """A part that ran for a minute starts from the shortest wait again."""
    backoff, _ = crash(Backoff(), 0.0)
    backoff, _ = crash(backoff, backoff.last_start_s + 1)
    _, wait = crash(backoff, backoff.last_start_s + CALM_S)
    assert wait == 0.5
