"""Arguments that several commands share, and how their texts are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from keyfold.cli.exits import UsageError

KeyName = Annotated[str, typer.Argument(metavar="KEY", help="A key id or an alias, like alias/orders.")]
Pairs = Annotated[
    list[str] | None,
    typer.Option("--context", "-c", metavar="NAME=VALUE", help="Encryption context; public, needed to decrypt."),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until the projections show it.")]


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


def read_text(source: str) -> str:
    """Read a text file, or standard input for `-`."""
    if source == "-":
        return typer.get_text_stream("stdin").read()
    return Path(source).expanduser().read_text("utf-8")
