"""What is told of findings and incidents: complete, within the format's bounds, and the same whenever it is told."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.analytics.found import ALICE, KEY, KEY_ID, act, found, suppress

from keyfold.analytics.alert_store import FIRST_PAUSE_S, LONGEST_PAUSE_S, StoredAlerts
from keyfold.analytics.alerts import MAX_EVIDENCE, MAX_TEXT, AlertAuthor, act_row, alert_of, finding_alert
from keyfold.analytics.incidents import Changed, Incidents
from keyfold.analytics.observations import Ref
from keyfold.events.alerts import FindingDetected, IncidentOpened, IncidentUpdated, alert_message, parse_alert
from keyfold.events.signatures import Signer, Verifier
from keyfold.events.times import to_text
from keyfold.projections.errors import StoreRefused, StoreUnavailable
from keyfold.projections.memory import MemoryAlerts

SIGNER = Signer(b"a" * 32)
DEPLOYMENT = "ab" * 32


def test_a_finding_is_told_with_all_that_a_person_needs() -> None:
    """Severity, entity, window, values, evidence and sentence; and what it belongs to."""
    finding = found(aspect="Decrypt", key_id=KEY_ID)
    detected, opened = map(alert_of, Incidents().take(finding))
    data, signal = detected.data, finding.signal
    assert isinstance(detected, FindingDetected)
    assert (detected.id, detected.subject, detected.time) == (f"{finding.id}.medium", ALICE, to_text(signal.until_ms))
    assert (data.window, data.since, data.until) == tuple(
        map(to_text, (finding.window_ms, signal.since_ms, signal.until_ms))
    )
    assert (data.observed, data.expected, data.unit, data.sentence) == (4120.0, 35.0, "items", signal.sentence)
    assert [(each.event, each.partition, each.offset) for each in data.evidence] == [("event-17", 1, 17)]
    assert (data.incident, data.key_id, data.suppressed_by) == (opened.data.incident, KEY_ID, None)


def test_an_incident_is_told_whole_at_each_change() -> None:
    """Opened once, then updated; its id counts revisions."""
    incidents = Incidents()
    _, opened = map(alert_of, incidents.take(found(key_id=KEY_ID)))
    _, updated = map(alert_of, incidents.take(found("denials", minute=1, severity="high")))
    name = opened.data.incident
    (closed,) = map(alert_of, incidents.act(act("close", name, 9, resolution="BENIGN", comment="planned")))
    assert [type(each) for each in (opened, updated, closed)] == [IncidentOpened, IncidentUpdated, IncidentUpdated]
    assert [each.id for each in (opened, updated, closed)] == [f"{name}.{number}" for number in (1, 2, 3)]
    assert updated.data.entities == [ALICE, KEY]
    assert (closed.data.state, closed.data.by, closed.data.resolution) == ("closed", "alice", "BENIGN")
    assert closed.data.severity == "high"
    assert closed.time == closed.data.acted_at


def test_suppressed_findings_say_by_what() -> None:
    """They are told, and belong to no incident."""
    incidents = Incidents()
    incidents.act(suppress("batch", entity=ALICE))
    (alert,) = map(alert_of, incidents.take(found()))
    assert (alert.data.suppressed_by, alert.data.incident) == ("batch", None)


def test_whatever_a_detector_says_fits_the_format() -> None:
    """Long texts and much evidence are cut; the bytes can be read again."""
    evidence = tuple(Ref(1, 2, number, f"e{number}") for number in range(200))
    finding = found(aspect="a" * 5_000, evidence=evidence)
    finding = replace(finding, signal=replace(finding.signal, sentence="s" * 5_000, observed=7))
    alert = finding_alert(finding)
    assert (len(alert.data.sentence), len(alert.data.aspect), len(alert.data.evidence)) == (MAX_TEXT,) * 2 + (
        MAX_EVIDENCE,
    )
    assert parse_alert(alert.to_value()) == alert


def test_the_same_is_told_in_the_same_bytes() -> None:
    """So it can be told again after a crash, and readers know it."""
    author = AlertAuthor(DEPLOYMENT, SIGNER.fingerprint, SIGNER.sign)
    first, again = (author.records(Incidents().take(found())) for _ in range(2))
    assert first == again
    for record in first:
        headers = dict(record.headers)
        message = alert_message(DEPLOYMENT, record.key, record.value)
        Verifier(SIGNER.public_key).verify(headers["kf_signature"] or b"", message)
        assert headers["kf_signer"] == SIGNER.fingerprint.encode()
        assert record.key == ALICE.encode()


@pytest.mark.parametrize("change", ["detected", "opened"])
def test_a_change_of_nothing_is_refused(change: Any) -> None:
    """It would be a defect of ours."""
    with pytest.raises(ValueError, match="without"):
        alert_of(Changed(change, None, None))


def test_acts_have_rows() -> None:
    """About incidents, and about suppressions."""
    row = act_row(act("close", "i", resolution="BENIGN", comment="c"))
    assert (row.kind, row.incident, row.resolution, row.comment, row.suppression) == ("close", "i", "BENIGN", "c", None)
    row = act_row(suppress("batch", "denials", ALICE))
    assert (row.suppression, row.detector, row.entity, row.incident) == ("batch", "denials", ALICE, None)
    assert row.until is not None


class Flaky(MemoryAlerts):
    """A store that fails as it is told."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)

    async def write(self, alerts: Any, acts: Any = ()) -> None:
        if self.errors:
            raise self.errors.pop(0)
        await super().write(alerts, acts)


async def test_alerts_wait_until_the_store_is_back() -> None:
    """With longer and longer pauses, as long as it takes."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    store = Flaky(*[StoreUnavailable("away")] * 7)
    changes = Incidents().take(found())
    writer = StoredAlerts(store, sleep=sleep)
    await writer.write(changes, [])
    assert len(await store.findings()) == len(await store.incidents()) == 1
    assert pauses[:2] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S]
    assert max(pauses) == pauses[-1] == LONGEST_PAUSE_S
    await writer.close()


async def test_what_the_store_refuses_is_not_tried_again() -> None:
    """It would be refused for ever."""
    store = Flaky(StoreRefused("no"))
    with pytest.raises(StoreRefused):
        await StoredAlerts(store).write(Incidents().take(found()), [])
    assert store.errors == []
