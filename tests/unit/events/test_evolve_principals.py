"""`evolve`: principals and their signing keys, those of issuers too, and the issuers."""

from typing import Any

import pytest
from tests.unit.events.book import LATER, Book

from keyfold.events import facts
from keyfold.events.entities import Issuer, PrincipalKey, SigningKey
from keyfold.events.evolve import get
from keyfold.events.signatures import fingerprint
from keyfold.events.times import to_milliseconds

NOW = to_milliseconds(LATER)
HOUR_LATER = "2026-01-31T14:00:00.000Z"
DAY_LATER = "2026-02-01T13:00:00.000Z"


@pytest.fixture
def with_bob(book: Book) -> Book:
    """A deployment where bob is registered."""
    book.tell(facts.PrincipalRegistered)
    return book


def public_key(book: Book, name: str) -> str:
    made: str = book.world.examples.signer(name).public_key.hex()
    return made


def named(book: Book, name: str) -> str:
    """The fingerprint of a name's key."""
    return fingerprint(bytes.fromhex(public_key(book, name)))


def owner(book: Book, name: str) -> str | None:
    """Whom the index says a name's key belongs to."""
    found = book.view.get(f"signing-key/{named(book, name)}")
    return found.principal if isinstance(found, SigningKey) else None


def statuses(book: Book, principal: str = "bob") -> dict[str, str]:
    return {key.signing_key: key.status for key in book.principal(principal).keys}


def test_registered(with_bob: Book, examples: Any) -> None:
    """A registered principal is active, with one signing key, which leads to it."""
    bob = with_bob.principal()
    assert (bob.status, bob.principal_type, bob.groups, bob.expires_at) == ("Active", "workload", ("readers",), None)
    assert (bob.registered_at, bob.issuer, bob.token_subject) == (LATER, None, None)
    assert bob.keys == (
        PrincipalKey(
            signing_key=examples.BOB.fingerprint,
            public_key=examples.BOB.public_key.hex(),
            algorithm="Ed25519",
            added_at=LATER,
        ),
    )
    assert owner(with_bob, "bob") == "bob"


def test_registered_with_ml_dsa_65(book: Book, examples: Any) -> None:
    """A key of the other algorithm is kept with its algorithm, under the same kind of fingerprint."""
    book.fold(examples.event_variants()["PrincipalRegistered with ML-DSA-65"])
    erin = book.principal("erin")
    (key,) = erin.keys
    assert (erin.principal_type, key.algorithm) == ("human", "ML-DSA-65")
    assert key.signing_key == examples.signer("erin", "ML-DSA-65").fingerprint
    assert get(book.view, f"signing-key/{key.signing_key}", SigningKey).principal == "erin"


def test_updated(with_bob: Book) -> None:
    """An update states all groups, tags and the end from now on, and touches no key and no status."""
    with_bob.tell(facts.PrincipalSuspended)
    before = with_bob.principal()
    with_bob.tell(facts.PrincipalUpdated, groups=["writers"], tags={"a": "b"}, expires_at=DAY_LATER)
    update = {"groups": ("writers",), "tags": {"a": "b"}, "expires_at": DAY_LATER}
    assert with_bob.principal() == before.model_copy(update=update)
    with_bob.tell(facts.PrincipalUpdated, groups=[], tags={}, expires_at=None)
    assert with_bob.principal() == before.model_copy(update={"groups": (), "tags": {}, "expires_at": None})


def test_suspended_and_resumed(with_bob: Book) -> None:
    """Suspension keeps its reason and every key; resumed, the principal is as before."""
    before = with_bob.principal()
    with_bob.tell(facts.PrincipalSuspended, reason="on leave")
    assert with_bob.principal() == before.model_copy(update={"status": "Suspended", "reason": "on leave"})
    assert not with_bob.principal().may_act(NOW)
    with_bob.tell(facts.PrincipalResumed)
    assert with_bob.principal() == before
    assert with_bob.principal().may_act(NOW)


