"""`keyfold alerts list` and `show`: incidents and findings as analytics wrote them into Postgres.

Postgres is not signed: `keyfold alerts tail --from-beginning` shows what was.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated

import typer

from keyfold.cli.alerts import showing
from keyfold.cli.arguments import chosen, identifier, time_of
from keyfold.cli.exits import UsageError
from keyfold.cli.projected import key_id_of
from keyfold.cli.session import Session, of
from keyfold.events.errors import NotFound
from keyfold.projections.alerts import SEVERITIES, AlertFilter, FindingRow, IncidentDetails, IncidentRow
from keyfold.projections.store import PostgresAlertQueries

STATES = ("open", "acknowledged", "closed")

Severity = Annotated[
    str | None, typer.Option("--severity", metavar="LEVEL", help="At least low, medium, high or critical.")
]
About = Annotated[
    str | None, typer.Option("--entity", metavar="ENTITY", help="About principal/NAME, key/ID or alias/NAME.")
]
Detector = Annotated[str | None, typer.Option("--detector", metavar="NAME", help="Of this detector.")]


def list_(
    context: typer.Context,
    *,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help=f"Only {', '.join(STATES)}.")] = None,
    severity: Severity = None,
    entity: About = None,
    detector: Detector = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="From 2026-01-31T12:00Z on.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 50,
    findings: Annotated[
        bool, typer.Option("--findings", help="Findings instead: also those that belong to no incident.")
    ] = False,
) -> None:
    """List incidents, the latest first; or findings.

    Example: keyfold alerts list --state open --severity high

    Example: keyfold alerts list --findings --entity principal/reports --since 2026-01-31T00:00Z
    """
    if findings and state is not None:
        raise UsageError("--state is of incidents; a finding has none")
    wanted = AlertFilter(
        state=None if state is None else chosen([state], STATES, "--state")[0],
        severity=None if severity is None else chosen([severity], SEVERITIES, "--severity")[0],
        entity=entity,
        detector=detector,
        since=None if since is None else time_of(since, "--since"),
        until=None if until is None else time_of(until, "--until"),
    )
    session = of(context)
    if findings:
        found = session.run(_findings(session, wanted, limit))
        session.show(found, showing.findings_table(found))
    else:
        rows = session.run(_incidents(session, wanted, limit))
        session.show(rows, showing.incidents_table(rows))


def show(
    context: typer.Context, name: Annotated[str, typer.Argument(metavar="ID", help="An incident's or finding's id.")]
) -> None:
    """Show an incident with its findings, evidence and acts; or one finding.

    Example: keyfold alerts show 01890a5d-ac96-874b-bcce-b302099a8057
    """
    session = of(context)
    found = session.run(_one(session, identifier(name)))
    if isinstance(found, IncidentDetails):
        session.show(showing.details_data(found), showing.incident_text(found))
    else:
        session.show(found, showing.finding_text(found))


async def entity_of(session: Session, text: str) -> str:
    """Return a principal's or key's name as findings have it; a key may be named by an alias. Raises `UsageError`."""
    if text.startswith("alias/"):
        async with session.queries(session.config) as queries:
            return f"key/{await key_id_of(queries, text)}"
    if text.startswith("key/"):
        identifier(text.removeprefix("key/"))
    elif not text.startswith("principal/"):
        raise UsageError(f"--entity takes principal/NAME, key/ID or alias/NAME, not {text!r}")
    return text


async def _incidents(session: Session, wanted: AlertFilter, limit: int) -> tuple[IncidentRow, ...]:
    wanted = await _resolved(session, wanted)
    async with _queries(session) as queries:
        return await queries.incidents(wanted, limit=limit)


async def _findings(session: Session, wanted: AlertFilter, limit: int) -> tuple[FindingRow, ...]:
    wanted = await _resolved(session, wanted)
    async with _queries(session) as queries:
        return await queries.findings(wanted, limit=limit)


async def _one(session: Session, name: str) -> IncidentDetails | FindingRow:
    async with _queries(session) as queries:
        found = await queries.incident(name) or await queries.finding(name)
    if found is None:
        raise NotFound(f"there is no incident and no finding {name}; `keyfold alerts list` shows which there are")
    return found


async def _resolved(session: Session, wanted: AlertFilter) -> AlertFilter:
    if wanted.entity is None:
        return wanted
    return replace(wanted, entity=await entity_of(session, wanted.entity))


@asynccontextmanager
async def _queries(session: Session) -> AsyncIterator[PostgresAlertQueries]:
    queries = PostgresAlertQueries(session.config.postgres_reader_dsn)
    try:
        yield queries
    finally:
        await queries.close()
