"""`evolve`: grants, their use, and the index of what a key's grantees have."""

from typing import Any

import pytest
from tests.unit.events.book import LATER, Book

from keyfold.events import facts
from keyfold.events.entities import Grants, grants_name
from keyfold.events.evolve import get
from keyfold.events.times import to_milliseconds

ONE, TWO, THREE = (f"0193f3a0-7c00-7000-8000-0000000000e{i}" for i in (1, 2, 3))
END = "2026-02-28T12:00:00.000Z"
AFTER_END = "2026-02-28T12:00:00.001Z"


@pytest.fixture
def granted(with_key: Book) -> Book:
    """A deployment with one key and one grant of it to bob."""
    with_key.tell(facts.GrantCreated, grant=ONE)
    return with_key


def index(book: Book, grantee: str = "bob") -> tuple[str, ...]:
    return get(book.view, grants_name(book.world.examples.KEY_ID, grantee), Grants).grants


def use(book: Book, grant: str, items: int, **data: Any) -> dict[str, Any]:
    more = {"verb": "Decrypt", "key_version": None, "items": items, **data}
    return book.tell(facts.CommandAuthorized, why={"grant": grant}, **more)


def test_created(granted: Book, examples: Any) -> None:
    """A grant is kept as it was given, unused, and stands in its grantee's index."""
    made = granted.grant(ONE)
    assert (made.key_id, made.grantee, made.created_by) == (examples.KEY_ID, "bob", "alice")
    assert (made.verbs, made.algorithms) == (("Decrypt", "CreateGrant"), ("SYMMETRIC_DEFAULT",))
    assert (made.encryption_context_equals, made.encryption_context_subset) == (None, {"tenant": "blue"})
    assert (made.max_operations, made.max_items, made.delegable, made.retiring_principal) == (100, 1000, True, "carol")
    assert (made.status, made.used_operations, made.used_items, made.parent) == ("Active", 0, 0, None)
    assert (made.created_at, made.expires_at) == (LATER, END)
    assert index(granted) == (ONE,)
    assert granted.deployment().revision == 0


def test_live(granted: Book) -> None:
    """A grant holds until its end, not at it, and not when it was retired or revoked."""
    end = to_milliseconds(END)
    assert [granted.grant(ONE).live(now) for now in (end - 1, end)] == [True, False]
    granted.tell(facts.GrantRevoked, grant=ONE)
    assert not granted.grant(ONE).live(end - 1)


def test_index_is_of_key_and_grantee(granted: Book) -> None:
    """Each grantee of a key has an index of its own, oldest first."""
    granted.tell(facts.GrantCreated, grant=TWO)
    granted.tell(facts.GrantCreated, grant=THREE, grantee="dave")
    assert (index(granted), index(granted, "dave")) == ((ONE, TWO), (THREE,))


@pytest.mark.parametrize("kind", [facts.GrantRetired, facts.GrantRevoked])
def test_ended(granted: Book, kind: type[facts.Event]) -> None:
    """An ended grant keeps what was used of it; a second end is as good as the first."""
    use(granted, ONE, 3)
    before = granted.grant(ONE)
    status = kind.__name__.removeprefix("Grant")
    for _ in range(2):
        assert set(granted.tell(kind, grant=ONE)) == {f"grant/{ONE}"}
        assert granted.grant(ONE) == before.model_copy(update={"status": status})


@pytest.mark.parametrize("kind", [facts.GrantRetired, facts.GrantRevoked])
def test_ended_grants_leave_the_index(granted: Book, kind: type[facts.Event]) -> None:
    """What has ended is forgotten in the index with the next grant; the grant itself stays."""
    granted.tell(facts.GrantCreated, grant=TWO)
    granted.tell(kind, grant=ONE)
    granted.tell(facts.GrantCreated, grant=THREE)
    assert index(granted) == (TWO, THREE)
    assert granted.grant(ONE).grantee == "bob"


def test_expired_grants_leave_the_index(granted: Book) -> None:
    """What is over by the broker's time is forgotten as well, without an event."""
    granted.tell(facts.GrantCreated, grant=TWO, time=AFTER_END, expires_at="2026-03-31T12:00:00.000Z")
    assert index(granted) == (TWO,)


def test_used(granted: Book) -> None:
    """An authorized command that the grant covered counts as one operation and its items."""
    use(granted, ONE, 3)
    use(granted, ONE, 4)
    made = granted.grant(ONE)
    assert (made.used_operations, made.used_items) == (2, 7)


def test_used_and_charged_to_the_key(granted: Book) -> None:
    """A protecting use counts in the grant and in the key's budget."""
    changes = use(granted, ONE, 5, verb="Encrypt", key_version=1)
    assert set(changes) == {granted.world.key_stream, f"grant/{ONE}"}
    assert granted.key().version(1).protected_items == 5
    assert granted.grant(ONE).used_items == 5


@pytest.mark.parametrize("kind", [facts.CommandDenied, facts.DryRunSucceeded])
def test_only_what_is_executed_uses_a_grant(granted: Book, kind: type[facts.Event]) -> None:
    """A denial or a dry run that names the grant leaves it unused."""
    assert granted.tell(kind, why={"grant": ONE}) == {}


def test_use_of_an_unknown_grant(granted: Book) -> None:
    """A use of a grant that does not exist cannot follow."""
    with pytest.raises(KeyError):
        use(granted, TWO, 1)


def delegate(book: Book, grant: str, parent: str, operations: int | None, items: int | None) -> None:
    more = {"grantee": "dave", "created_by": "bob", "max_operations": operations, "max_items": items}
    book.tell(facts.GrantCreated, grant=grant, parent=parent, why={"grant": parent}, **more)


def test_parent_allowance(granted: Book) -> None:
    """What a delegated grant allows is taken out of its parent at once; its use is its own."""
    use(granted, ONE, 3)
    delegate(granted, TWO, ONE, 10, 200)
    assert (granted.grant(ONE).used_operations, granted.grant(ONE).used_items) == (11, 203)
    use(granted, TWO, 5)
    assert (granted.grant(ONE).used_operations, granted.grant(ONE).used_items) == (11, 203)
    assert (granted.grant(TWO).used_operations, granted.grant(TWO).used_items) == (1, 5)
    assert granted.grant(TWO).parent == ONE


def test_parent_without_bounds(granted: Book) -> None:
    """A grant without an allowance takes nothing out of its parent."""
    delegate(granted, TWO, ONE, None, None)
    assert (granted.grant(ONE).used_operations, granted.grant(ONE).used_items) == (0, 0)


def test_allowance_is_not_given_back(granted: Book) -> None:
    """What was delegated stays taken, also when the delegated grant ends unused."""
    delegate(granted, TWO, ONE, 10, 200)
    granted.tell(facts.GrantRetired, grant=TWO)
    assert (granted.grant(ONE).used_operations, granted.grant(ONE).used_items) == (10, 200)


def test_grandparents_are_not_charged_again(granted: Book) -> None:
    """Each grant is taken out of its own parent; that one's parent was charged before."""
    delegate(granted, TWO, ONE, 10, 200)
    delegate(granted, THREE, TWO, 4, 50)
    assert (granted.grant(TWO).used_operations, granted.grant(TWO).used_items) == (4, 50)
    assert (granted.grant(ONE).used_operations, granted.grant(ONE).used_items) == (10, 200)


def test_unknown_parent(with_key: Book) -> None:
    """A grant under a parent that does not exist cannot follow."""
    with pytest.raises(KeyError):
        with_key.tell(facts.GrantCreated, parent=TWO)
