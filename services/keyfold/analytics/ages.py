"""Who is remembered and who is forgotten, by event time; the same live and over history. Pure.

Once an hour, those that were not seen for long; at any time, of too many those that were seen least lately. Whoever has
open ticks is never forgotten.
"""

from collections.abc import Callable
from typing import Final

from keyfold.analytics.settings import AnalyticsSettings

_DAY_MS: Final = 24 * 3_600_000
_HOUR_MS: Final = 3_600_000


class Ages:
    """When entities were seen last, by the day: enough to find the oldest without looking at all."""

    def __init__(self) -> None:
        self._day: dict[bytes, int] = {}
        self._days: dict[int, dict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._day)

    def saw(self, name: bytes, seen_ms: int) -> None:
        """Note when a name was seen."""
        day = seen_ms // _DAY_MS
        if self._day.get(name) != day:
            self.drop(name)
            self._day[name] = day
            self._days.setdefault(day, {})[name] = None

    def drop(self, name: bytes) -> None:
        """Forget a name."""
        day = self._day.pop(name, None)
        if day is not None:
            names = self._days[day]
            del names[name]
            if not names:
                del self._days[day]

    def before(self, time_ms: int) -> list[bytes]:
        """Return the names that were last seen on a day that was over at a time."""
        return [name for day in list(self._days) if (day + 1) * _DAY_MS <= time_ms for name in self._days[day]]

    def oldest(self, number: int) -> list[bytes]:
        """Return so many names, of the longest unseen days."""
        found: list[bytes] = []
        for day in sorted(self._days):
            if len(found) >= number:
                break
            found += list(self._days[day])[: number - len(found)]
        return found


class Forgetting:
    """The names of one partition that are remembered."""

    def __init__(self, settings: AnalyticsSettings) -> None:
        self._settings, self._ages, self._hour = settings, Ages(), 0

    def __len__(self) -> int:
        return len(self._ages)

    def saw(self, name: bytes, seen_ms: int) -> None:
        """Note when a name was seen."""
        self._ages.saw(name, seen_ms)

    def due(self, low_ms: int, is_open: Callable[[bytes], bool]) -> list[bytes]:
        """Forget whose time has come when all was read up to a time, and return their names."""
        names: list[bytes] = []
        hour = low_ms // _HOUR_MS
        if hour != self._hour:
            self._hour = hour
            names = self._ages.before(low_ms - self._settings.keep_ms)
        surplus = len(self._ages) - len(names) - self._settings.max_entities
        if surplus > 0:
            # Some more than need be, so that this is not done for each that comes.
            names += self._ages.oldest(surplus + self._settings.max_entities // 50)
        gone = [name for name in dict.fromkeys(names) if not is_open(name)]
        for name in gone:
            self._ages.drop(name)
        return gone
