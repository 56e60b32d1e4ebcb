"""Verbs about incidents that analytics opened, and about which findings open none.

They are commands like any other: decided by policy, and in the log. Incidents themselves are read in Postgres and on
the topic of alerts.
"""

from typing import Unpack

from keyfold.client.arguments import When, moment
from keyfold.client.control import Control, Options
from keyfold.client.results import Completed
from keyfold.events.incident_arguments import Resolution


class IncidentVerbs(Control):
    """Verbs about incidents and suppressions."""

    async def acknowledge_incident(self, incident: str, comment: str = "", **options: Unpack[Options]) -> Completed:
        """Say that one looks after an incident. Another's acknowledgement hands it over; an unknown one is recorded."""
        return await self._do("AcknowledgeIncident", None, {"incident": incident, "comment": comment}, **options)

    async def close_incident(
        self, incident: str, resolution: Resolution, comment: str = "", **options: Unpack[Options]
    ) -> Completed:
        """Close an incident as what it was. Raises `InvalidState` of one that is closed."""
        arguments = {"incident": incident, "resolution": resolution, "comment": comment}
        return await self._do("CloseIncident", None, arguments, **options)

    async def put_suppression(
        self,
        suppression: str,
        *,
        until: When,
        detector: str | None = None,
        entity: str | None = None,
        comment: str = "",
        **options: Unpack[Options],
    ) -> Completed:
        """Let findings of a detector, of an entity (`key/<id>`, `principal/<name>`) or of both open no incident.

        It ends by itself, after 90 days at the latest. The findings are recorded all the same.
        """
        self._open_lanes()
        arguments = {
            "suppression": suppression,
            "detector": detector,
            "entity": entity,
            "until": moment(until, self._exchange.now_ms()),
            "comment": comment,
        }
        return await self._do("PutSuppression", None, arguments, **options)

    async def delete_suppression(self, suppression: str, **options: Unpack[Options]) -> Completed:
        """End a suppression before its time."""
        return await self._do("DeleteSuppression", None, {"suppression": suppression}, **options)
