"""Alerts of findings and incidents, as they go onto `keyfold.alerts` and into Postgres. Pure; signing is an argument.

Their formats are in `keyfold.events.alerts`. The same finding or incident gives the same bytes, whatever run tells it,
so a reader that knows ids may drop what it has.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from keyfold.analytics.acts import Act, Suppression
from keyfold.analytics.findings import Finding
from keyfold.analytics.incidents import Changed, Incident
from keyfold.analytics.observations import Ref
from keyfold.events.alerts import (
    Alert,
    Evidence,
    FindingDetected,
    IncidentData,
    IncidentOpened,
    IncidentUpdated,
    signed_alert,
)
from keyfold.events.statements import Header
from keyfold.events.times import nearest_text
from keyfold.projections.alerts import ActRow

MAX_TEXT: Final = 2_000
MAX_EVIDENCE: Final = 50


@dataclass(frozen=True, slots=True)
class Signed:
    """A record for `keyfold.alerts`."""

    key: bytes
    value: bytes
    headers: tuple[Header, ...]


class AlertAuthor:
    """Signs alerts of one deployment with analytics' certified key; `signer` is that key's fingerprint."""

    def __init__(self, deployment: str, signer: str, sign: Callable[[bytes], bytes]) -> None:
        self._deployment, self._signer, self._sign = deployment, signer, sign

    def records(self, changes: Iterable[Changed]) -> list[Signed]:
        """Return the records of what changed, in its order."""
        return [Signed(*signed_alert(alert_of(each), self._deployment, self._signer, self._sign)) for each in changes]


def alert_of(changed: Changed) -> Alert:
    """Return the alert that tells a change."""
    if changed.change == "detected":
        if changed.finding is None:
            raise ValueError("a detection without a finding")
        return finding_alert(changed.finding, changed.incident, changed.suppressed_by)
    if changed.incident is None:
        raise ValueError("a change of an incident without it")
    return incident_alert(changed.incident)


def finding_alert(
    finding: Finding, incident: Incident | None = None, suppressed_by: str | None = None
) -> FindingDetected:
    """Return the alert of a finding, which belongs to an incident or is suppressed."""
    signal, identifier = finding.signal, finding.id
    end = nearest_text(signal.until_ms)
    return FindingDetected(
        id=f"{identifier}.{signal.severity}",
        type=FindingDetected.type_name,
        subject=finding.entity,
        time=end,
        data=FindingDetected.Data(
            finding=identifier,
            detector=finding.detector,
            aspect=signal.aspect[:MAX_TEXT],
            severity=signal.severity,
            window=nearest_text(finding.window_ms),
            since=nearest_text(signal.since_ms),
            until=end,
            observed=float(signal.observed),
            expected=float(signal.expected),
            unit=signal.unit,
            sentence=signal.sentence[:MAX_TEXT],
            evidence=[_evidence(ref) for ref in signal.evidence[:MAX_EVIDENCE]],
            principal=signal.principal,
            key_id=signal.key_id,
            incident=None if incident is None else incident.id,
            suppressed_by=suppressed_by,
        ),
    )


def incident_alert(incident: Incident) -> Alert:
    """Return the alert of an incident: that it was opened, or updated. Its time is that of what changed it last."""
    model = IncidentOpened if incident.revision == 1 else IncidentUpdated
    return model(
        id=f"{incident.id}.{incident.revision}",
        type=model.type_name,
        subject=incident.entities[0],
        time=nearest_text(max(incident.until_ms, incident.acted_ms)),
        data=IncidentData(
            incident=incident.id,
            revision=incident.revision,
            state=incident.state,
            severity=incident.severity,
            opened=nearest_text(incident.opened_ms),
            since=nearest_text(incident.since_ms),
            until=nearest_text(incident.until_ms),
            entities=list(incident.entities),
            detectors=list(incident.detectors),
            findings=list(incident.findings),
            sentence=incident.sentence[:MAX_TEXT],
            acted_at=nearest_text(incident.acted_ms) if incident.acted_ms else None,
            by=incident.by or None,
            comment=incident.comment,
            resolution=incident.resolution,
        ),
    )


def _evidence(ref: Ref) -> Evidence:
    return Evidence(event=ref.event_id, time=nearest_text(ref.time_ms), partition=ref.partition, offset=ref.offset)


def act_row(act: Act) -> ActRow:
    """Return the stored row of an act."""
    suppression = act.suppression or Suppression("")
    return ActRow(
        event_id=act.event_id,
        time=nearest_text(act.time_ms),
        by=act.by,
        kind=act.kind,
        incident=act.incident,
        suppression=suppression.name or None,
        detector=suppression.detector,
        entity=suppression.entity,
        until=nearest_text(suppression.until_ms) if suppression.until_ms else None,
        resolution=act.resolution,
        comment=act.comment,
    )
