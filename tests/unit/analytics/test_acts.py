"""Events of operators' acts, as they stand in the log, become acts; others do not."""

import json
from pathlib import Path

from keyfold.analytics.acts import KINDS, Act, Suppression, act_of
from keyfold.events import facts
from keyfold.events.chains import Accepted, Place
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.times import to_milliseconds
from keyfold.projections.audit import audit_row

CASES = json.loads((Path(__file__).resolve().parents[2] / "vectors" / "events.json").read_text("utf-8"))["cases"]


def acted(kind: str) -> tuple[facts.Event, Act | None]:
    value = CASES[kind]["value"].encode()
    event = facts.parse_event(value)
    entry = Entry(event.subject.encode(), value)
    accepted = Accepted(event.role, "s", Place(ChainHead(1, "0" * 64), 0, 1), entry)
    return event, act_of(audit_row(0, 0, 0, accepted, event), event)


def test_every_kind_of_act_is_an_event_of_the_vocabulary() -> None:
    """And no other event is an act."""
    assert set(KINDS) <= set(facts.BY_TYPE)
    assert {kind for kind in CASES if acted(kind)[1] is not None} == set(KINDS)


def test_acts_about_incidents() -> None:
    """Who, when, which, and what was said."""
    event, act = acted("keyfold.incident.closed.v1")
    data = vars(event.data)
    assert act is not None
    assert (act.kind, act.event_id, act.time_ms) == ("close", event.id, to_milliseconds(event.time))
    assert (act.incident, act.by, act.resolution, act.comment) == (
        data["incident"], data["by"], data["resolution"], data["comment"],
    )  # fmt: skip
    _, act = acted("keyfold.incident.acknowledged.v1")
    assert act is not None
    assert (act.kind, act.resolution, act.suppression) == ("acknowledge", None, None)


def test_acts_about_suppressions() -> None:
    """What is suppressed until when; a deletion names it only."""
    event, act = acted("keyfold.suppression.put.v1")
    data = vars(event.data)
    assert act is not None
    assert act.suppression == Suppression(
        data["suppression"], data["detector"], data["entity"], to_milliseconds(data["until"])
    )
    _, act = acted("keyfold.suppression.deleted.v1")
    assert act is not None
    assert act.suppression is not None
    assert act.suppression.until_ms == 0
