"""`evolve`: how events about keys, aliases, policies and sealing keys change entities, and what all folds promise.

Principals, issuers, limits, grants, proposals and resets have test files of their own.
"""

from typing import Any

import pytest
from tests.unit.events.book import LATER, Book

from keyfold.events import facts
from keyfold.events.entities import Alias, Deployment, Key, RegistryPolicy, SealingKey, SigningKey
from keyfold.events.evolve import PROTECTING, get


def test_genesis(book: Book, examples: Any) -> None:
    """Genesis makes the deployment, its first principals with their signing keys, and the first policies."""
    assert book.deployment() == Deployment(
        root_public_key=examples.ROOT.public_key.hex(), partitions=4, development=True
    )
    for name in ("alice", "carol", "scheduler"):
        (key,) = book.principal(name).keys
        assert (key.signing_key, key.status) == (examples.signer(name).fingerprint, "Active")
        assert get(book.view, f"signing-key/{key.signing_key}", SigningKey).principal == name
    assert get(book.view, "policy/administrators", RegistryPolicy).text.startswith("permit")
    assert len(book.view) == 8


def test_key_created(with_key: Book) -> None:
    """A new key is enabled with version 1, which its command made."""
    key = with_key.key()
    assert (key.status, key.current_version, key.created_by, key.created_at) == ("Enabled", 1, "alice", LATER)
    assert [(v.version, v.offset, v.status) for v in key.versions] == [(1, with_key.offset, "Active")]


def test_key_rotated(with_key: Book) -> None:
    """Rotation adds a version and makes it current; the old one stays."""
    with_key.tell(facts.KeyRotated, version=2)
    assert (with_key.key().current_version, [v.version for v in with_key.key().versions]) == (2, [1, 2])


@pytest.mark.parametrize("version", [1, 3])
def test_rotation_out_of_order(with_key: Book, version: int) -> None:
    """A rotation that does not add the next version cannot follow."""
    with pytest.raises(KeyError):
        with_key.tell(facts.KeyRotated, version=version)


def test_disable_and_enable(with_key: Book) -> None:
    """Disabling keeps the reason; enabling clears it."""
    with_key.tell(facts.KeyDisabled, reason="audit")
    assert (with_key.key().status, with_key.key().reason) == ("Disabled", "audit")
    with_key.tell(facts.KeyEnabled)
    assert (with_key.key().status, with_key.key().reason) == ("Enabled", "")


def test_deletion(with_key: Book) -> None:
    """A scheduled deletion has a date; cancelled, the key is disabled; destroyed, all versions are."""
    with_key.tell(facts.KeyDeletionScheduled, deletion_date=LATER)
    assert (with_key.key().status, with_key.key().deletion_date) == ("PendingDeletion", LATER)
    with_key.tell(facts.KeyDeletionCancelled)
    assert (with_key.key().status, with_key.key().deletion_date) == ("Disabled", None)
    with_key.tell(facts.KeyDeletionScheduled)
    with_key.tell(facts.KeyDestroyed)
    key = with_key.key()
    assert (key.status, key.deletion_date, {v.status for v in key.versions}) == ("Destroyed", None, {"Destroyed"})


@pytest.mark.parametrize("verb", sorted(PROTECTING))
def test_protecting_use_is_charged_at_authorization(with_key: Book, verb: str) -> None:
    """Items that a version may protect are counted when they are authorized."""
    for _ in range(2):
        with_key.tell(facts.CommandAuthorized, verb=verb, key_version=1, items=3)
    assert with_key.key().version(1).protected_items == 6


@pytest.mark.parametrize("data", [{"verb": "Decrypt"}, {"verb": "GenerateRandom"}, {"key_version": None}], ids=str)
def test_other_use_is_not_charged(with_key: Book, data: dict[str, Any]) -> None:
    """What protects nothing charges nothing."""
    assert with_key.tell(facts.CommandAuthorized, **{"key_version": 1, **data}) == {}


@pytest.mark.parametrize("version", [2, 7])
def test_use_of_an_unknown_version(with_key: Book, version: int) -> None:
    """A use of a version that does not exist cannot follow: a KeyError, so that the reader stops."""
    with pytest.raises(KeyError):
        with_key.tell(facts.CommandAuthorized, key_version=version)


