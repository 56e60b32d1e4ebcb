"""The store of alerts in memory. See `keyfold.projections.alerts`; Postgres passes the same suite."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from keyfold.events.alerts import Alert, FindingDetected, IncidentData
from keyfold.projections.alerts import (
    STATES,
    ActRow,
    AlertFilter,
    FindingRow,
    IncidentDetails,
    IncidentRow,
    rank,
    written,
)

_ALL: Final = AlertFilter()


class MemoryAlerts:
    """Writes and reads; both ports in one."""

    def __init__(self) -> None:
        self._findings: dict[str, FindingRow] = {}
        self._incidents: dict[str, IncidentRow] = {}
        self._links: dict[tuple[str, str], None] = {}
        self._acts: dict[str, ActRow] = {}

    async def write(self, alerts: Sequence[Alert], acts: Sequence[ActRow] = ()) -> None:
        """Write alerts, then acts."""
        told = written(alerts)
        for name, (entity, data) in told.findings.items():
            known = self._findings.get(name)
            if known is None or rank(data.severity) > rank(known.severity):
                self._findings[name] = _finding_row(entity, data)
        for name, incident in told.incidents.items():
            before = self._incidents.get(name)
            if before is None or before.revision < incident.revision:
                self._incidents[name] = _incident_row(incident)
        self._links.update(told.links)
        for act in acts:
            self._acts.setdefault(act.event_id, act)
            self._act(act)

    async def incidents(self, wanted: AlertFilter = _ALL, *, limit: int = 100) -> tuple[IncidentRow, ...]:
        """Return incidents, the latest first."""
        return _latest(
            (each for each in map(self._counted, self._incidents.values()) if _is_wanted_incident(wanted, each)),
            lambda each: each.incident,
            limit,
        )

    async def findings(self, wanted: AlertFilter = _ALL, *, limit: int = 100) -> tuple[FindingRow, ...]:
        """Return findings, the latest first."""
        found = (self._linked(each) for each in self._findings.values() if _is_wanted_finding(wanted, each))
        return _latest(found, lambda each: each.finding, limit)

    async def incident(self, incident: str) -> IncidentDetails | None:
        """Return an incident with its findings and acts."""
        row = self._incidents.get(incident)
        if row is None:
            return None
        names = {finding for owner, finding in self._links if owner == incident}
        found = (self._linked(each) for name, each in self._findings.items() if name in names)
        acts = sorted((each for each in self._acts.values() if each.incident == incident), key=_place)
        return IncidentDetails(self._counted(row), _latest(found, lambda each: each.finding, 1_000), tuple(acts))

    async def finding(self, finding: str) -> FindingRow | None:
        """Return a finding."""
        row = self._findings.get(finding)
        return None if row is None else self._linked(row)

    async def close(self) -> None:
        """Nothing is held."""

    def _act(self, act: ActRow) -> None:
        row, state = self._incidents.get(act.incident or ""), STATES.get(act.kind)
        if row is not None and state is not None and row.state not in {"closed", state}:
            changes: dict[str, Any] = {"state": state, "acted_at": act.time, "by": act.by}
            self._incidents[row.incident] = replace(row, comment=act.comment, resolution=act.resolution, **changes)

    def _counted(self, row: IncidentRow) -> IncidentRow:
        return replace(row, findings=sum(owner == row.incident for owner, _ in self._links))

    def _linked(self, row: FindingRow) -> FindingRow:
        return replace(row, incident=min((owner for owner, name in self._links if name == row.finding), default=None))


def _finding_row(entity: str, data: FindingDetected.Data) -> FindingRow:
    shared = {name: getattr(data, name) for name in FindingRow.__slots__ if name not in {"entity", "evidence"}}
    return FindingRow(**{**shared, "entity": entity, "evidence": tuple(data.evidence), "incident": None})


def _incident_row(data: IncidentData) -> IncidentRow:
    shared = {name: getattr(data, name) for name in IncidentRow.__slots__}
    return IncidentRow(
        **{**shared, "entities": tuple(data.entities), "detectors": tuple(data.detectors), "findings": 0}
    )


def _is_wanted_incident(wanted: AlertFilter, row: IncidentRow) -> bool:
    return (
        wanted.state in {None, row.state}
        and (wanted.severity is None or rank(row.severity) >= rank(wanted.severity))
        and (wanted.entity is None or wanted.entity in row.entities)
        and (wanted.detector is None or wanted.detector in row.detectors)
        and _is_within(wanted, row.until)
    )


def _is_wanted_finding(wanted: AlertFilter, row: FindingRow) -> bool:
    named = {row.entity, f"principal/{row.principal}", f"key/{row.key_id}"}
    return (
        (wanted.severity is None or rank(row.severity) >= rank(wanted.severity))
        and (wanted.entity is None or wanted.entity in named)
        and wanted.detector in {None, row.detector}
        and _is_within(wanted, row.until)
    )


def _is_within(wanted: AlertFilter, time: str) -> bool:
    return (wanted.since is None or time >= wanted.since) and (wanted.until is None or time < wanted.until)


def _latest(rows: Iterable[Any], name: Callable[[Any], str], limit: int) -> tuple[Any, ...]:
    by_name = sorted(rows, key=name)
    return tuple(sorted(by_name, key=lambda each: each.until, reverse=True)[:limit])


def _place(act: ActRow) -> tuple[str, str]:
    return act.time, act.event_id
