"""Warnings before key material goes: when it was used last, what still needs it, and the question.

Warnings come from the projections and never stop anything; that nobody agrees does.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from keyfold.cli.exits import UsageError
from keyfold.cli.projected import key_of
from keyfold.cli.session import Session, now_ms
from keyfold.events.entities import Key
from keyfold.events.errors import KeyfoldError
from keyfold.events.times import to_text
from keyfold.projections.ports import Queries
from keyfold.projections.rows import LastUse

Yes = Annotated[bool, typer.Option("--yes", help="It is meant: do not ask.")]


def confirmed(
    session: Session, key: str, question: str, *, yes: bool, version: int | None = None, for_good: bool = True
) -> None:
    """Tell what needs the key or this version of it, and ask, unless it was answered before.

    Without a terminal nobody can be asked: what is `for_good` must then be said. Raises `UsageError`, `typer.Abort`.
    """
    terminal = sys.stdin.isatty()
    if for_good and not yes and not terminal:
        raise UsageError("this destroys key material for good; say so with --yes")
    for line in _warnings(session, key, version):
        session.say(f"warning: {line}")
    if terminal and not yes:
        typer.confirm(question, abort=True, err=True)


def _warnings(session: Session, key: str, version: int | None) -> list[str]:
    try:
        return session.ask(lambda queries: warnings_of(queries, key, version))
    except KeyfoldError as error:
        return [f"the projections cannot say what still needs {key}: {error}"]


async def warnings_of(queries: Queries, name: str, version: int | None = None) -> list[str]:
    """Return what speaks against destroying a key, or one version of it."""
    key = await key_of(queries, name)
    uses = [use for use in await queries.last_use(key.key_id) if version in {None, use.version}]
    found = list(_of_use(key, uses))
    if version is not None:
        return found
    aliases = [alias.alias for alias in await queries.aliases(key_id=key.key_id)]
    if aliases:
        found.append(f"it is named by {', '.join(aliases)}")
    grants = await queries.grants(key_id=key.key_id, live_at=to_text(now_ms()))
    if grants:
        found.append(f"{len(grants)} grants let {', '.join(sorted({grant.grantee for grant in grants}))} use it")
    return found


def _of_use(key: Key, uses: Sequence[LastUse]) -> Iterator[str]:
    for use in uses:
        yield (
            f"version {use.version} was used last at {use.last_used_at} by {use.principal}; "
            f"it served {use.items} items, and protected {_protected(key, use.version)}"
        )


def _protected(key: Key, version: int) -> int:
    return key.version(version).protected_items if 1 <= version <= len(key.versions) else 0
