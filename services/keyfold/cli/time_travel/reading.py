"""What the commands of this package read, and how: options, times, and the world as of a time.

`keyfold key show` takes its options from here and mostly reads the present: what only the past needs (the readers of
the log, the rules of deciding) is imported when it is read.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from keyfold.cli.arguments import past
from keyfold.cli.exits import UsageError
from keyfold.cli.session import Session, now_ms
from keyfold.client.identifiers import is_alias
from keyfold.events.entities import Alias, Entity
from keyfold.events.errors import NotFound
from keyfold.events.streams import key_stream, partition_of
from keyfold.events.times import to_milliseconds, to_text

if TYPE_CHECKING:
    from keyfold.cli.policy_sources import Source
    from keyfold.deciding.as_of import AsOf
    from keyfold.deciding.replaying import Leaf
    from keyfold.events import facts

At = Annotated[
    str | None, typer.Option("--at", metavar="WHEN", help="As of a time (UTC), or 30d, 12h, 15m, 90s ago. Else now.")
]
Trail = Annotated[bool, typer.Option("--trail", help="Read the audit trail in Postgres instead of the verified log.")]

ArchiveDirectory = Annotated[
    Path | None,
    typer.Option("--archive", metavar="DIR", help="Read an exported archive instead, without a deployment."),
]


class Fold(Protocol):
    """What takes events in beside the state."""

    def add(self, event: "facts.Event") -> None: ...


def instant(text: str | None, option: str) -> str | None:
    """Read a time that is over, or a span that ends now. Raises `UsageError`."""
    if text is None:
        return None
    from keyfold.client.arguments import moment

    at, now = moment(past(text, option), now_ms()), to_text(now_ms())
    if at > now:
        raise UsageError(f"{option} takes a time that is over; it is {now}, and {at} is ahead")
    return at


@asynccontextmanager
async def opened(session: Session, *, trail: bool, archive: Path | None = None) -> "AsyncIterator[Source]":
    """Open what is to be read. Raises `UsageError` for two of them at once."""
    if archive is not None:
        if trail:
            raise UsageError("--trail and --archive are two places to read from; choose one")
        from keyfold.auditing.archive_reader import ArchiveSource  # its formats take a second to import
        from keyfold.cli.time_travel.archived import recorded_log

        log = await recorded_log(ArchiveSource(archive))
        session.say(f"reading an archive of deployment {log.deployment}")
        yield log
        if log.passed_over:
            session.say(f"{log.passed_over} records are not authentic and were passed over")
        return
    from keyfold.cli.policy_sources import source

    async with source(session, log=not trail) as found:
        yield found


async def prefix(log: "Source", partition: int, until: str | None) -> "AsyncGenerator[Leaf, None]":
    """Yield the leaves of a partition as of a time, or all of them."""
    from keyfold.deciding.as_of import Prefix

    wanted = Prefix(until)
    async with aclosing(log.read(partition)) as leaves:
        async for leaf in leaves:
            if wanted.over(leaf):
                return
            if wanted.holds(leaf):
                yield leaf


async def registry_as_of(log: "Source", at: str | None) -> dict[str, Entity]:
    """Fold the registry up to a time, or all of it."""
    from keyfold.deciding.replaying import REGISTRY_PARTITION, fold

    entities: dict[str, Entity] = {}
    async with aclosing(prefix(log, REGISTRY_PARTITION, at)) as leaves:
        async for leaf in leaves:
            fold(entities, leaf.event)
    return entities


def key_named(name: str, registry: dict[str, Entity], at: str | None) -> str:
    """Return the id of a key by id or by what the alias meant then. Raises `NotFound`, `InvalidArgument`."""
    if not is_alias(name):
        return name
    alias = registry.get(name)
    if not isinstance(alias, Alias):
        raise NotFound(f"{name} named no key {'at ' + at if at else 'so far'}; a key's id is the same at all times")
    return alias.key_id


async def as_of(log: "Source", name: str, at: str | None, *folds: Fold) -> "AsOf":
    """Fold registry and key up to a time, and what else takes the key's events. Raises `NotFound`."""
    from keyfold.deciding.as_of import AsOf

    registry = await registry_as_of(log, at)
    found = AsOf(key_named(name, registry, at), registry)
    stream = key_stream(found.key_id)
    async with aclosing(prefix(log, partition_of(stream, log.partitions), at)) as leaves:
        async for leaf in leaves:
            found.add(leaf.event)
            for each in folds if leaf.event.subject == stream else ():
                each.add(leaf.event)
    return found


def milliseconds(at: str | None) -> int:
    """Return a time, or this machine's clock where none is given."""
    return now_ms() if at is None else to_milliseconds(at)
