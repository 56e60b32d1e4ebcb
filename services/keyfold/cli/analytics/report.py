"""`keyfold analytics report`: use and incidents of the log's history as one HTML page."""

from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer

from keyfold.analytics.report import Report
from keyfold.analytics.report_page import page
from keyfold.cli.analytics.running import Archive, Since, Until, history, span
from keyfold.cli.session import Session, now_ms, of
from keyfold.events.times import to_text


def report(
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page that is written.")],
    since: Since = None,
    until: Until = None,
    archive: Archive = None,
) -> None:
    """Write a page about use and incidents: one file that needs nothing else.

    It is made from the verified log. Names of principals and ids of keys are in it, and no context values but those
    that a finding's sentence quotes.

    Example: keyfold analytics report --out usage.html --since 30d
    """
    session = of(context)
    made, deployment = session.run(_made(session, archive, span(since, until)))
    out.write_text(page(made, deployment=deployment, made_at=to_text(now_ms())), "utf-8")
    facts = {"file": str(out), "observations": made.observations, "incidents": len(made.incidents)}
    session.show(facts, f"{out}: {made.observations:,} observations, {len(made.incidents):,} incidents")


async def _made(session: Session, archive: Path | None, bounds: tuple[int | None, int | None]) -> tuple[Report, str]:
    made = Report(*bounds)
    async with history(session, archive, bounds, made.see) as past, aclosing(past.run()) as changes:
        async for change in changes:
            made.tell(change)
    return made, past.deployment
