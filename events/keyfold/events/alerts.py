"""Alerts: what analytics found, as signed CloudEvents on `keyfold.alerts`: formats, signature, and the strict reader.

Alerts are no events of the log: nothing follows from them by itself, and they are in no tree. Each record is signed by
itself, by a key that root certified for the role `analytics` and this topic, over deployment, record key and value. The
record key is the entity that it is about. What counts as unusual is not known here.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from keyfold.events import strictjson, topics
from keyfold.events.chains import single_header
from keyfold.events.errors import InvalidCommand, UnsupportedVersion
from keyfold.events.event import Count
from keyfold.events.incident_arguments import Resolution, WatchedEntity
from keyfold.events.signatures import pae
from keyfold.events.statements import SIGNATURE_HEADER, SIGNER_HEADER, Header, UntrustedRecord
from keyfold.events.streams import KeyId, Name, Uuid
from keyfold.events.strictjson import Frozen
from keyfold.events.times import Instant
from keyfold.events.trust import Trust

ALERT: Final = "application/vnd.keyfold.alert.v1+json"
ROLE: Final = "analytics"

Severity = Literal["low", "medium", "high", "critical"]
Text = Annotated[str, StringConstraints(max_length=2_000)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Evidence(Frozen):
    """An event that shows it: its id, its time, and where it stands on `keyfold.events` (the offset is a hint)."""

    event: Annotated[str, StringConstraints(max_length=200)]
    time: Instant
    partition: Count
    offset: Count


class Alert(Frozen):
    """The CloudEvents attributes of every alert; `time` is event time: the end of what it is about."""

    type_name: ClassVar[str]

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, StringConstraints(max_length=64)]
    source: Literal["keyfold/analytics"] = "keyfold/analytics"
    type: str
    subject: WatchedEntity
    time: Instant
    datacontenttype: Literal["application/json"] = "application/json"
    data: Any

    def to_value(self) -> bytes:
        """Return the exact bytes of the record; equal alerts give equal bytes."""
        return self.model_dump_json().encode()


class FindingDetected(Alert):
    """A detector saw something unusual. Its id is the finding's and its severity: it is told again if that rises.

    `window` is the hour (its start) in which what was looked at, from `since` until `until`, ended. `observed` and
    `expected` are in `unit`. `incident` is the one that it belongs to, if it does; `suppressed_by` names what keeps it
    from belonging to any.
    """

    class Data(Frozen):
        finding: Uuid
        detector: Name
        aspect: Text
        severity: Severity
        window: Instant
        since: Instant
        until: Instant
        observed: Number
        expected: Number
        unit: Text
        sentence: Text
        evidence: Annotated[list[Evidence], Field(max_length=100)]
        principal: Name | None
        key_id: KeyId | None
        incident: Uuid | None
        suppressed_by: Name | None

    type_name = "keyfold.finding.detected.v1"
    data: Data


class IncidentData(Frozen):
    """All that is known of an incident; `revision` counts what was told of it, from 1.

    `findings` are the ids of its first two hundred; `by`, `acted_at`, `comment` and `resolution` are of the last act.
    """

    incident: Uuid
    revision: Annotated[int, Field(ge=1)]
    state: Literal["open", "acknowledged", "closed"]
    severity: Severity
    opened: Instant
    since: Instant
    until: Instant
    entities: Annotated[list[WatchedEntity], Field(min_length=1, max_length=100)]
    detectors: Annotated[list[Name], Field(min_length=1)]
    findings: Annotated[list[Uuid], Field(min_length=1, max_length=1_000)]
    sentence: Text
    acted_at: Instant | None
    by: Name | None
    comment: Text
    resolution: Resolution | None


class IncidentOpened(Alert):
    """Findings alarm: an incident begins. Its id is the incident's and its revision."""

    type_name = "keyfold.incident.opened.v1"
    data: IncidentData


class IncidentUpdated(Alert):
    """A finding or an operator's act changed an incident. Its id is the incident's and its revision."""

    type_name = "keyfold.incident.updated.v1"
    data: IncidentData


ALERT_TYPES: Final[tuple[type[Alert], ...]] = (FindingDetected, IncidentOpened, IncidentUpdated)
BY_TYPE: Final = {model.type_name: model for model in ALERT_TYPES}


def parse_alert(value: bytes) -> Alert:
    """Parse exact bytes. Raises `InvalidCommand`, or `UnsupportedVersion` for a type that is not known here."""
    kind = strictjson.loads(value).get("type")
    model = BY_TYPE.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise UnsupportedVersion
    return strictjson.parse(model, value)


def alert_message(deployment: str, record_key: bytes, value: bytes) -> bytes:
    """Return what is signed: the alert bound to its deployment and its record key."""
    return pae(ALERT, bytes.fromhex(deployment), record_key, value)


def signed_alert(
    alert: Alert, deployment: str, signer: str, sign: Callable[[bytes], bytes]
) -> tuple[bytes, bytes, tuple[tuple[str, bytes], ...]]:
    """Return record key, value and headers of an alert. `signer` is the fingerprint of the key of `sign`."""
    key, value = alert.subject.encode(), alert.to_value()
    signature = sign(alert_message(deployment, key, value))
    return key, value, ((SIGNER_HEADER, signer.encode()), (SIGNATURE_HEADER, signature))


def open_alert(
    trust: Trust, key: bytes | None, value: bytes | None, headers: Sequence[Header], timestamp_ms: int
) -> Alert:
    """Return the alert of a record, if analytics signed it. Raises `UntrustedRecord`; `UnsupportedVersion` if it did,
    but the type is not known here."""
    if key is None or value is None:
        raise UntrustedRecord("a null key or value")
    signer = (single_header(headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
    signature = single_header(headers, SIGNATURE_HEADER) or b""
    message = alert_message(trust.deployment, key, value)
    trust.verify_record(ROLE, topics.ALERTS, signer, signature, message=message, timestamp_ms=timestamp_ms)
    try:
        alert = parse_alert(value)
    except InvalidCommand as error:
        raise UntrustedRecord(f"no alert: {error}") from None
    if alert.subject.encode() != key:
        raise UntrustedRecord("the record key is not the alert's subject")
    return alert
