"""`keyfold analytics`: detectors, and history seen through them. Each command is imported when it is used.

They need the extra `analytics`, which is looked for first.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

import typer

from keyfold.cli.exits import NotReady
from keyfold.cli.lazy import Command, Lazy, group_of


@dataclass(frozen=True, slots=True)
class WithExtra(Lazy):
    """A command that needs packages which only the extra brings."""

    packages: tuple[str, ...] = ("river",)

    def load(self) -> Command:
        """Import it. Raises `NotReady` where a package is not installed."""
        if missing := [name for name in self.packages if find_spec(name) is None]:
            raise NotReady(f"`keyfold analytics {self.name}` needs {', '.join(missing)}: install keyfold[analytics]")
        return Lazy.load(self)


_TABLE: Final = (
    WithExtra("detectors", "analytics.detectors:detectors", "List the detectors with their parameters."),
    WithExtra("backtest", "analytics.backtest:backtest", "Find in the log's history what live processing finds."),
    WithExtra(
        "report",
        "analytics.report:report",
        "Write a page about use and incidents: one file that needs nothing else.",
        ("river", "plotly"),
    ),
)

app = typer.Typer(
    name="analytics",
    help="Unusual use: its detectors, and history seen through them.",
    no_args_is_help=True,
    cls=group_of(*_TABLE),
)
