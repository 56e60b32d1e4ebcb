"""Findings that belong together are one incident; operators' acts and suppressions hold; nothing counts twice."""

import json
import random
from dataclasses import replace

import pytest
from tests.unit.analytics.found import ALICE, BOB, KEY, KEY_ID, act, found, suppress

from keyfold.analytics import incidents as module
from keyfold.analytics.acts import Suppression
from keyfold.analytics.alerts import alert_of
from keyfold.analytics.findings import Finding
from keyfold.analytics.incidents import Changed, Incident, Incidents, correlate, incident_id, subjects
from keyfold.cli.alerts.tail import Wanted


def changes(of: list[Changed]) -> list[str]:
    return [each.change for each in of]


def only(incidents: Incidents) -> Incident:
    (incident,) = incidents.groups.values()
    return incident


def copy(incidents: Incidents) -> Incidents:
    """The same, written down and read again."""
    return Incidents.of_documents(json.loads(json.dumps(incidents.documents())))


def test_a_finding_opens_an_incident_named_after_it() -> None:
    """Whoever reads the same findings gives it the same id."""
    incidents, first = Incidents(), found()
    made = incidents.take(first)
    assert changes(made) == ["detected", "opened"]
    incident = only(incidents)
    assert incident.id == incident_id(first.id)
    assert incident.severity == "medium"
    assert incident.state == "open"
    assert incident.revision == 1
    assert incident.sentence.startswith("principal/alice decrypted 4,120 items")
    assert {each.incident for each in made} == {incident}


def test_a_finding_that_comes_again_changes_nothing() -> None:
    """At-least-once delivery makes no second alarm, also after the memory was read again."""
    incidents = Incidents()
    incidents.take(found())
    assert incidents.take(found()) == []
    assert copy(incidents).take(found()) == []


def test_a_finding_that_comes_again_more_severe_raises_the_incident() -> None:
    """It has the same id, as its window and aspect are the same."""
    incidents = Incidents()
    incidents.take(found())
    worse = found(severity="critical", minute=1)
    assert worse.id == found().id
    assert changes(incidents.take(worse)) == ["detected", "updated"]
    assert only(incidents).severity == "critical"
    assert only(incidents).findings == (worse.id,)
    assert incidents.take(found(minute=2)) == []


@pytest.mark.parametrize(
    ("second", "joined"),
    [
        (found("denials", minute=30), True),
        (found("denials", minute=30.1), False),
        (found("denials", minute=-30), True),
        (found("denials", minute=-30.1), False),
        (found("denials", BOB, minute=1), False),
        (found("denials", BOB, minute=1, key_id=KEY_ID), True),
        (found("denials", KEY, minute=1), True),
        (found("denials", KEY, minute=1, principal="bob"), True),
    ],
)
def test_findings_of_one_principal_or_key_within_half_an_hour_belong_together(second: Finding, joined: bool) -> None:
    """Whether the entity is the finding's own or another that it names, and in whatever order they come."""
    incidents = Incidents()
    incidents.take(found(key_id=KEY_ID))
    assert changes(incidents.take(second)) == ["detected", "updated" if joined else "opened"]
    assert len(incidents.groups) == (1 if joined else 2)


def test_the_worst_finding_gives_severity_and_sentence() -> None:
    """A later and lesser one changes neither."""
    incidents = Incidents()
    for severity, entity in (("medium", ALICE), ("high", KEY), ("low", ALICE)):
        incidents.take(found(f"d-{severity}", entity, severity=severity, principal="alice"))  # type: ignore[arg-type]
    incident = only(incidents)
    assert incident.severity == "critical"  # three detectors agree
    assert incident.worst_severity == "high"
    assert incident.sentence.startswith(KEY)


def test_three_detectors_that_agree_raise_the_severity_by_one_step() -> None:
    """Not twice for the fourth, and not beyond critical."""
    incidents = Incidents()
    severities = []
    for number in range(4):
        incidents.take(found(f"detector-{number}", minute=number))
        severities.append(only(incidents).severity)
    assert severities == ["medium", "medium", "high", "high"]
    incidents.take(found("other", severity="critical", minute=5))
    assert only(incidents).severity == "critical"


def test_low_findings_alone_open_an_incident_when_three_detectors_speak() -> None:
    """Until then they are told as findings only; then all of them are in it."""
    incidents = Incidents()
    lows = [found(f"detector-{number % 3}", minute=number, severity="low", aspect=f"{number}") for number in (0, 3, 1)]
    assert [changes(incidents.take(low)) for low in lows] == [["detected"], ["detected"], ["detected"]]
    made = incidents.take(found("detector-2", minute=4, severity="low"))
    assert changes(made) == ["detected", "opened"]
    assert only(incidents).severity == "medium"
    assert len(only(incidents).findings) == 4
    assert only(incidents).id == incident_id(lows[0].id)