def test_revoked(with_bob: Book) -> None:
    """A revoked principal and its keys stay, so that neither name nor key is used again."""
    with_bob.tell(facts.SigningKeyAdded)
    before = with_bob.principal()
    with_bob.tell(facts.PrincipalRevoked)
    assert with_bob.principal() == before.model_copy(update={"status": "Revoked"})
    assert not with_bob.principal().may_act(NOW)
    assert (owner(with_bob, "bob"), owner(with_bob, "bob 2")) == ("bob", "bob")


def test_the_end_of_a_principal(with_bob: Book) -> None:
    """From the instant of its end on, a principal may not act; there is no event for that."""
    with_bob.tell(facts.PrincipalUpdated, expires_at=HOUR_LATER)
    end = to_milliseconds(HOUR_LATER)
    assert [with_bob.principal().expired(now) for now in (end - 1, end, end + 1)] == [False, True, True]
    assert [with_bob.principal().may_act(now) for now in (end - 1, end)] == [True, False]


def test_several_keys(with_bob: Book) -> None:
    """An added key stands beside the others, each leads to the principal, each has its own end."""
    with_bob.tell(facts.SigningKeyAdded, expires_at=HOUR_LATER)
    bob, end = with_bob.principal(), to_milliseconds(HOUR_LATER)
    assert [key.signing_key for key in bob.keys] == [named(with_bob, "bob"), named(with_bob, "bob 2")]
    assert (owner(with_bob, "bob"), owner(with_bob, "bob 2")) == ("bob", "bob")
    assert [key.signing_key for key in bob.usable_keys(end - 1)] == [key.signing_key for key in bob.keys]
    assert [key.signing_key for key in bob.usable_keys(end)] == [named(with_bob, "bob")]
    assert bob.key(named(with_bob, "bob 2")) == bob.keys[1]
    assert bob.key(named(with_bob, "alice")) is None


def test_rotated_key(with_bob: Book) -> None:
    """Rotation adds the new key and revokes the one that it replaces, in one event; the other keys stay."""
    with_bob.tell(facts.SigningKeyAdded, expires_at=None)
    with_bob.tell(facts.SigningKeyRotated)
    assert statuses(with_bob) == {
        named(with_bob, "bob"): "Revoked",
        named(with_bob, "bob 2"): "Active",
        named(with_bob, "bob 3"): "Active",
    }
    assert (owner(with_bob, "bob"), owner(with_bob, "bob 3")) == ("bob", "bob")


def test_revoked_key(with_bob: Book) -> None:
    """A revoked key stays in sight, and its principal cannot act with it; without another it cannot act at all."""
    with_bob.tell(facts.SigningKeyAdded)
    with_bob.tell(facts.SigningKeyRevoked)
    assert statuses(with_bob) == {named(with_bob, "bob"): "Active", named(with_bob, "bob 2"): "Revoked"}
    assert owner(with_bob, "bob 2") == "bob"
    assert [key.signing_key for key in with_bob.principal().usable_keys(NOW)] == [named(with_bob, "bob")]
    with_bob.tell(facts.SigningKeyRevoked, signing_key=named(with_bob, "bob"))
    assert with_bob.principal().status == "Active"
    assert not with_bob.principal().may_act(NOW)


@pytest.mark.parametrize(
    ("kind", "field"), [(facts.SigningKeyRevoked, "signing_key"), (facts.SigningKeyRotated, "replaces")]
)
def test_a_key_that_nobody_has(with_bob: Book, kind: type[facts.Event], field: str) -> None:
    """The revocation or replacement of a key that the principal does not have cannot follow."""
    before = dict(with_bob.view)
    for name in ("alice", "nobody"):
        with pytest.raises(KeyError, match="signing key"):
            with_bob.tell(kind, **{field: named(with_bob, name)})
    assert with_bob.view == before


def test_an_added_key_counts_as_it_was_added_last(with_bob: Book) -> None:
    """A key that is added again is there once, as it was added last."""
    with_bob.tell(facts.SigningKeyAdded)
    with_bob.tell(facts.SigningKeyAdded, expires_at=None)
    assert [key.signing_key for key in with_bob.principal().keys] == [named(with_bob, "bob"), named(with_bob, "bob 2")]
    assert with_bob.principal().keys[1].expires_at is None


