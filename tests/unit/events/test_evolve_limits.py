"""`evolve`: limits, and how full they are after each decision."""

from typing import Any

import pytest
from tests.unit.events.book import LATER, Book

from keyfold.events import facts
from keyfold.events.entities import Bucket, Limit, bucket_name
from keyfold.events.evolve import get

LEVEL = "bucket/rate/readers-rate/alice"
OTHER = "bucket/quota/bob-quota/alice"


def limit(book: Book, name: str = "readers-rate") -> Limit:
    return get(book.view, f"limit/{name}", Limit)


def test_put(book: Book) -> None:
    """A limit is kept as it was put, and its name stands among those of all limits."""
    book.tell(facts.LimitPut)
    assert limit(book) == Limit(
        limit="readers-rate",
        limit_kind="rate",
        unit="items",
        amount=1_000,
        period_seconds=60,
        burst=2_000,
        per="principal",
        principal=None,
        group="readers",
        key_id=None,
        verbs=("Decrypt", "Encrypt"),
        updated_at=LATER,
    )
    assert book.deployment().limits == ("readers-rate",)


def test_put_again(book: Book) -> None:
    """A limit that is put again replaces the one of its name, wholly."""
    book.tell(facts.LimitPut)
    book.tell(facts.LimitPut, kind="quota", amount=5, group=None, principal="bob", verbs=[])
    made = limit(book)
    assert (made.limit_kind, made.amount, made.group, made.principal, made.verbs) == ("quota", 5, None, "bob", ())
    assert book.deployment().limits == ("readers-rate",)


def test_names_of_all_limits(book: Book) -> None:
    """The names stand in order, whatever the order of putting, and go with their limits."""
    for name in ("c", "a", "b"):
        book.tell(facts.LimitPut, limit=name)
    assert book.deployment().limits == ("a", "b", "c")
    book.tell(facts.LimitDeleted, limit="b")
    assert book.deployment().limits == ("a", "c")
    assert "limit/b" not in book.view
    assert book.deployment().revision == 4


def test_charged(book: Book) -> None:
    """Every decision sets the levels of the limits that it charged, at its time, and no others."""
    book.tell(facts.KeyCreated)
    book.tell(facts.CommandAuthorized, verb="Decrypt", key_version=None, why={"charges": {LEVEL: 7, OTHER: 0}})
    assert get(book.view, LEVEL, Bucket) == Bucket(level=7, updated_at=LATER)
    later = "2026-01-31T14:00:00.000Z"
    changes = book.tell(facts.CommandDenied, time=later, why={"charges": {LEVEL: 3}})
    assert changes == {LEVEL: Bucket(level=3, updated_at=later)}
    assert get(book.view, OTHER, Bucket) == Bucket(level=0, updated_at=LATER)


@pytest.mark.parametrize(
    "kind", [facts.KeyCreated, facts.CommandDenied, facts.DryRunSucceeded, facts.GrantCreated, facts.ProposalCreated]
)
def test_any_decision_can_charge(book: Book, kind: type[facts.Event]) -> None:
    """Beside its own changes each kind of decision sets the levels that it says."""
    plain = book.tell(kind)
    changes = book.tell(kind, why={"charges": {LEVEL: 9}})
    assert changes[LEVEL] == Bucket(level=9, updated_at=LATER)
    assert set(changes) == {*plain, LEVEL}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"kind": "rate", "per": "principal"}, "bucket/rate/readers-rate/bob"),
        ({"kind": "quota", "per": "principal"}, "bucket/quota/readers-rate/bob"),
        ({"kind": "rate", "per": "key"}, "bucket/rate/readers-rate/bob/{key}"),
        ({"kind": "quota", "per": "key"}, "bucket/quota/readers-rate/bob/{key}"),
    ],
)
def test_names_of_levels(book: Book, examples: Any, data: dict[str, Any], name: str) -> None:
    """A level is kept per limit and principal, and per key where the limit says so; a rate's is not a quota's."""
    book.tell(facts.LimitPut, **data)
    assert bucket_name(limit(book), "bob", examples.KEY_ID) == name.format(key=examples.KEY_ID)
