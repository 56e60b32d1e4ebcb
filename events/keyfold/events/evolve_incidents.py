"""How events about incidents change what is known of them. Part of `evolve`, which says what all handlers promise."""

from collections.abc import Callable
from typing import Any, Final

from keyfold.events import facts
from keyfold.events.incident_entities import Incident, Suppression
from keyfold.events.view import Changes, View


def _acknowledged(view: View, event: facts.IncidentAcknowledged) -> Changes:
    data = event.data
    update = {"acknowledged_at": event.time, "acknowledged_by": data.by, "comment": data.comment}
    return _acted(view, data.incident, "Acknowledged", update)


def _closed(view: View, event: facts.IncidentClosed) -> Changes:
    data = event.data
    update = {
        "closed_at": event.time,
        "closed_by": data.by,
        "resolution": data.resolution,
        "comment": data.comment,
    }
    return _acted(view, data.incident, "Closed", update)


def _acted(view: View, identifier: str, status: str, update: dict[str, Any]) -> Changes:
    """The first act on an incident is the first that is heard of it here."""
    name = f"incident/{identifier}"
    known = view.get(name)
    incident = known if isinstance(known, Incident) else Incident(incident=identifier, status="Acknowledged")
    return {name: incident.model_copy(update={"status": status, **update})}


def _suppression_put(_view: View, event: facts.SuppressionPut) -> Changes:
    data = event.data
    suppression = Suppression(
        suppression=data.suppression,
        detector=data.detector,
        entity=data.entity,
        until=data.until,
        comment=data.comment,
        put_by=data.by,
        updated_at=event.time,
    )
    return {f"suppression/{data.suppression}": suppression}


def _suppression_deleted(_view: View, event: facts.SuppressionDeleted) -> Changes:
    return {f"suppression/{event.data.suppression}": None}


HANDLERS: Final[dict[type[facts.Event], Callable[[View, Any], Changes]]] = {
    facts.IncidentAcknowledged: _acknowledged,
    facts.IncidentClosed: _closed,
    facts.SuppressionPut: _suppression_put,
    facts.SuppressionDeleted: _suppression_deleted,
}
