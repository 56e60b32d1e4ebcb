"""`keyfold alerts ack`, `close`, `suppress`, …: what is done about incidents, as commands that policy decides."""

from typing import Annotated, Final, get_args

import typer

from keyfold.cli import output
from keyfold.cli.alerts.listing import Detector, entity_of
from keyfold.cli.arguments import NoWait, Reason, Trial, chosen, how, identifier, moment
from keyfold.cli.exits import UsageError
from keyfold.cli.session import of
from keyfold.cli.writing import write
from keyfold.events.incident_arguments import Resolution
from keyfold.events.incident_entities import Suppression

RESOLUTIONS: Final[tuple[str, ...]] = get_args(Resolution)

IncidentId = Annotated[str, typer.Argument(metavar="ID", help="The incident.")]
SuppressionName = Annotated[str, typer.Argument(metavar="NAME", help="The suppression's name.")]
Comment = Annotated[str, typer.Option("--comment", metavar="TEXT", help="What others should know; kept in the log.")]
Entity = Annotated[
    str | None, typer.Option("--entity", metavar="ENTITY", help="About principal/NAME, key/ID or alias/NAME.")
]


def ack(
    context: typer.Context,
    incident: IncidentId,
    *,
    comment: Comment = "",
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Say that one looks after an incident.

    Example: keyfold alerts ack 01890a5d-ac96-874b-bcce-b302099a8057 --comment "calling the owner of reports"
    """
    name = identifier(incident)
    write(
        of(context),
        lambda kms: kms.acknowledge_incident(name, comment, **how(reason, dry_run)),
        lambda _: f"incident {name} is acknowledged",
        no_wait=no_wait,
    )


def close(
    context: typer.Context,
    incident: IncidentId,
    *,
    resolution: Annotated[
        str, typer.Option("--resolution", metavar="WHAT", help=f"What it was: {', '.join(RESOLUTIONS)}.")
    ],
    comment: Comment = "",
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Close an incident as what it turned out to be.

    Example: keyfold alerts close 01890a5d-ac96-874b-bcce-b302099a8057 --resolution BENIGN --comment "planned migration"
    """
    name = identifier(incident)
    (what,) = chosen([resolution], RESOLUTIONS, "--resolution")
    write(
        of(context),
        lambda kms: kms.close_incident(name, what, comment, **how(reason, dry_run)),
        lambda _: f"incident {name} is closed: {what}",
        no_wait=no_wait,
    )


def suppress(
    context: typer.Context,
    name: SuppressionName,
    *,
    until: Annotated[str, typer.Option("--until", metavar="WHEN", help="30d, 12h, 15m from now, or a time (UTC).")],
    detector: Detector = None,
    entity: Entity = None,
    comment: Comment = "",
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Let findings of a detector or about an entity alarm nobody for a time.

    They are recorded all the same. It replaces a suppression of the same name, and ends after 90 days at the latest.

    Example: keyfold alerts suppress migration --entity principal/reports --until 12h --comment "moves the archive"
    """
    if detector is None and entity is None:
        raise UsageError("say what is suppressed: --detector, --entity, or both")
    session, when = of(context), moment(until, "--until")
    about = None if entity is None else session.run(entity_of(session, entity))
    write(
        session,
        lambda kms: kms.put_suppression(
            name, until=when, detector=detector, entity=about, comment=comment, **how(reason, dry_run)
        ),
        lambda _: f"suppression {name} holds for {detector or 'all detectors'} about {about or 'everybody'}",
        no_wait=no_wait,
    )


def unsuppress(
    context: typer.Context,
    name: SuppressionName,
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """End a suppression before its time.

    Example: keyfold alerts unsuppress migration
    """
    write(
        of(context),
        lambda kms: kms.delete_suppression(name, **how(reason, dry_run)),
        lambda _: f"suppression {name} is gone",
        no_wait=no_wait,
    )


def suppressions(context: typer.Context) -> None:
    """List suppressions.

    Example: keyfold alerts suppressions
    """
    session = of(context)
    config = session.config

    async def work() -> tuple[Suppression, ...]:
        async with session.queries(config) as queries:
            return await queries.suppressions()

    found = session.run(work())
    rows = [(each.suppression, each.detector, each.entity, each.until, each.put_by, each.comment) for each in found]
    headers = ("SUPPRESSION", "DETECTOR", "ABOUT", "UNTIL", "BY", "COMMENT")
    session.show(found, output.table(headers, rows, empty="no suppressions"))