@pytest.fixture
def deployer(examples: Any) -> str:
    """The name of the federated principal of the examples."""
    name: str = examples.command_document("AssumePrincipalWithWebIdentity")["data"]["principal"]
    return name


def authenticate(book: Book, key: str, time: str, until: str, **data: Any) -> dict[str, Any]:
    made = public_key(book, key)
    return book.tell(facts.PrincipalAuthenticated, time=time, public_key=made, expires_at=until, **data)


def test_first_authentication(book: Book, deployer: str) -> None:
    """The first token of a subject registers its principal, with the key that the token binds, until it expires."""
    book.tell(facts.PrincipalAuthenticated, expires_at=HOUR_LATER)
    made, end = book.principal(deployer), to_milliseconds(HOUR_LATER)
    assert (made.principal_type, made.status, made.issuer) == ("federated", "Active", "acme")
    assert made.token_subject == "repo:acme/orders:ref:refs/heads/main"
    assert (made.groups, made.tags) == (("federated", "operators"), {"repository": "acme/orders"})
    assert (made.registered_at, made.expires_at) == (LATER, None)
    assert statuses(book, deployer) == {named(book, deployer): "Active"}
    assert owner(book, deployer) == deployer
    assert [made.may_act(now) for now in (end - 1, end)] == [True, False]


def test_the_last_token_counts(book: Book, deployer: str) -> None:
    """A later token's claims replace the earlier's groups and tags, and with other claims its key takes their place."""
    authenticate(book, "one", LATER, DAY_LATER)
    authenticate(book, "two", HOUR_LATER, DAY_LATER, groups=["federated"], tags={})
    made = book.principal(deployer)
    assert (made.groups, made.tags, made.registered_at) == (("federated",), {}, LATER)
    assert statuses(book, deployer) == {named(book, "two"): "Active"}
    assert (owner(book, "one"), owner(book, "two")) == (None, deployer)


def test_revoked_keys_are_bounded(with_bob: Book) -> None:
    """Of revoked keys the newest twenty stay with the principal; the index keeps all, so that none is used again."""
    for number in range(30):
        old = with_bob.principal().usable_keys(0)[-1].signing_key
        fresh = public_key(with_bob, f"bob again {number}")
        with_bob.tell(facts.SigningKeyRotated, replaces=old, public_key=fresh, expires_at=None)
    keys = with_bob.principal().keys
    assert [key.status for key in keys].count("Revoked") == 20
    assert with_bob.principal().key(named(with_bob, "bob")) is None
    assert owner(with_bob, "bob") == "bob"


def test_keys_that_are_over_make_room(book: Book, deployer: str) -> None:
    """Keys whose token expired leave the principal and the index when the next token comes; the others stay."""
    authenticate(book, "one", LATER, HOUR_LATER)
    authenticate(book, "two", LATER, DAY_LATER)
    changes = authenticate(book, "three", HOUR_LATER, DAY_LATER)
    assert statuses(book, deployer) == {named(book, "two"): "Active", named(book, "three"): "Active"}
    assert changes[f"signing-key/{named(book, 'one')}"] is None
    assert (owner(book, "one"), owner(book, "two"), owner(book, "three")) == (None, deployer, deployer)


def test_a_key_that_is_somebody_elses_by_now_stays_theirs(book: Book, deployer: str) -> None:
    """Root may have given the key to an administrator meanwhile: its index is not taken away then."""
    authenticate(book, "one", LATER, HOUR_LATER)
    administrator = facts.InitialPrincipal(
        principal="adam", public_key=public_key(book, "one"), groups=["administrators"]
    )
    book.tell(facts.PolicyReset, administrators=[administrator], removed=[], revoked=[])
    authenticate(book, "two", HOUR_LATER, DAY_LATER)
    assert owner(book, "one") == "adam"
    assert statuses(book, deployer) == {named(book, "two"): "Active"}


