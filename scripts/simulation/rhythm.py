"""When somebody works: intensities by hour of the week, holidays, and arrival times drawn from them.

Times are milliseconds since 1970, UTC. The first day of every scenario is a Monday.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS
START_MS: Final = 1_767_571_200_000
"""Monday, 2026-01-05T00:00:00Z."""

Floats = NDArray[np.float64]
Profile = Floats
"""168 intensities, Monday 00:00 local time first; the busiest hours are about 1."""


def interactive(rng: np.random.Generator) -> Profile:
    """Return the profile of a service that people use: day and night, a dip at lunch, calmer weekends."""
    hours = np.arange(24)
    night = rng.uniform(0.05, 0.25)
    day = night + (1 - night) * np.exp(-(((hours - rng.uniform(12.5, 15)) / rng.uniform(4, 5.5)) ** 2))
    day[12] *= rng.uniform(0.75, 0.95)
    weekend = rng.uniform(0.2, 0.7)
    return np.concatenate([day * factor for factor in (1, 1, 1, 1, 0.95, weekend, weekend)])


def office(rng: np.random.Generator) -> Profile:
    """Return the profile of people at work: weekdays from eight or nine to five or six, and nothing else."""
    hours = np.arange(24)
    first, last = rng.integers(7, 10), rng.integers(16, 19)
    day = np.where((hours >= first) & (hours < last), 1.0, 0.0)
    day[12] *= 0.4
    return np.concatenate([day * factor for factor in (1, 1, 1, 1, 0.8, 0, 0)])


def arrivals(
    rng: np.random.Generator,
    profile: Profile,
    per_hour: float,
    span: tuple[int, int],
    *,
    zone_hours: int = 0,
    holidays: Sequence[int] = (),
    shape: float = 6.0,
) -> NDArray[np.int64]:
    """Draw sorted times in a span: a Poisson process by the hour, whose rate varies itself (gamma, of this shape).

    On a holiday (days since `START_MS`, local time) the profile is Sunday's.
    """
    start, end = span
    firsts = np.arange(start - start % HOUR_MS, end, HOUR_MS)
    local = (firsts - START_MS) // HOUR_MS + zone_hours
    hours = np.where(np.isin(local // 24, holidays), 144 + local % 24, local % 168)
    means = per_hour * profile[hours] * rng.gamma(shape, 1 / shape, len(firsts))
    times = np.repeat(firsts, rng.poisson(means))
    times = np.sort(times + rng.integers(0, HOUR_MS, len(times)))
    return times[(times >= start) & (times < end)]


def clumps(rng: np.random.Generator, times: NDArray[np.int64], mean: float, within_ms: int) -> NDArray[np.int64]:
    """Let each time stand for a few requests that follow each other: geometric in number, within a while."""
    many = np.repeat(times, rng.geometric(1 / mean, len(times)))
    return np.sort(many + rng.integers(0, within_ms, len(many)))
