"""A report counts what happened, in few enough slots, and its page needs nothing and lets nothing in."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from tests.unit.analytics.found import ALICE, KEY_ID, MINUTE_MS, START_MS, act, found

from keyfold.analytics.findings import HOUR_MS
from keyfold.analytics.incidents import Incidents
from keyfold.analytics.observations import Observation, Ref, Result
from keyfold.analytics.report import MAX_NAMES, MAX_SLOTS, OTHERS, Report, Series
from keyfold.analytics.report_page import page

EVIL = "</script><img src=x onerror=alert(1)>"


def seen(minute: float, result: Result = "authorized", **fields: object) -> Observation:
    given = {"principal": "alice", "key_id": KEY_ID, "verb": "Decrypt", "items": 3, **fields}
    return Observation(ref=Ref(START_MS + int(minute * MINUTE_MS), 1, 1, "e"), result=result, **given)  # type: ignore[arg-type]


def filled() -> Report:
    report = Report()
    for minute in range(0, 120, 5):
        report.see(seen(minute))
        report.see(seen(minute, principal="bob", verb="Encrypt", key_id=None))
        report.see(seen(minute, "completed", failures=1))
    report.see(seen(7, "denied", code="AccessDenied"))
    report.see(seen(8, "failed", code="TokenUnavailable"))
    report.see(seen(9, "rejected", code="Expired", key_id=None))
    for change in Incidents().take(found(minute=60, key_id=KEY_ID)):
        report.tell(change)
    return report


def test_use_is_counted_by_verb_principal_and_key() -> None:
    """Operations are items of authorized commands; what failed, was denied or not admitted stands beside them."""
    report = filled()
    assert {name: counts.total() for name, counts in report.verbs.counts.items()} == {"Decrypt": 72, "Encrypt": 72}
    assert {name: counts.total() for name, counts in report.principals.counts.items()} == {"alice": 72, "bob": 72}
    assert {name: counts.total() for name, counts in report.keys.counts.items()} == {KEY_ID: 72}
    assert {name: counts.total() for name, counts in report.refusals.counts.items()} == {
        "items that failed": 24, "denied: AccessDenied": 1, "failed: TokenUnavailable": 1, "rejected: Expired": 1,
    }  # fmt: skip
    alice = report.totals[ALICE]
    assert (alice.operations, alice.denied, alice.failed, alice.rejected, alice.incidents) == (72, 1, 25, 1, 1)
    assert [name for name, _ in report.of("principal/")] == ["alice", "bob"]


def test_slots_become_longer_when_they_are_too_many() -> None:
    """Whatever the span, there are few, and nothing is lost."""
    report = Report()
    for hour in range(24 * 200):
        report.see(seen(hour * 60))
    assert 20 < len(report.slots) <= MAX_SLOTS
    assert report.verbs.counts["Decrypt"].total() == 3 * 24 * 200
    assert set(report.verbs.counts["Decrypt"]) <= set(report.slots)
    report.see(seen(-20 * 365 * 24 * 60))
    assert len(report.slots) <= MAX_SLOTS
    assert Report().slots == []


def test_names_are_bounded() -> None:
    """Those beyond are counted together; the largest are shown by themselves."""
    series = Series()
    for number in range(MAX_NAMES + 5):
        series.add(f"p{number}", 0, number + 1)
    assert len(series.counts) == MAX_NAMES + 1
    largest = series.largest(3)
    assert [name for name, _ in largest] == [f"p{MAX_NAMES - 1}", f"p{MAX_NAMES - 2}", f"p{MAX_NAMES - 3}", OTHERS]
    whole = sum(counts.total() for counts in series.counts.values())
    assert sum(counts.total() for _, counts in largest) == whole


def test_only_what_lies_within_is_counted() -> None:
    """From `since` on and before `until`, observations and incidents."""
    report = Report(START_MS + 10 * MINUTE_MS, START_MS + 20 * MINUTE_MS)
    for minute in (9, 10, 19, 20):
        report.see(seen(minute))
        for change in Incidents().take(found(minute=minute, aspect=f"{minute}")):
            report.tell(change)
    assert report.observations == 2
    ends = [incident.until_ms - START_MS for incident in report.incidents.values()]
    assert ends == [10 * MINUTE_MS + 10_000, 19 * MINUTE_MS + 10_000]
    assert len(report.slots) == 10
    assert HOUR_MS % report.slot_ms == 0


def test_an_incident_is_shown_as_it_is_at_last() -> None:
    """Each once, with the state that operators gave it."""
    report, incidents = Report(), Incidents()
    for change in incidents.take(found()):
        report.tell(change)
    (name,) = report.incidents
    for change in incidents.act(act("close", name, 1, resolution="BENIGN")):
        report.tell(change)
    assert report.incidents[name].state == "closed"
    assert "closed: BENIGN" in page(report, deployment="ab" * 32, made_at="now")


class Tags(HTMLParser):
    """What a page consists of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def made() -> str:
    report = filled()
    evil = found(entity=f"principal/{EVIL}", minute=61)
    evil = replace(evil, signal=replace(evil.signal, sentence=f"{EVIL} was decrypted"))
    for change in Incidents().take(evil):
        report.tell(change)
    report.see(seen(3, principal=EVIL, verb=EVIL, key_id=EVIL))
    report.see(seen(3, "denied", principal=EVIL, code=EVIL))
    return page(report, deployment="ab" * 32, made_at="2026-01-31 12:00")


def test_the_page_loads_nothing(made: str) -> None:
    """Its policy forbids it, and no element asks for it."""
    parsed = Tags()
    parsed.feed(made)
    policies = [attributes["content"] for tag, attributes in parsed.tags if "http-equiv" in attributes]
    assert policies == [
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    ]
    assert not [attributes for _, attributes in parsed.tags if {"src", "href"} & set(attributes)]
    assert not {"link", "iframe", "img", "base"} & {tag for tag, _ in parsed.tags}


def test_nothing_of_the_log_is_taken_for_markup(made: str) -> None:
    """Whatever a name or a sentence says, it is text: in tables, and in the data of drawings."""
    assert EVIL not in made
    drawings = made[made.index("<body>") :]
    assert drawings.count("<script>") == drawings.count("</script>") == 4
    assert "<img" not in re.sub(r"&lt;img", "", drawings)
    assert "&lt;/script&gt;&lt;img src=x" in drawings


def test_the_page_shows_what_was_gathered(made: str) -> None:
    """Numbers, names, incidents, and the four drawings."""
    parsed = Tags()
    parsed.feed(made[made.index("<body>") :])
    text = " ".join(parsed.text)
    for expected in ("alice", KEY_ID, "usage-rate", "4,120 items", "147", "operations", "2026-01-31 12:00"):
        assert expected in text, expected
    for name in ("timeline", "principals", "keys", "refusals"):
        assert f'<div id="{name}"' in made


def test_a_page_of_nothing_can_be_made() -> None:
    """A new deployment has a report, too."""
    assert "nothing was seen" in page(Report(), deployment="ab" * 32, made_at="now")