def test_a_key_comes_back_with_a_new_token(book: Book, deployer: str) -> None:
    """A key whose token expired is usable again with a new token that binds it, and is in the index."""
    authenticate(book, "one", LATER, HOUR_LATER)
    authenticate(book, "one", HOUR_LATER, DAY_LATER)
    (key,) = book.principal(deployer).keys
    assert (key.added_at, key.expires_at) == (HOUR_LATER, DAY_LATER)
    assert owner(book, "one") == deployer


def test_revoked_keys_make_no_room(book: Book, deployer: str) -> None:
    """A key that was revoked stays in sight, though its token expired: it must not be used again."""
    authenticate(book, "one", LATER, HOUR_LATER)
    book.tell(facts.SigningKeyRevoked, principal=deployer, signing_key=named(book, "one"))
    authenticate(book, "two", DAY_LATER, "2026-02-01T14:00:00.000Z")
    assert statuses(book, deployer) == {named(book, "one"): "Revoked", named(book, "two"): "Active"}
    assert owner(book, "one") == deployer


def test_authentication_lifts_no_suspension(book: Book, deployer: str) -> None:
    """A token gives keys and claims, never a status."""
    authenticate(book, "one", LATER, DAY_LATER)
    book.tell(facts.PrincipalSuspended, principal=deployer)
    authenticate(book, "two", HOUR_LATER, DAY_LATER)
    assert book.principal(deployer).status == "Suspended"


def issuer(book: Book) -> Issuer:
    return get(book.view, "issuer/acme", Issuer)


def test_issuer(book: Book) -> None:
    """An issuer is kept as it was put, without keys at first."""
    book.tell(facts.IssuerPut)
    made = issuer(book)
    assert (made.issuer, made.url, made.audience) == ("acme", "https://id.acme.example", "keyfold")
    assert (made.algorithms, made.base_groups) == (("EdDSA", "ES256"), ("federated",))
    assert (made.groups, made.tags) == ({"Platform Team": "operators"}, {"repository": "repository"})
    assert (made.keys_lifetime_seconds, made.max_token_seconds) == (86_400, 3_600)
    assert (made.jwks, made.keys_expire_at, made.updated_at) == (None, None, LATER)


def test_issuer_keys(book: Book) -> None:
    """Keys are put with their end, and change nothing else."""
    book.tell(facts.IssuerPut)
    before = issuer(book)
    book.tell(facts.IssuerKeysPut, jwks='{"keys":[]}', expires_at=DAY_LATER)
    assert issuer(book) == before.model_copy(update={"jwks": '{"keys":[]}', "keys_expire_at": DAY_LATER})


def test_issuer_settings_change(book: Book) -> None:
    """Settings that change around the same address keep the keys; nothing of the earlier settings stays."""
    book.tell(facts.IssuerPut)
    book.tell(facts.IssuerKeysPut)
    keys = issuer(book).jwks
    book.tell(facts.IssuerPut, audience="other", groups={}, tags={}, base_groups=[], jwks_source=None, time=HOUR_LATER)
    made = issuer(book)
    assert (made.audience, made.groups, made.tags, made.base_groups, made.jwks_source) == ("other", {}, {}, (), None)
    assert (made.jwks, made.updated_at) == (keys, HOUR_LATER)
    assert keys is not None


def test_issuer_address_changes(book: Book) -> None:
    """Another address is another issuer: keys of the one before are dropped."""
    book.tell(facts.IssuerPut)
    book.tell(facts.IssuerKeysPut)
    book.tell(facts.IssuerPut, url="https://id.evil.example")
    assert (issuer(book).jwks, issuer(book).keys_expire_at) == (None, None)


def test_issuer_deleted(book: Book, deployer: str) -> None:
    """A deleted issuer is gone with its keys, and put again it has none; its principals stay."""
    book.tell(facts.IssuerPut)
    book.tell(facts.IssuerKeysPut)
    book.tell(facts.PrincipalAuthenticated)
    book.tell(facts.IssuerDeleted)
    assert "issuer/acme" not in book.view
    assert book.principal(deployer).status == "Active"
    book.tell(facts.IssuerPut)
    assert issuer(book).jwks is None
