"""What was said already in this hour: the same aspect is said again only when it becomes more severe. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from keyfold.analytics.findings import HOUR_MS, SEVERITIES, Signal


class Said:
    """The aspects of one hour, with the highest severity that was said. It forgets them with the hour."""

    __slots__ = ("hour", "severities")

    def __init__(self, hour: int = 0, severities: Mapping[str, int] | None = None) -> None:
        self.hour = hour
        self.severities = dict(severities or {})

    def news(self, signals: Iterable[Signal]) -> list[Signal]:
        """Return those that were not said in the hour in which they ended."""
        new = []
        for signal in signals:
            hour = (signal.until_ms - 1) // HOUR_MS
            if hour != self.hour:
                self.hour, self.severities = hour, {}
            rank = SEVERITIES.index(signal.severity)
            if rank > self.severities.get(signal.aspect, -1):
                self.severities[signal.aspect] = rank
                new.append(signal)
        return new

    def dump(self) -> list[Any]:
        """Return what was said."""
        return [self.hour, self.severities] if self.severities else []

    @classmethod
    def load(cls, document: list[Any]) -> "Said":
        """Return what a document of `dump` says."""
        return cls(*document)
