"""What operators did about incidents, taken from the log's events: acknowledged, closed, suppressed. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

from keyfold.events import facts
from keyfold.events.incident_arguments import Resolution
from keyfold.events.times import to_milliseconds
from keyfold.projections.rows import AuditRow

Kind = Literal["acknowledge", "close", "suppress", "unsuppress"]

KINDS: Final[dict[str, Kind]] = {
    "keyfold.incident.acknowledged.v1": "acknowledge",
    "keyfold.incident.closed.v1": "close",
    "keyfold.suppression.put.v1": "suppress",
    "keyfold.suppression.deleted.v1": "unsuppress",
}
"""The types of the events that are acts."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """Findings of a detector (None: of any) about an entity (None: about any) alarm nobody until a time."""

    name: str
    detector: str | None = None
    entity: str | None = None
    until_ms: int = 0

    def covers(self, detector: str, entities: tuple[str, ...], time_ms: int) -> bool:
        """Tell whether a finding of these that ended at a time is suppressed."""
        if time_ms >= self.until_ms or self.detector not in {None, detector}:
            return False
        return self.entity is None or self.entity in entities


@dataclass(frozen=True, slots=True)
class Act:
    """One act: who did what when, in the event of this id. `suppression` has a name only where it is deleted."""

    event_id: str
    time_ms: int
    by: str
    kind: Kind
    incident: str | None = None
    resolution: Resolution | None = None
    comment: str = ""
    suppression: Suppression | None = None


def act_of(row: AuditRow, event: facts.Event) -> Act | None:
    """Return the act that an event is, if it is one."""
    kind = KINDS.get(event.type)
    if kind is None:
        return None
    fields = vars(event.data)
    common = (row.event_id, to_milliseconds(row.time), row.principal or "", kind)
    comment = fields.get("comment") or ""
    if kind in {"acknowledge", "close"}:
        return Act(*common, fields["incident"], fields.get("resolution"), comment)
    until = fields.get("until")
    suppression = Suppression(
        fields["suppression"],
        fields.get("detector"),
        fields.get("entity"),
        0 if until is None else to_milliseconds(until),
    )
    return Act(*common, comment=comment, suppression=suppression)
