"""The rules of incidents and suppressions: operators' acts on what analytics found. Pure.

Findings and incidents are no part of the log, so whether one exists is not known here: acting on an unknown one is
recorded, and harms nothing.
"""

from collections.abc import Callable
from typing import Any, Final

from keyfold.deciding.rules import Rule
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.incident_entities import Incident, Suppression
from keyfold.events.times import DAY_MS, to_milliseconds

MAX_SUPPRESSION_MS: Final = 90 * DAY_MS


def _check_open(identifier: str, world: World) -> None:
    incident = world.entities.get(f"incident/{identifier}")
    if isinstance(incident, Incident) and incident.status == "Closed":
        raise errors.InvalidState("the incident is closed")


def _acknowledge_incident(command: Any, world: World) -> Rule:
    """A second acknowledgement hands it over."""
    arguments = command.data.arguments
    _check_open(arguments.incident, world)
    return facts.IncidentAcknowledged, {**arguments.model_dump(), "by": command.data.principal}


def _close_incident(command: Any, world: World) -> Rule:  # noqa: ARG001
    """One that is closed may be closed again: analytics may have found it after that, or found it anew."""
    arguments = command.data.arguments
    return facts.IncidentClosed, {**arguments.model_dump(), "by": command.data.principal}


def _put_suppression(command: Any, world: World) -> Rule:
    arguments = command.data.arguments
    if arguments.detector is None and arguments.entity is None:
        raise errors.InvalidCommand("a suppression names a detector, an entity, or both")
    if not world.now_ms < to_milliseconds(arguments.until) <= world.now_ms + MAX_SUPPRESSION_MS:
        raise errors.InvalidCommand("a suppression ends in the future, within 90 days")
    return facts.SuppressionPut, {**arguments.model_dump(), "by": command.data.principal}


def _delete_suppression(command: Any, world: World) -> Rule:
    name = command.data.arguments.suppression
    if not isinstance(world.entities.get(f"suppression/{name}"), Suppression):
        raise errors.NotFound
    return facts.SuppressionDeleted, {"suppression": name}


RULES: Final[dict[str, Callable[[Any, World], Rule]]] = {
    "AcknowledgeIncident": _acknowledge_incident,
    "CloseIncident": _close_incident,
    "PutSuppression": _put_suppression,
    "DeleteSuppression": _delete_suppression,
}
