"""Instants as RFC 3339 text in documents and as whole milliseconds since 1970 in code.

It reads no clock: time is always an argument.
"""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator

from keyfold.events.errors import InvalidCommand

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

_FORM: Final = "times are UTC with milliseconds, like 2026-01-31T12:00:00.000Z"


def to_text(milliseconds: int) -> str:
    """Format as UTC with milliseconds: `2026-01-31T12:00:00.000Z`."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def to_milliseconds(text: str) -> int:
    """Parse the one accepted form (UTC, milliseconds, `Z`). Raises `InvalidCommand` for any other."""
    if len(text) != 24 or text[23] != "Z" or text[10] != "T":
        raise InvalidCommand(_FORM)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidCommand(_FORM) from None
    return int(moment.timestamp() * 1000 + 0.5)


def _checked(text: str) -> str:
    try:
        to_milliseconds(text)
    except InvalidCommand as error:
        raise ValueError(str(error)) from None
    return text


Instant = Annotated[str, AfterValidator(_checked)]
