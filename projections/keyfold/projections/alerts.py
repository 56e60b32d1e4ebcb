"""What analytics found, as stored for those who look: rows, and the ports of writing and reading them.

It is no projection: nothing of it follows from `keyfold.events` alone, and a rebuild does not touch it. Analytics
writes each alert as it is signed onto `keyfold.alerts`; the events of operators' acts come in the order of the log.
Postgres and memory pass one suite. Instants are text as in events.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from keyfold.events.alerts import Alert, Evidence, FindingDetected, IncidentData, IncidentOpened, IncidentUpdated

SEVERITIES: Final = ("low", "medium", "high", "critical")
ActKind = Literal["acknowledge", "close", "suppress", "unsuppress"]
STATES: Final[dict[ActKind, str]] = {"acknowledge": "acknowledged", "close": "closed"}
"""The states in which acts leave an incident."""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding. See `keyfold.events.alerts.FindingDetected`."""

    finding: str
    detector: str
    entity: str
    aspect: str
    severity: str
    window: str
    since: str
    until: str
    observed: float
    expected: float
    unit: str
    sentence: str
    evidence: tuple[Evidence, ...]
    principal: str | None
    key_id: str | None
    suppressed_by: str | None
    incident: str | None


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident, and how many findings it has. See `keyfold.events.alerts.IncidentData`."""

    incident: str
    revision: int
    state: str
    severity: str
    opened: str
    since: str
    until: str
    entities: tuple[str, ...]
    detectors: tuple[str, ...]
    findings: int
    sentence: str
    acted_at: str | None
    by: str | None
    comment: str
    resolution: str | None


@dataclass(frozen=True, slots=True)
class ActRow:
    """What an operator did, by the id of its event; about an incident, or about a suppression."""

    event_id: str
    time: str
    by: str
    kind: ActKind
    incident: str | None = None
    suppression: str | None = None
    detector: str | None = None
    entity: str | None = None
    until: str | None = None
    resolution: str | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class IncidentDetails:
    """An incident with its findings, the latest first, and what was done about it, the first first."""

    incident: IncidentRow
    findings: tuple[FindingRow, ...]
    acts: tuple[ActRow, ...]


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which are wanted; None means any. `severity` is the least one, `since` is inclusive, `until` exclusive.

    Both are held against the end. `state` is for incidents only. A finding's entities are its own and those it names.
    """

    state: str | None = None
    severity: str | None = None
    entity: str | None = None
    detector: str | None = None
    since: str | None = None
    until: str | None = None


class AlertStore(Protocol):
    """Where analytics writes. One instance writes at a time; what was written may be written again."""

    async def write(self, alerts: Sequence[Alert], acts: Sequence[ActRow] = ()) -> None:
        """Write all of it in one transaction, or nothing. Raises `StoreUnavailable`, `StoreRefused`.

        A finding changes only to a higher severity, an incident only to a higher revision. An act changes the state of
        an incident that is not closed yet.
        """

    async def close(self) -> None:
        """Release the connection."""


class AlertQueries(Protocol):
    """What readers may ask. The latest come first."""

    async def incidents(self, wanted: AlertFilter = AlertFilter(), *, limit: int = 100) -> tuple[IncidentRow, ...]: ...

    async def findings(self, wanted: AlertFilter = AlertFilter(), *, limit: int = 100) -> tuple[FindingRow, ...]: ...

    async def incident(self, incident: str) -> IncidentDetails | None:
        """Return an incident with at most a thousand of its findings; None where there is none."""

    async def finding(self, finding: str) -> FindingRow | None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Written:
    """What a sequence of alerts says about each finding and incident in the end, and which belong together."""

    findings: dict[str, tuple[str, FindingDetected.Data]]
    incidents: dict[str, IncidentData]
    links: dict[tuple[str, str], None]


def written(alerts: Sequence[Alert]) -> Written:
    """Gather alerts by id: the highest severity of a finding, the highest revision of an incident."""
    told = Written({}, {}, {})
    for alert in alerts:
        data = alert.data
        if isinstance(alert, FindingDetected):
            known = told.findings.get(data.finding)
            if known is None or rank(known[1].severity) < rank(data.severity):
                told.findings[data.finding] = (alert.subject, data)
            if data.incident is not None:
                told.links[data.incident, data.finding] = None
        elif isinstance(alert, IncidentOpened | IncidentUpdated):
            before = told.incidents.get(data.incident)
            if before is None or before.revision < data.revision:
                told.incidents[data.incident] = data
            told.links.update({(data.incident, finding): None for finding in data.findings})
    return told


def rank(severity: str) -> int:
    """Return a severity's place, from 0."""
    return SEVERITIES.index(severity)
