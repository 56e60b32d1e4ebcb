"""Alerts: exact bytes, the strict reader, and who is believed."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from keyfold.events import alerts, topics
from keyfold.events.alerts import Alert, FindingDetected, open_alert, parse_alert, signed_alert
from keyfold.events.errors import InvalidCommand, SignatureInvalid, UnsupportedVersion
from keyfold.events.signatures import Signer, Verifier
from keyfold.events.statements import SIGNATURE_HEADER, SIGNER_HEADER, UntrustedRecord
from keyfold.events.times import DAY_MS, to_milliseconds
from keyfold.events.trust import Trust

NOW = to_milliseconds("2026-01-31T12:00:00.000Z")


@pytest.fixture
def golden(vectors: Callable[[str], Any]) -> Any:
    return vectors("alerts")


@pytest.fixture
def alert(golden: Any) -> Alert:
    return parse_alert(golden["cases"][0]["value"].encode())


@pytest.fixture
def analytics(examples: Any) -> Signer:
    made: Signer = examples.signer("analytics")
    return made


@pytest.fixture
def trust(world: Any, analytics: Signer) -> Trust:
    made: Trust = world.trust.with_event(certified(world, analytics))
    return made


def certified(world: Any, signer: Signer, *, service: str = "analytics", topic: str = topics.ALERTS) -> Any:
    return world.certificate(service, topics=[topic], signer=signer)


def test_golden_alerts_have_one_form(golden: Any) -> None:
    """Exact bytes parse and are written alike; every type has an example; each is signed as it says."""
    kinds = set()
    verifier = Verifier(bytes.fromhex(golden["public_key"]))
    for case in golden["cases"]:
        key, value = case["record_key"].encode(), case["value"].encode()
        made = parse_alert(value)
        assert made.to_value() == value
        assert made.subject.encode() == key
        message = alerts.alert_message(golden["deployment"], key, value)
        assert message.hex() == case["message_hex"]
        verifier.verify(bytes.fromhex(case["signature_hex"]), message)
        kinds.add(type(made))
    assert kinds == set(alerts.ALERT_TYPES)


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"severity": "severe"},
        {"observed": "4120"},
        {"evidence": [{}]},
        {"finding": "other"},
        {"sentence": "x" * 2001},
        {"since": "yesterday"},
        {"incident": None, "incident2": None},
    ],
)
def test_other_documents_are_refused(alert: Alert, change: dict[str, Any]) -> None:
    """The models are closed and strict, as those of events."""
    document = json.loads(alert.to_value())
    document["data"] |= change
    with pytest.raises(InvalidCommand):
        parse_alert(json.dumps(document).encode())


def test_unknown_types_are_told_apart(alert: Alert) -> None:
    """A later version is no forgery: its reader says that it does not know it."""
    value = alert.to_value().replace(b"detected.v1", b"detected.v2")
    with pytest.raises(UnsupportedVersion):
        parse_alert(value)
    with pytest.raises(InvalidCommand):
        parse_alert(alert.to_value()[:-1] + b',"id":"again"}')


def test_a_signed_alert_is_believed(trust: Trust, alert: Alert, analytics: Signer) -> None:
    """Under a certificate for the role and the topic."""
    record = signed_alert(alert, trust.deployment, analytics.fingerprint, analytics.sign)
    assert open_alert(trust, *record, NOW) == alert
    assert isinstance(open_alert(trust, *record, NOW), FindingDetected)


def test_whatever_is_altered_is_not_believed(trust: Trust, alert: Alert, analytics: Signer) -> None:
    """Key, value, headers, deployment: each is covered."""
    key, value, headers = signed_alert(alert, trust.deployment, analytics.fingerprint, analytics.sign)
    elsewhere = signed_alert(alert, "ab" * 32, analytics.fingerprint, analytics.sign)
    signer, signature = headers
    for record in (
        (b"principal/bob", value, headers),
        (key, value.replace(b"high", b"low"), headers),
        (key, value, (signer,)),
        (key, value, (signature,)),
        (key, value, (signer, (SIGNATURE_HEADER, bytes(64)))),
        (key, value, (*headers, signature)),
        (key, value, ((SIGNER_HEADER, b"\xff"), signature)),
        (None, value, headers),
        (key, None, headers),
        elsewhere,
    ):
        with pytest.raises(UntrustedRecord):
            open_alert(trust, *record, NOW)


def test_a_record_key_must_be_the_subject(trust: Trust, alert: Alert, analytics: Signer) -> None:
    """Also where analytics itself signed it so."""
    key, value = b"principal/bob", alert.to_value()
    signature = analytics.sign(alerts.alert_message(trust.deployment, key, value))
    headers = ((SIGNER_HEADER, analytics.fingerprint.encode()), (SIGNATURE_HEADER, signature))
    with pytest.raises(UntrustedRecord, match="subject"):
        open_alert(trust, key, value, headers, NOW)


def test_a_signed_record_of_another_form_is_not_believed(trust: Trust, analytics: Signer) -> None:
    """A signature does not make it an alert."""
    key, value = b"principal/bob", b'{"type":"keyfold.finding.detected.v1"}'
    signature = analytics.sign(alerts.alert_message(trust.deployment, key, value))
    headers = ((SIGNER_HEADER, analytics.fingerprint.encode()), (SIGNATURE_HEADER, signature))
    with pytest.raises(UntrustedRecord, match="no alert"):
        open_alert(trust, key, value, headers, NOW)


def test_only_analytics_under_a_valid_certificate_is_believed(world: Any, alert: Alert, analytics: Signer) -> None:
    """Not another role, another topic, another time, or a revoked key."""
    record = signed_alert(alert, world.deployment, analytics.fingerprint, analytics.sign)
    good = world.trust.with_event(certified(world, analytics))
    for trust, at in (
        (world.trust, NOW),
        (world.trust.with_event(certified(world, analytics, service="policy")), NOW),
        (world.trust.with_event(certified(world, analytics, topic=topics.EVENTS)), NOW),
        (good, NOW + 90 * DAY_MS),
        (good, NOW - 90 * DAY_MS),
        (good.with_event(world.revocation("analytics", {})), NOW),
    ):
        with pytest.raises(UntrustedRecord):
            open_alert(trust, *record, at)
    policy = world.examples.POLICY
    with pytest.raises(UntrustedRecord):
        open_alert(good, *signed_alert(alert, world.deployment, policy.fingerprint, policy.sign), NOW)


def test_the_message_names_deployment_and_key(alert: Alert, analytics: Signer, golden: Any) -> None:
    """What is signed for one place is worth nothing at another."""
    message = alerts.alert_message(golden["deployment"], b"principal/alice", alert.to_value())
    other = alerts.alert_message("00" * 32, b"principal/alice", alert.to_value())
    with pytest.raises(SignatureInvalid):
        Verifier(analytics.public_key).verify(analytics.sign(message), other)