def test_failed_creation(with_key: Book) -> None:
    """A key whose first material could not be made is failed."""
    with_key.tell(facts.OperationFailed, verb="CreateKey", offset=with_key.offset)
    assert (with_key.key().status, with_key.key().version(1).status) == ("Failed", "Failed")


def test_failed_creation_of_a_key_to_be_deleted(with_key: Book) -> None:
    """A failed key has no date of deletion left."""
    made = with_key.offset
    with_key.tell(facts.KeyDeletionScheduled)
    with_key.tell(facts.OperationFailed, verb="CreateKey", offset=made)
    assert (with_key.key().status, with_key.key().deletion_date) == ("Failed", None)


def test_failed_rotation(with_key: Book) -> None:
    """A version whose material could not be made is not current; the newest usable one is."""
    with_key.tell(facts.KeyRotated, version=2)
    second = with_key.offset
    with_key.tell(facts.KeyRotated, version=3)
    with_key.tell(facts.OperationFailed, verb="RotateKey", offset=with_key.offset)
    assert (with_key.key().status, with_key.key().current_version) == ("Enabled", 2)
    with_key.tell(facts.OperationFailed, verb="RotateKey", offset=second)
    assert (with_key.key().status, with_key.key().current_version) == ("Enabled", 1)
    assert [v.status for v in with_key.key().versions] == ["Active", "Failed", "Failed"]


def test_failure_after_destruction(with_key: Book) -> None:
    """Destroyed is final: a rotation's late failure does not bring the key into another state."""
    with_key.tell(facts.KeyRotated, version=2)
    rotated = with_key.offset
    with_key.tell(facts.KeyDestroyed)
    assert with_key.tell(facts.OperationFailed, verb="RotateKey", offset=rotated) == {}


@pytest.mark.parametrize("data", [{"verb": "Encrypt"}, {"verb": "RotateKey", "offset": 1}], ids=str)
def test_other_failures_change_nothing(with_key: Book, data: dict[str, Any]) -> None:
    """A failure of a use, or of a command that made no version, changes no entity."""
    assert with_key.tell(facts.OperationFailed, **{"offset": with_key.offset, **data}) == {}


def test_failure_of_an_unknown_key(book: Book) -> None:
    """A failure on a stream without a key changes nothing."""
    assert book.tell(facts.OperationFailed, verb="CreateKey") == {}


def test_aliases(book: Book, world: Any) -> None:
    """Aliases are set, moved and removed; each counts in the registry revision."""
    other = "0193f3a0-7c00-7000-8000-0000000000aa"
    book.tell(facts.AliasCreated)
    book.tell(facts.AliasUpdated, key_id=other)
    assert get(book.view, "alias/orders", Alias) == Alias(alias="alias/orders", key_id=other, updated_at=LATER)
    changes = book.tell(facts.AliasDeleted)
    assert changes["alias/orders"] is None
    assert (book.deployment().revision, book.deployment().policies_revision) == (3, 0)


def test_registry_policies(book: Book) -> None:
    """Policies on the registry are entities of their own and count in both revisions."""
    book.tell(facts.PolicyPut, "registry", text="forbid (principal, action, resource);")
    assert get(book.view, "policy/readers-use", RegistryPolicy).text.startswith("forbid")
    book.tell(facts.PolicyDeleted, "registry")
    assert "policy/readers-use" not in book.view
    assert (book.deployment().revision, book.deployment().policies_revision) == (2, 2)


def test_key_policies(with_key: Book, world: Any) -> None:
    """Policies on a key are part of the key, replaced by name, and count in the key's own revision."""
    with_key.tell(facts.PolicyPut, policy="a")
    with_key.tell(facts.PolicyPut, policy="b")
    with_key.tell(facts.PolicyPut, policy="a", text="forbid (principal, action, resource);")
    assert {p.policy: p.text[:6] for p in with_key.key().policies} == {"a": "forbid", "b": "permit"}
    with_key.tell(facts.PolicyDeleted, world.key_stream, policy="b")
    assert [p.policy for p in with_key.key().policies] == ["a"]
    assert with_key.key().policy_revision == 4
    assert with_key.deployment().revision == 0


