"""The months that the audit table is partitioned by. Pure; it knows no database and no clock.

Only months of this century's ordinary years get a table of their own. A time outside of them can only come from a
broken clock, and goes to a table for all that is before or after, so that no such clock can make thousands of tables.
"""

from typing import Final

FIRST_YEAR: Final = 2020
LAST_YEAR: Final = 2099


def month_of(time: str) -> str:
    """Return the month of an instant as `2026_01`, or `before` or `after` all months."""
    year = int(time[:4])
    if year < FIRST_YEAR:
        return "before"
    return "after" if year > LAST_YEAR else f"{time[:4]}_{time[5:7]}"


def month_range(month: str) -> tuple[str, str]:
    """Return the first instant of a month and of the month after it."""
    year, number = int(month[:4]), int(month[5:7])
    following = (year + 1, 1) if number == 12 else (year, number + 1)
    return f"{year:04}-{number:02}-01 00:00:00+00", f"{following[0]:04}-{following[1]:02}-01 00:00:00+00"
