"""What a count's usual maximum is in each hour of the week, learned online, and how improbable a higher one is. Pure.

Of each hour with any of it one number is learned: the maximum of a window's count in that hour (a block maximum, as in
extreme value theory), on a logarithmic scale. So bursts are usual where they are usual, whatever makes them, and to
look every ten seconds costs no more false alarms than to look once an hour. The model is a level times a profile:

    log(1 + maximum) = level + hour of the day + hour of the week + spread x standard normal residual

Each residual moves all of these by its weight in the exponentially weighted mean (river's `EWMean`): the level soon,
the hours of the week slowly, so that what is not known of an hour comes from the level. The prior of an unknown entity
fades with each active hour. What is expected is the largest of an hour and its neighbours, since jobs come early and
late. Of a maximum beyond a limit of severity only that limit is learned: an attack does not make itself usual at once,
and what lasts becomes usual in the end. Hours without any are not learned from: see `unusual_hour`.
"""

import math
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import Any, Final

from river.stats import EWMean

from keyfold.analytics.detectors.settings import BaselineSettings
from keyfold.analytics.findings import HOUR_MS

AGAIN: Final = 1.5
"""How much more the count of a day has to be than was told: it stays high long after what made it so has ended."""

DAY: Final = 24
WEEK: Final = 168
_PARTS: Final = 32
"""A profile is kept in thirty-seconds of a natural logarithm, one byte an hour: from -4 to 4, a factor of fifty."""

_MONDAY: Final = 72
"""Hours from a Monday at 00:00 UTC to the beginning of the epoch, a Thursday."""

_SLOWNESS: Final = 12
"""How much less an hour teaches of a window of a day, most of which it has in common with the hour before."""

_LEAST_RESIDUAL: Final = -1.0
"""A holiday must not teach that anything is possible."""


def deviations(probability: float) -> float:
    """Return how many standard deviations above its mean a normal variable is exceeded with a probability."""
    return -NormalDist().inv_cdf(probability)


class Limits:
    """Settings of baselines as they need them, and the lengths of their windows, the shortest first.

    `noise` is how much of Poisson's spread small counts are allowed.
    """

    __slots__ = ("deviations", "noise", "settings", "slow", "windows")

    def __init__(self, settings: BaselineSettings, windows: Sequence[int], noise: float) -> None:
        self.settings, self.windows, self.noise = settings, tuple(windows), noise
        self.slow = tuple(window > HOUR_MS for window in windows)
        chances = (settings.low, settings.medium, settings.high, settings.critical)
        self.deviations = tuple(map(deviations, chances))


