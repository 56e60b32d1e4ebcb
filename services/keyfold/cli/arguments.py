"""Arguments that several commands share, and how their texts are read."""

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from keyfold.cli.exits import UsageError
from keyfold.events.errors import InvalidCommand
from keyfold.events.signatures import PUBLIC_KEY_BYTES, SignatureAlgorithm
from keyfold.events.streams import UUID_PATTERN
from keyfold.events.times import to_milliseconds

if TYPE_CHECKING:
    from keyfold.client import When
    from keyfold.client.control import Options

KeyName = Annotated[str, typer.Argument(metavar="KEY", help="A key id or an alias, like alias/orders.")]
PrincipalName = Annotated[str, typer.Argument(metavar="NAME", help="The principal.")]
Pairs = Annotated[
    list[str] | None,
    typer.Option("--context", "-c", metavar="NAME=VALUE", help="Encryption context; public, needed to decrypt."),
]
TagPairs = Annotated[
    list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="Tags that policies may mention.")
]
Ends = Annotated[
    str | None,
    typer.Option("--expires", metavar="WHEN", help="When it ends: 30d, 12h, 15m, 90s from now, or a time (UTC)."),
]
RotateAt = Annotated[
    int, typer.Option(min=0, max=95, help="Rotate at this percentage of the budget; 0: not by itself.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until the projections show it.")]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; signed, kept in the log, asked for by policies.")
]
Trial = Annotated[bool, typer.Option("--dry-run", help="Do nothing: only find out whether it would be allowed.")]
VersionNumber = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="The number of a version.")]
OneVersion = Annotated[
    int | None, typer.Option("--version", min=1, metavar="N", help="The version it is about; else the current one.")
]
UsedVersion = Annotated[
    int | None, typer.Option("--key-version", min=1, metavar="N", help="The version to use; else the current one.")
]
Approved = Annotated[
    str | None,
    typer.Option("--proposal", metavar="ID", help="An approved proposal that this carries out, as it was proposed."),
]
NotBefore = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="It protects nothing before: 30d, 12h, 15m, 90s from now, or a time (UTC)."),
]
NotAfter = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="Afterwards it opens and verifies only: a span from now, or a time (UTC)."),
]
ValidTo = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="The material is deleted then: a span from now, or a time (UTC)."),
]

_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(:\d\d)?(\.\d{3})?Z)?", re.ASCII)
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ALGORITHMS: Final[dict[int, SignatureAlgorithm]] = {size: name for name, size in PUBLIC_KEY_BYTES.items()}


def how(reason: str | None, dry_run: bool) -> "Options":
    """Return how a command is to be sent."""
    return {"reason": reason, "dry_run": dry_run}


def identifier(text: str) -> str:
    """Take an id as it is. Raises `UsageError`, before Postgres would have to read it."""
    if re.fullmatch(UUID_PATTERN, text) is None:
        raise UsageError(f"{text!r} is no id: a lower-case UUID, like 01890a5d-ac96-774b-bcce-b302099a8057")
    return text


def pairs(words: Sequence[str] | None, option: str = "--context") -> dict[str, str]:
    """Read NAME=VALUE words. Raises `UsageError`."""
    found: dict[str, str] = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} takes NAME=VALUE, not {word!r}")
        if name in found:
            raise UsageError(f"{option} {name} is given twice")
        found[name] = value
    return found


def chosen(words: Sequence[str], known: Sequence[str], option: str) -> list[Any]:
    """Return words of a closed vocabulary. Raises `UsageError`."""
    if unknown := [word for word in words if word not in known]:
        raise UsageError(f"{option} {unknown[0]} is not known; choose from {', '.join(known)}")
    return list(words)


def time_of(text: str, option: str) -> str:
    """Read a time (UTC) as people type it, and return it as events have it. Raises `UsageError`.

    Milliseconds, seconds and the time of the day may be left out: they are zero then.
    """
    typed = _TIME.fullmatch(text)
    if typed is not None and (typed[4] is None or typed[3] is not None):
        text = f"{typed[1]}T{typed[2] or '00:00'}{typed[3] or ':00'}{typed[4] or '.000'}Z"
    try:
        to_milliseconds(text)
    except InvalidCommand:
        raise UsageError(f"{option} takes a time in UTC, like 2026-01-31T12:00Z, or its day alone") from None
    return text


def moment(text: str, option: str = "--expires") -> "When":
    """Read a span from now (30d, 12h, 15m, 90s) or a time, as `time_of` does. Raises `UsageError`."""
    span = _SPAN.fullmatch(text)
    if span is not None:
        return timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        return time_of(text, option)
    except UsageError as error:
        raise UsageError(f"{error}; or a span like 30d, 12h, 15m or 90s") from None


def optional_moment(text: str | None) -> "When | None":
    """Read what `moment` does, if anything was said."""
    return None if text is None else moment(text)


def bound(text: str | None, option: str) -> "When | None":
    """Read what `moment` does, if anything was said; `never` takes a bound away and stays as it is."""
    return text if text in {None, "never"} else moment(text or "", option)


def past(text: str, option: str) -> "When":
    """Read a time, or a span that ends now: `2h` is two hours ago. Raises `UsageError`."""
    when = moment(text, option)
    return -when if isinstance(when, timedelta) else when


def period(text: str, option: str) -> timedelta:
    """Read a number of days, or a span (365d, 12h, 15m, 90s). Raises `UsageError`."""
    return timedelta(seconds=seconds(f"{text}d" if text.isdecimal() else text, option))


def seconds(text: str, option: str) -> int:
    """Read a span (30d, 12h, 15m, 90s) in seconds. Raises `UsageError`."""
    span = _SPAN.fullmatch(text)
    if span is None:
        raise UsageError(f"{option} takes a span like 30d, 12h, 15m or 90s")
    return int(timedelta(**{_UNITS[span[2]]: int(span[1])}).total_seconds())


def public_key(text: str) -> tuple[bytes, SignatureAlgorithm]:
    """Read a public key in hexadecimal; its length says which kind it is. Raises `UsageError`."""
    with suppress(ValueError, KeyError):
        key = bytes.fromhex(text)
        return key, _ALGORITHMS[len(key)]
    digits = " or ".join(f"{2 * size} ({name})" for size, name in sorted(_ALGORITHMS.items()))
    raise UsageError(f"--public-key takes hexadecimal digits: {digits}")


def read_text(source: str) -> str:
    """Read a text file, or standard input for `-`."""
    if source == "-":
        return typer.get_text_stream("stdin").read()
    return Path(source).expanduser().read_text("utf-8")
