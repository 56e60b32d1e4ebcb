"""What the log knows of incidents and suppressions, as entities. Part of `entities`."""

from typing import Literal

from keyfold.events.incident_arguments import Resolution, WatchedEntity
from keyfold.events.streams import Name, Uuid
from keyfold.events.strictjson import Frozen


class Incident(Frozen):
    """An incident that somebody acted on; others are not known here. The latest acknowledgement is kept."""

    kind: Literal["incident"] = "incident"
    incident: Uuid
    status: Literal["Acknowledged", "Closed"]
    acknowledged_at: str | None = None
    acknowledged_by: Name | None = None
    closed_at: str | None = None
    closed_by: Name | None = None
    resolution: Resolution | None = None
    comment: str = ""


class Suppression(Frozen):
    """Which findings open no incident. See `incident_arguments.PutSuppressionArguments`."""

    kind: Literal["suppression"] = "suppression"
    suppression: Name
    detector: Name | None
    entity: WatchedEntity | None
    until: str
    comment: str
    put_by: Name
    updated_at: str
