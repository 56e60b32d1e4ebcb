"""Findings and acts for tests."""

from typing import Any

from keyfold.analytics.acts import Act, Suppression
from keyfold.analytics.findings import HOUR_MS, Finding, Severity, Signal, finding
from keyfold.analytics.observations import Ref

START_MS = 1_767_225_600_000
MINUTE_MS = 60_000
ALICE, BOB = "principal/alice", "principal/bob"
KEY_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
KEY = f"key/{KEY_ID}"


def found(
    detector: str = "usage-rate",
    entity: str = ALICE,
    minute: float = 0,
    severity: Severity = "medium",
    aspect: str = "",
    **more: Any,
) -> Finding:
    """A finding whose window ends some minutes after the start."""
    end = START_MS + int(minute * MINUTE_MS) + 10_000
    sentence = "decrypted 4,120 items in 10 minutes, where about 35 are usual"
    given = {"evidence": (Ref(end - 5_000, 1, 17, "event-17"),), **more}
    signal = Signal(severity, end - 600_000, end, 4120.0, 35.0, "items", sentence, aspect, **given)
    return finding(detector, entity, signal)


def act(kind: Any, incident: str | None = None, minute: float = 0, **more: Any) -> Act:
    """What alice does some minutes after the start."""
    time_ms = START_MS + int(minute * MINUTE_MS)
    return Act(f"act-{kind}-{incident}-{minute}", time_ms, "alice", kind, incident, **more)


def suppress(name: str, detector: str | None = None, entity: str | None = None, hours: float = 1) -> Act:
    """A suppression, put at the start."""
    until = START_MS + int(hours * HOUR_MS)
    return act("suppress", suppression=Suppression(name, detector, entity, until))
