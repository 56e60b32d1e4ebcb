"""Arguments of commands as JSON text, checked against the published schema before anything is sent.

What is wrong in form is found here, as `InvalidArgument` that names the place; whether it makes sense together with
what exists is for the service to say.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from keyfold.client.errors import InvalidArgument
from keyfold.events import commands
from keyfold.events.commands import BY_VERB, AnyCommand
from keyfold.events.errors import InvalidCommand
from keyfold.events.times import to_milliseconds, to_text

When = datetime | timedelta | str
"""A time: with its zone, as a span from now (the client's clock), or as text like 2026-01-31T12:00:00.000Z."""

MAX_REASON: Final = 1024


def command_of(verb: str) -> type[AnyCommand]:
    """Return the model of a verb's command. Raises `InvalidArgument` for an unknown verb."""
    model = BY_VERB.get(verb)
    if model is None:
        raise InvalidArgument(f"there is no verb {verb!r}; verbs are named as in AWS KMS, like DisableKey")
    return model


def arguments_model(verb: str) -> type[BaseModel]:
    """Return the model of a verb's arguments. Raises `InvalidArgument` for an unknown verb."""
    return commands.arguments_model(command_of(verb).verb)


def arguments_text(verb: str, arguments: Mapping[str, Any]) -> str:
    """Return a verb's arguments as JSON text that the service will read. Raises `InvalidArgument`."""
    text = _json(arguments)
    try:
        arguments_model(verb).model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InvalidArgument(f"{verb}: {where or 'arguments'}: {problem['msg']}") from None
    return text


def moment(when: When, now_ms: int) -> str:
    """Return a time as commands say it. Raises `InvalidArgument`."""
    if isinstance(when, timedelta):
        return to_text(now_ms + round(when.total_seconds() * 1000))
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise InvalidArgument("a time needs its zone: datetime.now(UTC), not datetime.now()")
        return to_text(round(when.timestamp() * 1000))
    try:
        to_milliseconds(when)
    except (InvalidCommand, TypeError) as error:
        raise InvalidArgument(f"{error}; or give a datetime with its zone, or a timedelta from now") from None
    return when


def period_seconds(period: timedelta | int) -> int:
    """Return a period in seconds; a number counts days. Raises `InvalidArgument`."""
    seconds = round((period if isinstance(period, timedelta) else timedelta(days=period)).total_seconds())
    if seconds < 1:
        raise InvalidArgument("a period is a timedelta or a number of days, and at least a second")
    return seconds


def check_reason(reason: str | None) -> str | None:
    """Return a reason as it is. Raises `InvalidArgument`."""
    if reason is None:
        return None
    if not isinstance(reason, str) or len(reason) > MAX_REASON:
        raise InvalidArgument(f"a reason is text of at most {MAX_REASON} characters")
    _json({"reason": reason})
    return reason


def _json(arguments: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError):
        raise InvalidArgument("an argument can't be written as JSON text") from None
    if any("\0" in part for part in _texts(arguments)):
        raise InvalidArgument("text can't hold U+0000")
    return text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)
