"""`keyfold alerts`: what analytics found, and what is done about it. Each command is imported when it is used."""

from typing import Final

import typer

from keyfold.cli.lazy import Lazy, group_of

_TABLE: Final = (
    Lazy("tail", "alerts.tail:tail", "Follow alerts as they are signed; each is verified before it is shown."),
    Lazy("list", "alerts.listing:list_", "List incidents, the latest first; or findings."),
    Lazy("show", "alerts.listing:show", "Show an incident with its findings, evidence and acts; or one finding."),
    Lazy("ack", "alerts.acting:ack", "Say that one looks after an incident."),
    Lazy("close", "alerts.acting:close", "Close an incident as what it turned out to be."),
    Lazy(
        "suppress", "alerts.acting:suppress", "Let findings of a detector or about an entity alarm nobody for a time."
    ),
    Lazy("unsuppress", "alerts.acting:unsuppress", "End a suppression before its time."),
    Lazy("suppressions", "alerts.acting:suppressions", "List suppressions."),
)

app = typer.Typer(
    name="alerts",
    help="What analytics found, and what is done about it.",
    no_args_is_help=True,
    cls=group_of(*_TABLE),
)
