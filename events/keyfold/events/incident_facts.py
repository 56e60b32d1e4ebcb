"""Events about incidents: that somebody looks after one or closed it, and which findings are suppressed.

All are policy's decisions, on the registry's stream. What analytics finds is no event of the log.
"""

from keyfold.events.event import DecisionData, PolicyEvent
from keyfold.events.incident_arguments import Resolution, WatchedEntity
from keyfold.events.streams import Name, Uuid
from keyfold.events.times import Instant


class IncidentData(DecisionData):
    """`by` is who acted on the incident."""

    incident: Uuid
    comment: str
    by: Name


class IncidentAcknowledged(PolicyEvent):
    class Data(IncidentData):
        pass

    type_name = "keyfold.incident.acknowledged.v1"
    data: Data


class IncidentClosed(PolicyEvent):
    class Data(IncidentData):
        resolution: Resolution

    type_name = "keyfold.incident.closed.v1"
    data: Data


class SuppressionPut(PolicyEvent):
    class Data(DecisionData):
        suppression: Name
        detector: Name | None
        entity: WatchedEntity | None
        until: Instant
        comment: str
        by: Name

    type_name = "keyfold.suppression.put.v1"
    data: Data


class SuppressionDeleted(PolicyEvent):
    class Data(DecisionData):
        suppression: Name

    type_name = "keyfold.suppression.deleted.v1"
    data: Data