class Baseline:
    """The usual maxima of one window's count. Hours are counted from the epoch; `expected` is of the current one."""

    __slots__ = (
        "_level",
        "_limits",
        "_profile",
        "_spread",
        "_text",
        "expected",
        "high_hour",
        "hours",
        "peak",
        "rules",
        "slowness",
        "told",
        "told_rank",
    )

    def __init__(self, rules: Limits, slow: bool) -> None:
        """Begin with the prior. `hours` are those that were learned from, `peak` is the current one's maximum, `told`
        the count that was told of last, as long as that is not over, `told_rank` how severe that was, and `high_hour`
        when it was high last."""
        self.rules, self.hours, self.peak, self.expected = rules, 0, 0, 0.0
        self.told, self.told_rank, self.high_hour = 0, -1, 0
        self._level, self._spread, self.slowness = 0.0, 0.0, _SLOWNESS if slow else 1
        self._profile = array("b", bytes(DAY + WEEK))
        self._limits: tuple[float, ...] = ()
        self._text: str | None = None

    def judge(self, hour: int, count: int) -> int:
        """Take in a count of an hour, and return the rank of its severity: 0 is low, 3 critical, -1 usual."""
        self.peak = max(self.peak, count)
        limits = self._limits or self._set_limits(hour)
        if count <= limits[0]:
            return -1
        return sum(count > limit for limit in limits) - 1

    def is_told(self, hour: int, count: int, rank: int) -> bool:
        """Tell whether a day's count is high of what was told already, as severely. It is forgotten when it is much
        lower, and after a usual day."""
        if self.slowness == 1 or not self.told:
            return False
        if rank >= 0:
            self.high_hour = hour
        if count * AGAIN < self.told or hour - self.high_hour >= DAY:
            self.told, self.told_rank = 0, -1
        return rank <= self.told_rank and count < AGAIN * self.told

    def tell(self, hour: int, count: int, rank: int) -> None:
        """Note that a count was told of, so severely."""
        self.told, self.told_rank, self.high_hour = count, rank, hour

    def move_on(self, hour: int) -> None:
        """Learn the maximum of an hour that is over."""
        if self.peak:
            low, medium, *_ = self._limits or self._set_limits(hour)
            most = low if self.slowness > 1 else medium
            self._learn(hour, math.log1p(min(self.peak, most)), math.log1p(min(self.peak, low)))
            self.hours += 1
        self.peak, self._limits, self._text = 0, (), None

    def _learn(self, hour: int, seen: float, usual: float) -> None:
        settings, (day, week) = self.rules.settings, _places(hour)
        least = 1 / (self.hours + 1)
        residual = seen - self._level - (self._profile[day] + self._profile[week]) / _PARTS
        self._level = _blend(self._level, self._level + residual, max(least, settings.level_fading / self.slowness))
        if self.hours:
            # An hour in which it never is has no profile yet: its residual says nothing of how much it varies.
            most = self.rules.deviations[0] * math.sqrt(self._spread + settings.least_spread**2)
            squared = min(max(residual - (seen - usual), _LEAST_RESIDUAL), most) ** 2
            self._spread = _blend(self._spread, squared, max(1 / self.hours, settings.spread_fading / self.slowness))
            self._move(day, settings.day_fading * residual)
            self._move(week, settings.week_fading * residual)

    def _move(self, place: int, by: float) -> None:
        self._profile[place] = max(-127, min(127, self._profile[place] + round(by * _PARTS)))

    def _set_limits(self, hour: int) -> tuple[float, ...]:
        settings = self.rules.settings
        prior = math.exp(-self.hours / settings.prior_hours)
        mean = (1 - prior) * max(self._usual(hour), 0) + prior * math.log1p(settings.prior_count)
        self.expected = math.expm1(mean)
        variance = max(self._spread, self.rules.noise / (2 + self.expected)) + settings.least_spread**2
        spread = math.sqrt((1 - prior) * variance + prior * settings.prior_spread**2)
        self._limits = tuple(math.expm1(min(mean + each * spread, 50.0)) for each in self.rules.deviations)
        return self._limits

    def _usual(self, hour: int) -> float:
        # A day's window slides over early and late by itself; neighbours would pass on at once what was just learned.
        near = map(_places, (hour,) if self.slowness > 1 else (hour - 1, hour, hour + 1))
        return self._level + max(self._profile[day] + self._profile[week] for day, week in near) / _PARTS

    def dump(self) -> list[Any]:
        """Return it as JSON values."""
        if self._text is None:
            self._text = b64encode(self._profile).decode()
        numbers = (self.hours, self.peak, self.told, self.told_rank, self.high_hour)
        return [self._text, self._level, self._spread, *numbers]

    @classmethod
    def load(cls, rules: Limits, slow: bool, document: Sequence[Any]) -> "Baseline":
        """Return the baseline of a document of `dump`."""
        text, level, spread, *numbers = document
        loaded = cls(rules, slow)
        loaded._profile = array("b", b64decode(text, validate=True))
        if len(loaded._profile) != DAY + WEEK:
            raise ValueError("a baseline has one byte for each hour of a day and of a week")
        loaded._level, loaded._spread = float(level), float(spread)
        loaded.hours, loaded.peak, loaded.told, loaded.told_rank, loaded.high_hour = map(int, numbers)
        return loaded


class Baselines:
    """The baselines of one count over several windows, and the hour that they are in."""

    __slots__ = ("each", "hour")

    def __init__(self, hour: int, each: Iterable[Baseline]) -> None:
        self.hour, self.each = hour, tuple(each)

    @classmethod
    def begin(cls, rules: Limits, hour: int) -> "Baselines":
        """Return those of a count that was none before this hour."""
        return cls(hour, (Baseline(rules, slow) for slow in rules.slow))

    def judge(self, hour: int, counts: Sequence[int], minimum: int, milder: int = 0) -> tuple[int, int]:
        """Take in the counts of all windows; return the highest rank, less `milder`, and its window, the shortest of
        equals. A day's window that is high of what was told already says nothing."""
        if hour != self.hour:
            for baseline in self.each:
                baseline.move_on(self.hour)
            self.hour = hour
        ranks = [baseline.judge(hour, count) - milder for baseline, count in zip(self.each, counts, strict=True)]
        best, window = -1, 0
        for index, (baseline, count, rank) in enumerate(zip(self.each, counts, ranks, strict=True)):
            told = baseline.is_told(hour, count, rank)
            if rank > best and count >= minimum and not told:
                best, window = rank, index
        if best >= 0:
            for baseline, count, rank in zip(self.each, counts, ranks, strict=True):
                if rank >= 0:
                    baseline.tell(hour, count, best)
        return best, window

    def dump(self) -> list[Any]:
        """Return them as JSON values."""
        return [self.hour, *(baseline.dump() for baseline in self.each)]

    @classmethod
    def load(cls, rules: Limits, document: Sequence[Any]) -> "Baselines":
        """Return those of a document of `dump`."""
        hour, *each = document
        return cls(int(hour), (Baseline.load(rules, *one) for one in zip(rules.slow, each, strict=True)))


def _places(hour: int) -> tuple[int, int]:
    """Return where a profile keeps an hour of the day, and of the week."""
    return hour % DAY, DAY + (hour + _MONDAY) % WEEK


def _blend(old: float, new: float, weight: float) -> float:
    mean = EWMean(weight)
    mean.update(old)
    mean.update(new)
    return mean.get()
