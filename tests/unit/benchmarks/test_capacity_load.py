"""What several clients saw is put together, and their answers' rate does not depend on where a window cuts bursts."""

import pytest
from benchmarks.capacity_load import Seen


def bursts(size: int, every_s: float, until_s: float) -> list[float]:
    """Answers that come many at once, as a transaction brings them."""
    return [moment * every_s for moment in range(int(until_s / every_s)) for _ in range(size)]


def test_the_rate_is_that_of_bursts() -> None:
    """Four bursts of 60, 2.9 s apart, in a window of 10 s: 20.7 a second, not 24."""
    assert Seen(answered_s=bursts(60, 2.9, 12.0)).rate == pytest.approx(60 / 2.9, rel=0.01)


def test_hardly_any_answers_have_no_rate() -> None:
    """A line needs points."""
    assert Seen(answered_s=[1.0, 2.0]).rate == 0


def test_what_two_clients_saw_is_added() -> None:
    """Their answers are counted on one clock."""
    one = Seen(3, 1, 0.5, bursts(1, 1.0, 20.0), [0.1, 0.3])
    two = Seen(4, 0, 0.25, [moment + 0.5 for moment in bursts(1, 1.0, 20.0)], [0.2])
    both = one + two
    assert (both.commands, both.failed, both.processor_s) == (7, 1, 0.75)
    assert (one.rate, both.rate) == pytest.approx((1.0, 2.0))
    assert both.percentile_ms(0.5) == 200
