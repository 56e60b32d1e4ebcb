"""`evolve`: root's reset of policies and administrators."""

from typing import Any

import pytest
from tests.unit.events.book import LATER, Book

from keyfold.events import facts
from keyfold.events.entities import RegistryPolicy, SigningKey
from keyfold.events.evolve import get
from keyfold.events.signatures import fingerprint

NOTHING: dict[str, Any] = {"removed": [], "administrators": [], "revoked": []}


@pytest.fixture
def initial(examples: Any) -> Any:
    """Make an administrator with the example key of a name."""

    def make(principal: str, key: str, *groups: str) -> facts.InitialPrincipal:
        public_key = examples.signer(key).public_key.hex()
        return facts.InitialPrincipal(principal=principal, public_key=public_key, groups=list(groups))

    return make


def text(book: Book, name: str) -> str:
    return get(book.view, f"policy/{name}", RegistryPolicy).text


def test_policies(book: Book) -> None:
    """Removed policies are gone, the ones that are put are there, the others stay."""
    book.tell(facts.PolicyPut, "registry", policy="locks-out", text="forbid (principal, action, resource);")
    book.tell(facts.PolicyPut, "registry", policy="stays", text="permit (principal, action, resource);")
    put = [facts.InitialPolicy(policy="administrators", text="permit (principal, action, resource) when { true };")]
    book.tell(facts.PolicyReset, **NOTHING | {"removed": ["locks-out"]}, policies=put)
    assert "policy/locks-out" not in book.view
    assert text(book, "administrators") == put[0].text
    assert get(book.view, "policy/administrators", RegistryPolicy).updated_at == LATER
    assert text(book, "stays").startswith("permit")


def test_put_stands_above_removed(book: Book) -> None:
    """A policy that is removed and put is there."""
    book.tell(facts.PolicyReset, **NOTHING | {"removed": ["administrators", "never-was"]})
    assert "policy/administrators" in book.view


def test_new_administrator(book: Book, initial: Any) -> None:
    """An administrator whom nobody knew is registered as genesis would."""
    book.tell(facts.PolicyReset, **NOTHING | {"administrators": [initial("dora", "dora", "administrators")]})
    dora = book.principal("dora")
    assert (dora.status, dora.groups, dora.registered_at) == ("Active", ("administrators",), LATER)
    (key,) = dora.keys
    assert get(book.view, f"signing-key/{key.signing_key}", SigningKey).principal == "dora"


@pytest.mark.parametrize("end", [facts.PrincipalSuspended, facts.PrincipalRevoked])
def test_restored_administrator(book: Book, initial: Any, end: type[facts.Event]) -> None:
    """A known one is active again without an end, in root's groups, with the new key beside those that it has."""
    book.tell(facts.PrincipalUpdated, principal="alice", groups=["nobody"], tags={"a": "b"}, expires_at=LATER)
    book.tell(end, principal="alice")
    (old,) = book.principal("alice").keys
    book.tell(facts.PolicyReset, **NOTHING | {"administrators": [initial("alice", "alice 2", "administrators")]})
    alice = book.principal("alice")
    assert (alice.status, alice.reason, alice.expires_at) == ("Active", "", None)
    assert (alice.groups, alice.tags) == (("administrators",), {"a": "b"})
    assert alice.keys[0] == old
    assert (alice.keys[1].status, alice.keys[1].added_at) == ("Active", LATER)
    for key in alice.keys:
        assert get(book.view, f"signing-key/{key.signing_key}", SigningKey).principal == "alice"


def test_restored_key(book: Book, initial: Any, examples: Any) -> None:
    """A key that was revoked is usable again where root names it, and is there once."""
    name = fingerprint(examples.ALICE.public_key)
    book.tell(facts.SigningKeyRevoked, principal="alice", signing_key=name)
    book.tell(facts.PolicyReset, **NOTHING | {"administrators": [initial("alice", "alice", "administrators")]})
    assert [(key.signing_key, key.status) for key in book.principal("alice").keys] == [(name, "Active")]


def test_revoked(book: Book) -> None:
    """Who is revoked is, with the reset's reason, its keys in sight; who does not exist is passed over."""
    book.tell(facts.PrincipalRegistered)
    book.tell(facts.PolicyReset, reason="out", **NOTHING | {"revoked": ["bob", "nobody"]})
    assert (book.principal().status, book.principal().reason, len(book.principal().keys)) == ("Revoked", "out", 1)
    assert "principal/nobody" not in book.view


def test_administrators_stand_above_revoked(book: Book, initial: Any) -> None:
    """Who is named as both is an administrator."""
    both = {"revoked": ["alice"], "administrators": [initial("alice", "alice", "administrators")]}
    book.tell(facts.PolicyReset, **NOTHING | both)
    assert (book.principal("alice").status, book.principal("alice").reason) == ("Active", "")


def test_counts_once(book: Book, initial: Any) -> None:
    """However much it changes, a reset is one registry revision, of the policies too."""
    before = book.deployment()
    much = {"revoked": ["alice"], "administrators": [initial("dora", "dora", "administrators")], "removed": ["x"]}
    book.tell(facts.PolicyReset, **NOTHING | much)
    update = {"revision": before.revision + 1, "policies_revision": before.policies_revision + 1}
    assert book.deployment() == before.model_copy(update=update)


def test_other_entities_stay(with_key: Book) -> None:
    """A reset touches neither keys nor anybody whom it does not name."""
    before = dict(with_key.view)
    changes = with_key.tell(facts.PolicyReset)
    named = {"deployment", "policy/readers-use", "policy/administrators", "principal/alice"}
    assert {name for name in changes if not name.startswith("signing-key/")} == named
    assert {name: entity for name, entity in before.items() if name not in changes} == {
        name: entity for name, entity in with_key.view.items() if name not in changes
    }