def test_low_findings_join_an_incident_that_names_both_of_them() -> None:
    """Groups that wait are taken in; incidents that were open stay what they are."""
    incidents = Incidents()
    low = found("first-use", BOB, severity="low")
    incidents.take(low)
    incidents.take(found("usage-rate", KEY))
    both = found("fan-out", BOB, minute=2, key_id=KEY_ID)
    assert changes(incidents.take(both)) == ["detected", "updated"]
    assert only(incidents).detectors == ("fan-out", "first-use", "usage-rate")
    assert low.id in only(incidents).findings


def test_of_two_incidents_the_oldest_takes_a_finding_that_names_both() -> None:
    """They are not merged: both were told already."""
    incidents = Incidents()
    first, second = found("usage-rate", ALICE), found("usage-rate", KEY, minute=1)
    incidents.take(first)
    incidents.take(second)
    incidents.take(found("denials", ALICE, minute=2, key_id=KEY_ID))
    assert len(incidents.groups) == 2
    assert len(incidents.groups[incident_id(first.id)].findings) == 2


def test_acknowledging_and_closing_are_told_once() -> None:
    """A later acknowledgement hands it over. A closed incident takes nothing in: what comes then opens another."""
    incidents = Incidents()
    incidents.take(found())
    name = only(incidents).id
    first = act("acknowledge", name, comment="looking")
    assert changes(incidents.act(first)) == ["updated"]
    assert incidents.act(first) == []
    assert (only(incidents).state, only(incidents).by, only(incidents).comment) == ("acknowledged", "alice", "looking")
    handed = replace(act("acknowledge", name, minute=1), by="bob")
    assert changes(incidents.act(handed)) == ["updated"]
    assert incidents.act(first) == []
    assert (only(incidents).state, only(incidents).by) == ("acknowledged", "bob")
    assert changes(incidents.take(found("denials", minute=2))) == ["detected", "updated"]
    assert changes(incidents.act(act("close", name, minute=3, resolution="BENIGN"))) == ["updated"]
    assert incidents.groups[name].resolution == "BENIGN"
    assert incidents.act(act("close", name, minute=4, resolution="TRUE_POSITIVE")) == []
    assert incidents.act(act("acknowledge", name, minute=4)) == []
    assert changes(incidents.take(found("replays", minute=5))) == ["detected", "opened"]
    assert incidents.groups[name].state == "closed"


@pytest.mark.parametrize("minute", [4, 50])
def test_a_finding_that_rises_when_its_incident_takes_nothing_in_opens_another(minute: float) -> None:
    """It has the id of the one that began the first, which was closed, or is over for longer than findings are joined.
    The first stays as it was told; whoever follows alerts is shown the second."""
    incidents = Incidents()
    told = incidents.take(found(minute=2))
    first = only(incidents)
    if minute == 4:
        told += incidents.act(act("close", first.id, minute=3, resolution="BENIGN"))
    kept = incidents.groups[first.id]
    risen = found(severity="critical", minute=minute)
    assert risen.id == first.worst
    made = incidents.take(risen)
    assert changes(made) == ["detected", "opened"]
    second = made[-1].incident
    assert second is not None
    assert (second.id, second.revision, second.state) == (incident_id(f"{risen.id}.critical"), 1, "open")
    assert incidents.groups == {first.id: kept, second.id: second}
    assert copy(incidents).groups == incidents.groups
    tail = Wanted(0, incidents=True)
    shown = [alert.data.incident for alert in map(alert_of, [*told, *made]) if tail.takes(alert)]
    assert shown == [first.id] * (len(told) - 1) + [second.id]


def test_acts_on_unknown_incidents_change_nothing() -> None:
    """Also on groups that are no incidents yet: their ids were told to nobody."""
    incidents = Incidents()
    incidents.take(found(severity="low"))
    assert incidents.act(act("close", only(incidents).id)) == []
    assert incidents.act(act("close", "01890a5d-ac96-774b-bcce-b302099a8057")) == []


@pytest.mark.parametrize(
    ("suppression", "holds"),
    [
        (Suppression("s", "usage-rate", None, found().signal.until_ms + 1), True),
        (Suppression("s", None, ALICE, found().signal.until_ms + 1), True),
        (Suppression("s", "usage-rate", ALICE, found().signal.until_ms + 1), True),
        (Suppression("s", None, KEY, found().signal.until_ms + 1), False),
        (Suppression("s", "usage-rate", BOB, found().signal.until_ms + 1), False),
        (Suppression("s", "denials", None, found().signal.until_ms + 1), False),
        (Suppression("s", "usage-rate", None, found().signal.until_ms), False),
    ],
)
def test_suppressed_findings_are_told_and_open_nothing(suppression: Suppression, holds: bool) -> None:
    """By detector, by its entity, or both, until a time. Not by a key that a principal chose to use beside others."""
    incidents = Incidents()
    incidents.act(act("suppress", suppression=suppression))
    made = incidents.take(found(key_id=KEY_ID))
    assert changes(made) == (["detected"] if holds else ["detected", "opened"])
    assert made[0].suppressed_by == ("s" if holds else None)
    assert len(incidents.groups) == (0 if holds else 1)


