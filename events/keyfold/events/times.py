"""Instants as RFC 3339 text in documents and as whole milliseconds since 1970 in code.

It reads no clock: time is always an argument.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints

from keyfold.events.errors import InvalidCommand

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 253_402_300_799_999
_MILLISECOND: Final = timedelta(milliseconds=1)
_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"
_MATCH: Final = re.compile(_PATTERN).fullmatch
_FORM: Final = "times are UTC with milliseconds, like 2026-01-31T12:00:00.000Z"


def to_text(milliseconds: int) -> str:
    """Format as UTC with milliseconds: `2026-01-31T12:00:00.000Z`."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def nearest_text(milliseconds: int) -> str:
    """Format a time that nobody vouches for, as a record's timestamp: the nearest from 1970 to 9999, as any number is
    possible."""
    return to_text(min(max(milliseconds, 0), _LAST_MS))


@lru_cache(maxsize=4096)
def to_milliseconds(text: str) -> int:
    """Parse the one accepted form (UTC, milliseconds, `Z`). Raises `InvalidCommand` for any other."""
    if _MATCH(text) is None:  # fromisoformat alone also takes week dates, commas and mixed forms
        raise InvalidCommand(_FORM)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidCommand(_FORM) from None
    return (moment - _EPOCH) // _MILLISECOND


@lru_cache(maxsize=4096)
def _checked(text: str) -> str:
    try:
        to_milliseconds(text)
    except InvalidCommand as error:
        raise ValueError(str(error)) from None
    return text


Instant = Annotated[str, StringConstraints(pattern=_PATTERN), AfterValidator(_checked)]
