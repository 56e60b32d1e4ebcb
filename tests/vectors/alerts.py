"""One valid example of every alert, and variants with what is optional; `scripts/vectors` signs and writes them."""

from typing import Any

from keyfold.events import alerts
from keyfold.events.alerts import Evidence, FindingDetected, IncidentData, IncidentOpened, IncidentUpdated

FINDING = "0193f3a0-7c00-8000-8000-00000000000f"
INCIDENT = "0193f3a0-7c00-8000-8000-0000000000ff"
TIME = "2026-01-31T12:00:00.000Z"
EARLIER = "2026-01-31T11:50:00.000Z"
HOUR = "2026-01-31T11:00:00.000Z"


def finding(key: str | None, **changes: Any) -> FindingDetected:
    """Return a finding about alice, or with what is given instead."""
    given: dict[str, Any] = {
        "finding": FINDING,
        "detector": "usage-rate",
        "aspect": "Decrypt",
        "severity": "high",
        "window": HOUR,
        "since": EARLIER,
        "until": TIME,
        "observed": 4120.0,
        "expected": 35.25,
        "unit": "items",
        "sentence": "decrypted 4,120 items in 10 minutes, where about 35 are usual",
        "evidence": [
            Evidence(event="0193f3a0-7c00-7000-8000-00000000000c.policy", time=EARLIER, partition=3, offset=17)
        ],
        "principal": None,
        "key_id": key,
        "incident": INCIDENT,
        "suppressed_by": None,
    }
    data = FindingDetected.Data(**(given | changes))
    identifier = f"{data.finding}.{data.severity}"
    kind = FindingDetected.type_name
    return FindingDetected(id=identifier, type=kind, subject="principal/alice", time=TIME, data=data)


def incident(key_id: str, revision: int, **changes: Any) -> alerts.Alert:
    """Return an incident about alice and a key; the first revision opens it."""
    given: dict[str, Any] = {
        "incident": INCIDENT,
        "revision": revision,
        "state": "open",
        "severity": "high",
        "opened": TIME,
        "since": TIME,
        "until": TIME,
        "entities": ["principal/alice", f"key/{key_id}"],
        "detectors": ["usage-rate"],
        "findings": [FINDING],
        "sentence": "principal/alice decrypted 4,120 items in 10 minutes, where about 35 are usual",
        "acted_at": None,
        "by": None,
        "comment": "",
        "resolution": None,
    }
    model = IncidentOpened if revision == 1 else IncidentUpdated
    data = IncidentData(**(given | changes))
    identifier = f"{data.incident}.{data.revision}"
    return model(id=identifier, type=model.type_name, subject="principal/alice", time=TIME, data=data)


def examples(key_id: str) -> dict[str, alerts.Alert]:
    """Return the examples by name: one of each type, and the variants."""
    closed = {"state": "closed", "acted_at": TIME, "by": "bob", "comment": "Orders, 注文", "resolution": "BENIGN"}
    suppressed = {"severity": "low", "incident": None, "suppressed_by": "nightly-batch", "principal": "bob"}
    return {
        "finding": finding(key_id),
        "suppressed finding": finding(None, evidence=[], **suppressed),
        "opened": incident(key_id, 1),
        "closed": incident(key_id, 3, **closed),
    }


def vectors(document: Any, given: dict[str, Any]) -> Any:
    """Return the file's content: exact bytes and signatures under the example key of analytics."""
    signer, deployment = given["signer"]("analytics"), given["DEPLOYMENT"]
    cases = []
    for name, alert in examples(given["KEY_ID"]).items():
        key, value, headers = alerts.signed_alert(alert, deployment, signer.fingerprint, signer.sign)
        message = alerts.alert_message(deployment, key, value)
        made = {header: content.hex() for header, content in headers[1:]}
        cases.append({
            "what": name,
            "record_key": key.decode(),
            "value": value.decode(),
            "message_hex": message.hex(),
            "signature_hex": made["kf_signature"],
        })  # fmt: skip
    more = {"deployment": deployment, "signer": signer.fingerprint, "public_key": signer.public_key.hex()}
    return document("alerts of every type, exact bytes, signed (Ed25519 over PAE)", cases, **more)
