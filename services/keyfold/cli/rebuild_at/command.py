"""The commands about schemas of the past. They run here, as the owner of the projections; no service is asked."""

import asyncio
import re
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from keyfold.bus import Bus
from keyfold.cli import output
from keyfold.cli.arguments import time_of
from keyfold.cli.exits import UsageError
from keyfold.cli.rebuild_at.filling import Filling, fill
from keyfold.cli.session import Session, now_ms, of
from keyfold.events.times import to_milliseconds
from keyfold.log import TrustKeeper
from keyfold.projections.store.past import PostgresPast

_TOLD_EVERY: Final = 100_000


def rebuilt_at(session: Session, time: str, schema: str | None) -> dict[str, Any]:
    """Fill a schema with the state as of a moment; return what it is. Raises `UsageError`, `AlreadyExists`."""
    as_of = time_of(time, "--at")
    if to_milliseconds(as_of) > now_ms():
        raise UsageError(f"--at {time} is ahead; a moment of the past is needed")
    name = schema or "keyfold_at_" + re.sub(r"[^0-9a-z]", "_", as_of.lower()).strip("_")
    return session.run(_rebuild(session, name, as_of))


async def _rebuild(session: Session, name: str, as_of: str) -> dict[str, Any]:
    config = session.config
    past = PostgresPast(config.postgres_dsn)
    told = _Progress(session)
    try:
        bus, deployment = session.bus(config), config.deployment or ""
        events = await filled(bus, past, deployment, config.partitions, name=name, as_of=as_of, told=told.add)
    finally:
        await past.close()
    return {"schema": name, "as_of": as_of, "events": events}


async def filled(
    bus: Bus,
    past: PostgresPast,
    deployment: str,
    partitions: int,
    *,
    name: str,
    as_of: str,
    told: Callable[[int], None],
) -> int:
    """Fill a schema of the past from all partitions at once; return how many leaves of the log are in it.

    Raises `AlreadyExists`, `ChainGap`, `StateMismatch`, `Unavailable`. What was written stays, and is gone on from.
    """
    keeper = TrustKeeper(bus, deployment, partitions)
    try:
        trust = await keeper.catch_up()
    finally:
        await keeper.stop()
    await past.begin(name, as_of, partitions)

    async def partition(number: int) -> int:
        store = past.partition_store(name)
        try:
            filling = Filling(trust, store, partitions, await store.offsets(number), as_of)
            await fill(bus, filling, number, told)
        finally:
            await store.close()
        return filling.offsets.position

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(partition(number)) for number in range(partitions)]
    except BaseExceptionGroup as failure:
        raise failure.exceptions[0] from None  # one is enough to know what to do, and the others may be its echo
    await past.finish(name)
    return sum(task.result() for task in running)


class _Progress:
    """Tells now and then how many events there are."""

    def __init__(self, session: Session) -> None:
        self._session, self._events = session, 0

    def add(self, events: int) -> None:
        before, self._events = self._events, self._events + events
        if before // _TOLD_EVERY != self._events // _TOLD_EVERY:
            self._session.say(f"{self._events} events")


def list_(context: typer.Context) -> None:
    """List the schemas of the past, as `rebuild --at` made them.

    Example: keyfold projections list
    """
    session = of(context)
    found = session.run(_all(session))
    rows = [(past.name, past.as_of, past.created_at, past.completed_at or "being filled") for past in found]
    session.show(output.plain(found), output.table(("SCHEMA", "AS OF", "CREATED", "COMPLETE"), rows))


def drop(context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="The schema.")]) -> None:
    """Remove a schema of the past. The live projections cannot be named here.

    Example: keyfold projections drop keyfold_at_2026_01_31t12_00_00_000z
    """
    session = of(context)
    session.run(_drop(session, name))
    session.show({"dropped": name}, f"{name} is gone")


async def _all(session: Session) -> list[Any]:
    past = PostgresPast(session.config.postgres_dsn)
    try:
        return list(await past.all())
    finally:
        await past.close()


async def _drop(session: Session, name: str) -> None:
    past = PostgresPast(session.config.postgres_dsn)
    try:
        await past.drop(name)
    finally:
        await past.close()