def test_what_a_principal_does_to_a_key_is_suppressed_with_it() -> None:
    """A batch job is announced by its principal: findings about the keys that it works on are its own."""
    incidents = Incidents()
    incidents.act(suppress("batch", entity=ALICE))
    assert changes(incidents.take(found(entity=KEY, principal="alice"))) == ["detected"]
    other = found(entity=KEY, aspect="sign", principal="bob")
    assert changes(incidents.take(other)) == ["detected", "opened"]


def test_a_suppression_that_is_deleted_or_over_holds_no_more() -> None:
    """What it suppressed while it held stays so."""
    incidents = Incidents()
    incidents.act(suppress("batch", detector="usage-rate"))
    incidents.take(found())
    incidents.act(act("unsuppress", minute=1, suppression=Suppression("batch")))
    assert incidents.take(found()) == []
    assert changes(incidents.take(found(aspect="other"))) == ["detected", "opened"]


def test_what_is_quiet_for_a_day_is_forgotten() -> None:
    """Memory follows event time: incidents, ids of findings and suppressions leave."""
    incidents = Incidents()
    incidents.act(suppress("batch", detector="nothing"))
    incidents.take(found())
    incidents.take(found("denials", BOB, minute=24 * 60 - 1))
    assert len(incidents.groups) == 2
    incidents.take(found("denials", KEY, minute=27 * 60))
    assert len(incidents.groups) == 2
    assert not incidents.suppressions
    documents = incidents.documents()
    assert sum(name.startswith("seen/") for name in documents) == 2


def test_memory_is_bounded_however_many_findings_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that rested longest goes first; lists in an incident end."""
    monkeypatch.setattr(module, "MAX_GROUPS", 10)
    incidents = Incidents()
    for number in range(30):
        incidents.take(found(entity=f"principal/p{number}", minute=number / 10))
    assert len(incidents.groups) == 10
    assert "principal/p29" in [group.entities[0] for group in incidents.groups.values()]
    assert len(incidents._by_entity) == 10
    for number in range(300):
        incidents.take(found(entity="principal/p29", minute=3, aspect=f"{number}", principal=f"q{number}"))
    group = next(each for each in incidents.groups.values() if "principal/p29" in each.entities)
    assert len(group.findings) == module.MAX_LISTED
    assert len(group.entities) == module.MAX_ENTITIES


def history(seed: int) -> list[Finding]:
    source = random.Random(seed)  # noqa: S311
    return [
        found(
            source.choice(("usage-rate", "denials", "fan-out", "first-use")),
            source.choice((ALICE, BOB, KEY)),
            source.uniform(0, 2_000) + number,
            source.choice(("low", "low", "medium", "high")),
            source.choice(("", "a", "b")),
            key_id=source.choice((None, KEY_ID)),
        )
        for number in range(150)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_memory_can_be_written_down_at_any_moment(seed: int) -> None:
    """By all documents, or by the changed ones only: what follows is the same."""
    straight, copied, patched = Incidents(), Incidents(), Incidents()
    patched.act(suppress("batch", "fan-out", ALICE))
    written: dict[str, object] = {}
    for each in (straight, copied):
        each.act(suppress("batch", "fan-out", ALICE))
    for finding in history(seed):
        expected = straight.take(finding)
        copied = copy(copied)
        assert copied.take(finding) == expected
        for name, document in patched.changed_documents().items():
            if document is None:
                del written[name]
            else:
                written[name] = json.loads(json.dumps(document))
        patched = Incidents.of_documents(written)
        assert patched.take(finding) == expected
    assert copied.documents() == straight.documents() == patched.documents()


def test_the_same_findings_give_the_same_incidents() -> None:
    """Two runs over one history agree to the last field."""
    assert list(correlate(history(3))) == list(correlate(history(3)))


@pytest.mark.parametrize("document", [{"incident/x": {}}, {"other": 1}, {"seen/x": {}}, {"incident/x": None}])
def test_other_documents_are_refused(document: dict[str, object]) -> None:
    """Whoever reads such a memory begins anew."""
    with pytest.raises(ValueError, match=r"incidents|literal"):
        Incidents.of_documents(document)


def test_subjects_name_a_finding_s_own_entity_first() -> None:
    """Each once."""
    both = found(key_id=KEY_ID, principal="alice")
    assert subjects(both) == (ALICE, KEY)
    assert subjects(replace(both, entity=KEY)) == (KEY, ALICE)
