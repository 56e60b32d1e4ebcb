"""Arrivals follow the profile, the zone and the holidays."""

import numpy as np
from simulation.rhythm import DAY_MS, HOUR_MS, START_MS, WEEK_MS, arrivals, clumps, office


def test_nobody_is_in_the_office_at_night_or_at_weekends() -> None:
    """With an office profile all times lie on weekdays from seven to seven, local time."""
    rng = np.random.default_rng(1)
    times = arrivals(rng, office(rng), 20.0, (START_MS, START_MS + 4 * WEEK_MS), zone_hours=5)
    local = (times - START_MS) // HOUR_MS + 5
    assert len(times) > 1_000
    assert set((local // 24 % 7).tolist()) == {0, 1, 2, 3, 4}
    assert 7 <= (local % 24).min() <= (local % 24).max() < 19


def test_a_holiday_is_a_sunday() -> None:
    """Who does not work on Sundays does not work on holidays."""
    rng = np.random.default_rng(2)
    times = arrivals(rng, office(rng), 20.0, (START_MS, START_MS + WEEK_MS), holidays=[2])
    assert set(((times - START_MS) // DAY_MS).tolist()) == {0, 1, 3, 4}


def test_times_lie_in_the_span_and_are_sorted() -> None:
    """A span may begin and end anywhere."""
    rng = np.random.default_rng(3)
    span = (START_MS + 12_345, START_MS + 7 * HOUR_MS + 1)
    times = arrivals(rng, np.ones(168), 500.0, span)
    assert span[0] <= times[0] <= times[-1] < span[1]
    assert (np.diff(times) >= 0).all()


def test_clumps_are_of_their_mean() -> None:
    """Each time becomes a few."""
    rng = np.random.default_rng(4)
    times = np.arange(10_000, dtype=np.int64) * HOUR_MS
    assert 2.8 < len(clumps(rng, times, 3.0, 1_000)) / len(times) < 3.2
