"""Words for people: numbers, windows and hours of the week. Pure."""

from datetime import UTC, datetime
from typing import Final

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_UNITS: Final = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"))


def span(length_ms: float) -> str:
    """Say a length of time in its largest whole unit: `10 minutes`, `an hour`, `34 days`."""
    for unit_ms, name in _UNITS:
        if length_ms >= unit_ms:
            number = round(length_ms / unit_ms)
            return f"{number:,} {name}s" if number > 1 else ("an hour" if name == "hour" else f"a {name}")
    return "a moment"


def hour_of_week(time_ms: int) -> str:
    """Say the hour of the week: `a Tuesday at 03:00 UTC`."""
    time = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"a {_DAYS[time.weekday()]} at {time.hour:02}:00 UTC"


def usual(expected: float, time_ms: int) -> str:
    """Say how many are usual in the hour of the week: `about 35 are usual on a Tuesday at 03:00 UTC`."""
    number = round(expected)
    how_many = {0: "none is", 1: "about one is"}.get(number, f"about {number:,} are")
    return f"where {how_many} usual on {hour_of_week(time_ms)}"


def plural(number: int, noun: str) -> str:
    """Say a number of things."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
