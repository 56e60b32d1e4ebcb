"""How alerts, findings and incidents look: one line each, or all there is. Pure."""

from collections.abc import Iterable
from typing import Any

from keyfold.cli.output import pairs, plain, table
from keyfold.events.alerts import Alert, FindingDetected
from keyfold.projections.alerts import FindingRow, IncidentDetails, IncidentRow


def as_data(alert: Alert) -> dict[str, Any]:
    """Return an alert as its document."""
    return alert.model_dump(mode="json")


def as_line(alert: Alert) -> str:
    """Return an alert in one line: when, how severe, what, about whom, and the sentence."""
    data = alert.data
    if isinstance(alert, FindingDetected):
        suppressed = f" (suppressed by {data.suppressed_by})" if data.suppressed_by else ""
        return _line(alert.time, data.severity, "finding", data.finding, f"{alert.subject} {data.sentence}{suppressed}")
    kind = "incident" if data.revision == 1 else f"incident #{data.revision}"
    return _line(alert.time, data.severity, kind, data.incident, f"{_state(data.state, data.by)}{data.sentence}")


def incidents_table(rows: Iterable[IncidentRow]) -> str:
    """Return incidents as a table."""
    cells = [
        (row.incident, row.until, row.severity, row.state, row.findings, ", ".join(row.detectors), row.sentence)
        for row in rows
    ]
    headers = ("INCIDENT", "UNTIL", "SEVERITY", "STATE", "FINDINGS", "DETECTORS", "WHAT")
    return table(headers, cells, empty="no such incidents")


def findings_table(rows: Iterable[FindingRow]) -> str:
    """Return findings as a table."""
    cells = [
        (row.finding, row.until, row.severity, row.detector, _belongs(row), f"{row.entity} {row.sentence}")
        for row in rows
    ]
    headers = ("FINDING", "UNTIL", "SEVERITY", "DETECTOR", "INCIDENT", "WHAT")
    return table(headers, cells, empty="no such findings")


def incident_text(details: IncidentDetails) -> str:
    """Return an incident with all that is stored of it."""
    row = details.incident
    head = pairs([
        ("incident", row.incident),
        ("severity", row.severity),
        ("state", row.state),
        ("what", row.sentence),
        ("opened", row.opened),
        ("from", row.since),
        ("until", row.until),
        ("about", row.entities),
        ("detectors", row.detectors),
        ("resolution", row.resolution),
        ("by", row.by),
        ("comment", row.comment),
    ])  # fmt: skip
    parts = [head, *map(finding_text, details.findings)]
    if details.acts:
        acts = [(act.time, act.kind, act.by, act.resolution, act.comment) for act in details.acts]
        parts.append(table(("TIME", "ACT", "BY", "RESOLUTION", "COMMENT"), acts))
    return "\n\n".join(parts)


def finding_text(row: FindingRow) -> str:
    """Return a finding with its evidence."""
    head = pairs([
        ("finding", row.finding),
        ("severity", row.severity),
        ("detector", row.detector),
        ("about", row.entity),
        ("what", row.sentence),
        ("from", row.since),
        ("until", row.until),
        ("observed", f"{row.observed:,.6g} {row.unit}"),
        ("expected", f"{row.expected:,.6g} {row.unit}"),
        ("aspect", row.aspect),
        ("incident", _belongs(row)),
    ])  # fmt: skip
    if not row.evidence:
        return head
    events = [(each.time, f"{each.partition}/{each.offset}", each.event) for each in row.evidence]
    return f"{head}\n{table(('EVIDENCE', 'PARTITION/OFFSET', 'EVENT'), events)}"


def details_data(details: IncidentDetails) -> dict[str, Any]:
    """Return an incident as data."""
    found: dict[str, Any] = plain(details)
    return found


def _belongs(row: FindingRow) -> str | None:
    return f"suppressed by {row.suppressed_by}" if row.suppressed_by else row.incident


def _state(state: str, by: str | None) -> str:
    return "" if state == "open" else f"[{state} by {by}] "


def _line(time: str, severity: str, kind: str, name: str, text: str) -> str:
    return f"{time} {severity.ljust(8)} {kind.ljust(11)} {name} {text}"
