"""`keyfold events show` and `events tail`: what happened, from the audit trail in Postgres or verified from the log."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Annotated, Final

import typer

from keyfold.cli.arguments import time_of
from keyfold.cli.exits import UsageError
from keyfold.cli.log_reading import verified_log
from keyfold.cli.projected import key_id_of
from keyfold.cli.records import as_data, as_line
from keyfold.cli.session import Session, of
from keyfold.config import Config
from keyfold.events.facts import BY_TYPE
from keyfold.projections.filters import matches
from keyfold.projections.ports import AuditFilter, Queries
from keyfold.projections.rows import AuditRow

app = typer.Typer(name="events", help="What happened: the audit trail.", no_args_is_help=True)

_POLL_S: Final = 0.25
_PAGE: Final = 500

Key = Annotated[str | None, typer.Option("--key", metavar="KEY", help="Only of this key (id or alias).")]
Principal = Annotated[str | None, typer.Option("--principal", metavar="NAME", help="Only what this principal did.")]
Verb = Annotated[str | None, typer.Option(metavar="VERB", help="Only of this verb, like Decrypt.")]
Kind = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only of this type, like key.rotated.")]
Denied = Annotated[bool, typer.Option("--denied", help="Only what was denied.")]
CommandId = Annotated[str | None, typer.Option("--command", metavar="ID", help="Only of this command.")]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter as it was typed; the key may still be an alias."""

    key: str | None
    filter: AuditFilter

    async def resolved(self, queries: Queries) -> AuditFilter:
        """Return the filter with the key's id."""
        if self.key is None:
            return self.filter
        return replace(self.filter, key_id=await key_id_of(queries, self.key))


@app.command()
def show(
    context: typer.Context,
    *,
    key: Key = None,
    principal: Principal = None,
    verb: Verb = None,
    kind: Kind = None,
    denied: Denied = False,
    command: CommandId = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From 2026-01-31T12:00:00.000Z on.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="The last so many.")] = 50,
    log: Annotated[bool, typer.Option("--log", help="Read and verify the log itself, not the projections.")] = False,
) -> None:
    """Show events, oldest first. Time, partition/position, type, stream, who, verb, details.

    Example: keyfold events show --key alias/orders --denied

    Example: keyfold --json events show --command 01890a5d-ac96-774b-bcce-b302099a8057
    """
    session = of(context)
    wanted = Wanted(
        key,
        _filter(principal=principal, verb=verb, kind=kind, denied=denied, command=command, since=since, until=until),
    )
    rows = session.run(_from_log(session, wanted, limit) if log else _from_projections(session, wanted, limit))
    session.show([as_data(row) for row in rows], "\n".join(map(as_line, rows)) or "no such events")


@app.command()
def tail(
    context: typer.Context,
    *,
    key: Key = None,
    principal: Principal = None,
    verb: Verb = None,
    kind: Kind = None,
    denied: Denied = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Begin with the last so many.")] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until Ctrl-C.")] = True,
) -> None:
    """Follow events as they are projected; with --json, one document a line.

    Example: keyfold events tail --principal alice
    """
    session = of(context)
    wanted = Wanted(key, _filter(principal=principal, verb=verb, kind=kind, denied=denied))
    session.run(_tail(session, wanted, limit, follow=follow))


async def _from_projections(session: Session, wanted: Wanted, limit: int) -> list[AuditRow]:
    config = session.config
    async with session.queries(config) as queries:
        return await last(queries, await wanted.resolved(queries), limit)


async def _from_log(session: Session, wanted: Wanted, limit: int) -> list[AuditRow]:
    config = session.config
    selected = wanted.filter
    if wanted.key is not None:
        async with session.queries(config) as queries:
            selected = await wanted.resolved(queries)
    async with verified_log(session.bus(config), config.deployment or "") as log:
        rows = [row for row in await log.read() if matches(selected, row)]
        if log.passed_over:
            session.say(f"{log.passed_over} records are not authentic and were passed over")
    return rows[-limit:]


async def last(queries: Queries, wanted: AuditFilter, limit: int) -> list[AuditRow]:
    """Return the last rows that pass a filter, oldest first."""
    rows: list[AuditRow] = []
    after: str | None = None
    while len(rows) < limit:
        page = await queries.audit(wanted, limit=min(_PAGE, limit - len(rows)), after=after)
        rows += page.rows
        after = page.next
        if after is None:
            break
    return rows[::-1]


async def _tail(session: Session, wanted: Wanted, limit: int, *, follow: bool) -> None:
    config: Config = session.config
    async with session.queries(config) as queries:
        selected = await wanted.resolved(queries)
        # The places are read first: what comes in between is shown twice rather than never, and `seen` drops it.
        places = {row.partition: row.position for row in await queries.progress()}
        rows = await last(queries, selected, limit) if limit else []
        session.show_lines((as_data(row), as_line(row)) for row in rows)
        if not follow:
            return
        seen = {(row.partition, row.position) for row in rows}
        async for row in _following(queries, places):
            if matches(selected, row) and (row.partition, row.position) not in seen:
                session.show_lines([(as_data(row), as_line(row))])


async def _following(queries: Queries, places: dict[int, int]) -> AsyncIterator[AuditRow]:
    """Yield rows as they come, in each partition's order."""
    while True:
        for progress in await queries.progress():
            position = places.setdefault(progress.partition, 0)
            while position < progress.position:
                rows = await queries.audit_log(progress.partition, position, _PAGE)
                if not rows:
                    break
                for row in rows:
                    yield row
                position = places[progress.partition] = rows[-1].position + 1
        await asyncio.sleep(_POLL_S)


def _filter(
    *,
    principal: str | None,
    verb: str | None,
    kind: str | None,
    denied: bool,
    command: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> AuditFilter:
    return AuditFilter(
        principal=principal,
        verb=verb,
        event_type=_full_type(kind),
        command_id=command,
        since=None if since is None else time_of(since, "--since"),
        until=None if until is None else time_of(until, "--until"),
        denied_only=denied,
    )


def _full_type(kind: str | None) -> str | None:
    if kind is None or kind in BY_TYPE:
        return kind
    full = f"keyfold.{kind}.v1"
    if full not in BY_TYPE:
        known = ", ".join(sorted(name.removeprefix("keyfold.").removesuffix(".v1") for name in BY_TYPE))
        raise UsageError(f"there is no event type {kind}; known are {known}")
    return full
