"""How events about incidents and suppressions change what is known of them."""

from typing import Any

import pytest
from tests.unit.events.book import LATER, Book

from keyfold.events import facts
from keyfold.events.evolve import get
from keyfold.events.incident_entities import Incident, Suppression

EARLIER = "2026-01-31T12:30:00.000Z"


def incident(book: Book) -> Incident:
    (name,) = (name for name in book.view if name.startswith("incident/"))
    return get(book.view, name, Incident)


def test_acknowledged(book: Book) -> None:
    """The first that is heard of an incident is that somebody looks after it; the last who does is kept."""
    book.tell(facts.IncidentAcknowledged, time=EARLIER)
    known = incident(book)
    assert (known.status, known.acknowledged_at, known.acknowledged_by) == ("Acknowledged", EARLIER, "alice")
    assert (known.comment, known.closed_at, known.closed_by, known.resolution) == ("looking", None, None, None)
    book.tell(facts.IncidentAcknowledged, by="bob", comment="mine now")
    assert incident(book) == known.model_copy(
        update={"acknowledged_at": LATER, "acknowledged_by": "bob", "comment": "mine now"}
    )


@pytest.mark.parametrize("acknowledged", [True, False])
def test_closed(book: Book, acknowledged: bool) -> None:
    """It is closed as what it was, by whom and when; who looked after it stays known."""
    if acknowledged:
        book.tell(facts.IncidentAcknowledged, time=EARLIER)
    book.tell(facts.IncidentClosed, by="bob")
    known = incident(book)
    assert (known.status, known.closed_at, known.closed_by) == ("Closed", LATER, "bob")
    assert (known.resolution, known.comment) == ("FALSE_POSITIVE", "the nightly export ran twice")
    assert known.acknowledged_by == ("alice" if acknowledged else None)


def test_incidents_stand_for_themselves(book: Book) -> None:
    """An act on one changes no other, and each is a registry revision."""
    ids = [f"00000000-0000-8000-8000-{number:012}" for number in (1, 2)]
    for name in ids:
        book.tell(facts.IncidentAcknowledged, incident=name)
    changes = book.tell(facts.IncidentClosed, incident=ids[0])
    assert set(changes) == {f"incident/{ids[0]}", "deployment"}
    assert get(book.view, f"incident/{ids[1]}", Incident).status == "Acknowledged"
    assert book.deployment().revision == 3


def test_suppression(book: Book) -> None:
    """It is there as it was put last, until it is deleted; that its time is over is no event."""
    book.tell(facts.SuppressionPut, time=EARLIER)
    book.tell(facts.SuppressionPut, entity=None, comment="")
    expected: dict[str, Any] = {"suppression": "nightly-export", "detector": "fan-out", "entity": None, "comment": ""}
    made = Suppression(**expected, until="2026-02-28T12:00:00.000Z", put_by="alice", updated_at=LATER)
    assert get(book.view, "suppression/nightly-export", Suppression) == made
    book.tell(facts.SuppressionDeleted)
    assert "suppression/nightly-export" not in book.view
    assert book.deployment().policies_revision == 0