def test_sealing_keys(book: Book, examples: Any) -> None:
    """A new sealing key is current and retires the one before; erased, it stays with its date."""
    book.tell(facts.SealingKeyPublished, sealing_key=examples.OLD_SEALING_KEY)
    book.tell(facts.SealingKeyPublished)
    assert book.deployment().current_sealing_key == examples.SEALING_KEY
    old = f"sealing-key/{examples.OLD_SEALING_KEY}"
    assert get(book.view, old, SealingKey).retired_at == LATER
    assert get(book.view, f"sealing-key/{examples.SEALING_KEY}", SealingKey).retired_at is None
    book.tell(facts.SealingKeyErased)
    assert get(book.view, old, SealingKey).erased_at == LATER
    assert book.deployment().revision == 0


def test_tags(with_key: Book) -> None:
    """Tagging states all tags of the key from now on, and changes nothing else."""
    before = with_key.key()
    with_key.tell(facts.KeyTagged, tags={"team": "orders", "env": "live"})
    with_key.tell(facts.KeyTagged, tags={"env": "test"})
    assert with_key.key() == before.model_copy(update={"tags": {"env": "test"}})


def test_usage_budgets(with_key: Book) -> None:
    """A key is created with a budget; a change of it leaves what was used, and rotation can be left to people."""
    with_key.tell(facts.CommandAuthorized, verb="Encrypt", key_version=1, items=7)
    assert (with_key.key().usage_budget, with_key.key().rotate_at_percent) == (2**31, None)
    for items, percent in ((1_000_000, 80), (10, None)):
        with_key.tell(facts.UsageBudgetUpdated, items=items, rotate_at_percent=percent)
        assert (with_key.key().usage_budget, with_key.key().rotate_at_percent) == (items, percent)
    assert with_key.key().version(1).protected_items == 7


def test_created_with_a_budget(book: Book) -> None:
    """The budget that a key is created with is its budget."""
    book.tell(facts.KeyCreated, usage_budget=5, rotate_at_percent=50)
    assert (book.key().usage_budget, book.key().rotate_at_percent) == (5, 50)


def test_rotation_for_the_budget(with_key: Book) -> None:
    """A rotation because of the budget is like any other: the new version has used nothing."""
    with_key.tell(facts.CommandAuthorized, verb="Encrypt", key_version=1, items=7)
    with_key.tell(facts.KeyRotated, version=2, cause="usage-budget")
    assert [v.protected_items for v in with_key.key().versions] == [7, 0]


@pytest.mark.parametrize(
    "kind",
    [
        facts.KeyRotated, facts.KeyEnabled, facts.KeyDisabled, facts.KeyDeletionScheduled, facts.KeyDeletionCancelled,
        facts.KeyDestroyed, facts.KeyTagged, facts.UsageBudgetUpdated, facts.CommandAuthorized, facts.PolicyPut,
        facts.PrincipalUpdated, facts.PrincipalSuspended, facts.PrincipalResumed, facts.PrincipalRevoked,
        facts.SigningKeyAdded, facts.SigningKeyRotated, facts.SigningKeyRevoked, facts.IssuerKeysPut,
        facts.GrantRetired, facts.GrantRevoked, facts.ProposalApproved, facts.ProposalDenied, facts.ProposalCancelled,
        facts.SealingKeyErased, facts.KeyValidityUpdated, facts.KeyRotationEnabled, facts.KeyRotationDisabled,
        facts.KeyVersionDisabled, facts.KeyVersionEnabled, facts.KeyVersionDestroyed, facts.KeyCompromised,
        facts.ImportParametersIssued, facts.ImportedKeyMaterialDeleted, facts.KeyMaterialImported, facts.KeyErased,
    ],
)  # fmt: skip
def test_cannot_follow(book: Book, kind: type[facts.Event]) -> None:
    """An event about something that does not exist is a KeyError, so that the reader stops."""
    with pytest.raises(KeyError):
        book.tell(kind)


