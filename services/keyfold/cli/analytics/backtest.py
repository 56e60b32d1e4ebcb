"""`keyfold analytics backtest`: the log's history through the detectors, as live processing sees it."""

from contextlib import aclosing
from typing import Annotated

import typer

from keyfold.analytics.alerts import alert_of
from keyfold.analytics.incidents import Changed
from keyfold.cli.alerts.showing import as_data, as_line
from keyfold.cli.alerts.tail import Wanted
from keyfold.cli.analytics.running import Archive, Since, Until, history, span
from keyfold.cli.arguments import chosen
from keyfold.cli.session import Session, of
from keyfold.projections.alerts import SEVERITIES, rank


def backtest(
    context: typer.Context,
    *,
    since: Since = None,
    until: Until = None,
    archive: Archive = None,
    severity: Annotated[
        str, typer.Option("--severity", metavar="LEVEL", help="At least low, medium, high or critical.")
    ] = "low",
    incidents: Annotated[bool, typer.Option("--incidents", help="Only incidents, no findings.")] = False,
) -> None:
    """Find in the log's history what live processing finds.

    What is usual is learned from the beginning of the log; findings that ended before --since are not shown. Ids are
    those of live processing. Nothing is written.

    Example: keyfold analytics backtest --since 7d --severity medium

    Example: keyfold --json analytics backtest --archive backup/log --since 2026-01-01T00:00Z > found.jsonl
    """
    session = of(context)
    (least,) = chosen([severity], SEVERITIES, "--severity")
    session.run(_run(session, Wanted(rank(least), incidents), archive, span(since, until)))


async def _run(session: Session, wanted: Wanted, archive: Archive, bounds: tuple[int | None, int | None]) -> None:
    async with history(session, archive, bounds) as past, aclosing(past.run()) as changes:
        async for change in changes:
            alert = alert_of(change)
            if past.counts(_end(change)) and wanted.takes(alert):
                session.show_lines([(as_data(alert), as_line(alert))])


def _end(change: Changed) -> int:
    if change.finding is not None:
        return change.finding.signal.until_ms
    return 0 if change.incident is None else change.incident.acted_ms
