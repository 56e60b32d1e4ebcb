"""`keyfold analytics`: detectors, and history seen through them. Each command is imported when it is used."""

from typing import Final

import typer

from keyfold.cli.lazy import Lazy, group_of

_TABLE: Final = (
    Lazy("detectors", "analytics.detectors:detectors", "List the detectors with their parameters."),
    Lazy("backtest", "analytics.backtest:backtest", "Find in the log's history what live processing finds."),
    Lazy(
        "report", "analytics.report:report", "Write a page about use and incidents: one file that needs nothing else."
    ),
)

app = typer.Typer(
    name="analytics",
    help="Unusual use: its detectors, and history seen through them.",
    no_args_is_help=True,
    cls=group_of(*_TABLE),
)