@pytest.mark.parametrize(
    "kind",
    [
        facts.CommandDenied, facts.DryRunSucceeded, facts.UsageBudgetWarning, facts.KeyUsed,
        facts.KeyMaterialGenerated, facts.KeyUseCeased, facts.CommandCompleted, facts.ServiceKeyCertified,
        facts.ServiceKeyRevoked, facts.KeyMaterialStored, facts.KeyMaterialErased, facts.SealingKeyStored,
        facts.SealingKeyDeleted, facts.ImportParametersCreated, facts.StorageEpochTurned, facts.KeyMaterialRewrapped,
        facts.ImportKeyStored, facts.ImportKeyErased, facts.ErasureCertified,
    ],
)  # fmt: skip
def test_changes_nothing(with_key: Book, kind: type[facts.Event]) -> None:
    """Denials, dry runs, warnings, uses, completions and what is not about entities change none."""
    assert with_key.tell(kind) == {}


def test_get_wants_the_kind(book: Book) -> None:
    """An entity of another kind under a name is as good as none."""
    with pytest.raises(KeyError):
        get(book.view, "principal/alice", Key)


NO_CHANGE = {facts.CommandAuthorized, facts.CommandDenied, facts.DryRunSucceeded}
ON_KEYS_ONLY = ("Key", "Usage", "Grant", "Import")
REGISTRY_FACTS = [
    kind
    for kind in facts.EVENT_TYPES
    if issubclass(kind, facts.PolicyEvent) and kind not in NO_CHANGE and not kind.__name__.startswith(ON_KEYS_ONLY)
]


def ready(book: Book) -> Book:
    """Tell what the examples of registry facts are about."""
    book.tell(facts.PrincipalRegistered)
    book.tell(facts.SigningKeyAdded)
    book.tell(facts.IssuerPut)
    book.tell(facts.ProposalCreated, "registry")
    return book


@pytest.mark.parametrize("why", [{}, {"charges": {"bucket/rate/a/alice": 1}}], ids=["plain", "charged"])
@pytest.mark.parametrize("kind", REGISTRY_FACTS, ids=lambda kind: kind.__name__)
def test_every_registry_fact_counts_once(book: Book, kind: type[facts.Event], why: dict[str, Any]) -> None:
    """Every fact on the registry that makes a ticket makes exactly one registry revision: workers count on it."""
    before = ready(book).deployment()
    book.tell(kind, "registry", why=why)
    policies = kind in {facts.PolicyPut, facts.PolicyDeleted}
    assert book.deployment().revision == before.revision + 1
    assert book.deployment().policies_revision == before.policies_revision + int(policies)


@pytest.mark.parametrize("kind", sorted(NO_CHANGE, key=lambda kind: kind.__name__))
def test_charges_alone_do_not_count(book: Book, kind: type[facts.Event]) -> None:
    """What changes nothing of the registry but how full limits are makes no registry revision."""
    data = {"verb": "RotateSealingKey"}
    data |= {"key_id": None, "key_version": None, "protection": None} if kind is facts.CommandAuthorized else {}
    changes = book.tell(kind, "registry", why={"charges": {"bucket/rate/a/alice": 1}}, **data)
    assert list(changes) == ["bucket/rate/a/alice"]
    assert book.deployment().revision == 0


@pytest.mark.parametrize(
    "kind", [facts.KeyEnabled, facts.KeyTagged, facts.PolicyPut, facts.GrantCreated, facts.ProposalCreated]
)
def test_facts_on_keys_do_not_count(with_key: Book, kind: type[facts.Event]) -> None:
    """What happens on a key's stream makes no registry revision."""
    with_key.tell(kind, with_key.world.key_stream)
    assert with_key.deployment().revision == 0


def test_registry_facts_need_genesis(world: Any) -> None:
    """Nothing on the registry follows from nothing."""
    for kind in (
        facts.PrincipalRegistered, facts.LimitPut, facts.PolicyReset, facts.StorageEpochBegun,
        facts.StorageEpochKeyDestroyed, facts.IncidentAcknowledged, facts.SuppressionPut, facts.SuppressionDeleted,
    ):  # fmt: skip
        with pytest.raises(KeyError):
            Book(world).tell(kind)
