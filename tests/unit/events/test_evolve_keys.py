"""`evolve`: the life of keys and their versions beyond creation and rotation: validity, states, compromise, import."""

from typing import Any

import pytest
from tests.unit.events.book import LATER, Book

from keyfold.events import facts
from keyfold.events.entities import ImportParameters
from keyfold.events.times import to_milliseconds

AT = "2026-01-31T14:00:00.000Z"
END = "2027-01-31T12:00:00.000Z"
TOKEN = "0193f3a0-7c00-7000-8000-0000000000aa"


@pytest.fixture
def with_versions(with_key: Book) -> Book:
    """A key with three versions, the third current."""
    with_key.tell(facts.KeyRotated, version=2)
    with_key.tell(facts.KeyRotated, version=3)
    return with_key


@pytest.fixture
def external(book: Book) -> Book:
    """A key that waits for its first material."""
    book.tell(facts.KeyCreated, origin="EXTERNAL")
    return book


def statuses(book: Book) -> list[str]:
    return [version.status for version in book.key().versions]


def imported(book: Book, version: int, offset: int, **data: Any) -> None:
    book.tell(facts.KeyMaterialImported, version=version, offset=offset, **{"valid_to": None, **data})


def test_created_as_told(book: Book, examples: Any) -> None:
    """Spec, usage, origin and bounds of time are those of the event; rotation by period counts from creation."""
    book.fold(examples.event_variants()["KeyCreated for signatures"].model_copy(update={"time": LATER}))
    key = book.key()
    assert (key.key_spec, key.key_usage, key.origin) == ("RSA_3072", "SIGN_VERIFY", "KEYFOLD")
    assert (key.not_before, key.not_after) == ("2026-02-01T12:00:00.000Z", END)
    assert (key.rotation_period_seconds, key.rotation_enabled_at) == (90 * 86_400, LATER)
    assert key.current.material


def test_created_without_rotation(with_key: Book) -> None:
    """A key without a period has no beginning of rotation either."""
    assert (with_key.key().rotation_period_seconds, with_key.key().rotation_enabled_at) == (None, None)


def test_validity(with_key: Book) -> None:
    """Both bounds are stated anew; None is no bound."""
    before = with_key.key()
    with_key.tell(facts.KeyValidityUpdated, not_before=AT, not_after=END)
    assert with_key.key() == before.model_copy(update={"not_before": AT, "not_after": END})
    with_key.tell(facts.KeyValidityUpdated, not_before=None, not_after=None)
    assert with_key.key() == before


def test_rotation_by_period(with_key: Book) -> None:
    """A period counts from when it was said; without it nothing is left of it."""
    before = with_key.key()
    with_key.tell(facts.KeyRotationEnabled, rotation_period_seconds=86_400, time=AT)
    assert with_key.key() == before.model_copy(update={"rotation_period_seconds": 86_400, "rotation_enabled_at": AT})
    with_key.tell(facts.KeyRotationDisabled)
    assert with_key.key() == before


def test_versions_are_disabled_and_enabled(with_versions: Book) -> None:
    """One version changes its status, with a reason and a time of its own; the key and other versions do not."""
    before = with_versions.key()
    with_versions.tell(facts.KeyVersionDisabled, version=1, reason="old", time=AT)
    assert statuses(with_versions) == ["Disabled", "Active", "Active"]
    changed = with_versions.key().version(1)
    assert (changed.reason, changed.changed_at) == ("old", AT)
    assert with_versions.key().current_version == 3
    with_versions.tell(facts.KeyVersionEnabled, version=1, reason="needed")
    assert statuses(with_versions) == ["Active", "Active", "Active"]
    assert (with_versions.key().version(1).reason, with_versions.key().status) == ("needed", "Enabled")
    assert with_versions.key().versions[1:] == before.versions[1:]


def test_versions_are_destroyed_alone(with_versions: Book) -> None:
    """A destroyed version leaves the key enabled, and stays destroyed."""
    with_versions.tell(facts.KeyVersionDestroyed, version=1, reason="7 days over")
    assert statuses(with_versions) == ["Destroyed", "Active", "Active"]
    for kind in (facts.KeyVersionEnabled, facts.KeyVersionDisabled, facts.KeyVersionDestroyed):
        assert with_versions.tell(kind, version=1, reason="again") == {}
    assert (with_versions.key().status, with_versions.key().current_version) == ("Enabled", 3)


@pytest.mark.parametrize(
    "kind",
    [
        facts.KeyVersionDisabled, facts.KeyVersionEnabled, facts.KeyVersionDestroyed, facts.ImportedKeyMaterialDeleted,
        facts.ImportParametersIssued, facts.KeyMaterialImported,
    ],
)  # fmt: skip
def test_versions_that_do_not_exist(with_versions: Book, kind: type[facts.Event]) -> None:
    """What is said of a version that does not exist cannot follow."""
    with pytest.raises(KeyError):
        with_versions.tell(kind, version=4)


@pytest.mark.parametrize("kind", [facts.KeyCompromised, facts.KeyErased])
def test_versions_of_which_one_does_not_exist(with_versions: Book, kind: type[facts.Event]) -> None:
    """What is said of several versions cannot follow if one of them does not exist."""
    with pytest.raises(KeyError):
        with_versions.tell(kind, versions=[1, 4])


def test_compromised(with_versions: Book) -> None:
    """Versions are marked beside their status: since when it happened, when it was said, and why."""
    with_versions.tell(facts.KeyVersionDisabled, version=1, reason="old")
    with_versions.tell(
        facts.KeyCompromised, versions=[1, 3], occurred_at="2026-01-01T00:00:00.000Z", reason="out", time=AT
    )
    first, second, third = with_versions.key().versions
    assert [version.compromised for version in (first, second, third)] == [True, False, True]
    assert (first.status, first.reason, third.status) == ("Disabled", "old", "Active")
    for version in (first, third):
        assert (version.compromised_at, version.occurred_at, version.compromise_reason) == (
            AT,
            "2026-01-01T00:00:00.000Z",
            "out",
        )
    assert (with_versions.key().status, with_versions.key().current_version) == ("Enabled", 3)


def test_a_compromised_version_is_replaced_not_cured(with_versions: Book) -> None:
    """Rotation brings a version that is not compromised; enabling takes no mark away."""
    with_versions.tell(facts.KeyCompromised, versions=[1, 2, 3])
    with_versions.tell(facts.KeyRotated, version=4, cause="compromise")
    with_versions.tell(facts.KeyVersionDisabled, version=1)
    with_versions.tell(facts.KeyVersionEnabled, version=1)
    assert [version.compromised for version in with_versions.key().versions] == [True, True, True, False]
    assert not with_versions.key().current.compromised


def test_erased(with_versions: Book) -> None:
    """An erasure certificate is noted on the versions that it is about."""
    with_versions.tell(facts.KeyVersionDestroyed, version=1)
    with_versions.tell(facts.KeyErased, versions=[1], time=AT)
    assert [version.erased_at for version in with_versions.key().versions] == [AT, None, None]
    with_versions.tell(facts.KeyDestroyed)
    with_versions.tell(facts.KeyErased, versions=[2, 3])
    assert [version.erased_at for version in with_versions.key().versions] == [AT, LATER, LATER]


def test_waits_for_its_first_import(external: Book) -> None:
    """A key of origin EXTERNAL has a version without material until it is imported."""
    assert (external.key().origin, external.key().current.material, external.key().status) == (
        "EXTERNAL",
        False,
        "Enabled",
    )
    imported(external, 1, external.offset + 1, key_check_value="0a0b0c", valid_to=END)
    version = external.key().current
    assert (version.material, version.valid_to, version.key_check_value) == (True, END, "0a0b0c")
    assert (version.status, version.material_offset) == ("Active", external.offset)
    assert version.has_material(to_milliseconds(AT))


def test_import_parameters(external: Book) -> None:
    """One import is open at a time: the last that was asked for, until its token is used."""
    external.tell(facts.ImportParametersIssued, version=1)
    external.tell(facts.ImportParametersIssued, version=1, import_token=TOKEN, expires_at=END)
    assert external.key().import_parameters == ImportParameters(
        import_token=TOKEN, version=1, wrapping_algorithm="RSA_AES_KEY_WRAP_SHA_256", expires_at=END
    )
    external.tell(facts.CommandAuthorized, verb="ImportKeyMaterial", key_version=1, items=1)
    assert external.key().import_parameters is None
    assert external.key().current.protected_items == 0


def test_other_uses_leave_an_import_open(external: Book) -> None:
    """Only the import itself, or the key's destruction, closes an open import."""
    external.tell(facts.ImportParametersIssued, version=1)
    external.tell(facts.CommandAuthorized, verb="Decrypt", key_version=None, items=1)
    external.tell(facts.OperationFailed, verb="ImportKeyMaterial", offset=external.offset)
    assert external.key().import_parameters is not None
    external.tell(facts.KeyDestroyed)
    assert external.key().import_parameters is None


@pytest.mark.parametrize("kind", [facts.KeyMaterialImported, facts.OperationFailed])
def test_an_import_under_way(external: Book, kind: type[facts.Event]) -> None:
    """An authorized import is under way until its own outcome is known, whatever comes of it."""
    offsets = []
    for _ in range(2):
        external.tell(facts.ImportParametersIssued, version=1)
        external.tell(facts.CommandAuthorized, verb="ImportKeyMaterial", key_version=1, items=1)
        offsets.append(external.offset)
        assert external.key().importing == external.offset
    data = {"version": 1} if kind is facts.KeyMaterialImported else {"verb": "ImportKeyMaterial"}
    external.tell(kind, offset=offsets[0], **data)
    assert external.key().importing == offsets[1]
    external.tell(kind, offset=offsets[1], **data)
    assert external.key().importing is None
    assert external.key().current.material == (kind is facts.KeyMaterialImported)


def test_deleted_material_may_come_again(external: Book) -> None:
    """Deleted material leaves a current version without any, whose status stays; importing brings it back."""
    imported(external, 1, external.offset + 1, valid_to=END)
    external.tell(facts.ImportedKeyMaterialDeleted, version=1)
    version = external.key().current
    assert (version.material, version.valid_to, version.status) == (False, None, "Active")
    assert version.material_offset == external.offset
    imported(external, 1, external.offset + 1)
    assert (external.key().current.material, external.key().current_version) == (True, 1)


@pytest.mark.parametrize(("behind", "there"), [(-1, False), (1, True)])
def test_an_import_and_a_deletion(external: Book, behind: int, there: bool) -> None:
    """Of an import and a deletion the later command counts, whichever is read first."""
    imported(external, 1, 1)
    external.tell(facts.ImportedKeyMaterialDeleted, version=1)
    imported(external, 1, external.offset + behind, valid_to=END)
    assert external.key().current.material is there
    assert external.key().current.valid_to == (END if there else None)


def test_rotation_waits_for_its_material(external: Book) -> None:
    """The version that has material stays current until a newer one is imported."""
    imported(external, 1, external.offset + 1)
    external.tell(facts.KeyRotated, version=2, origin="EXTERNAL")
    external.tell(facts.KeyRotated, version=3, origin="EXTERNAL")
    assert (external.key().current_version, [v.material for v in external.key().versions]) == (1, [True, False, False])
    imported(external, 3, external.offset + 1)
    assert external.key().current_version == 3
    imported(external, 2, external.offset + 1)
    assert external.key().current_version == 3


def test_deletion_makes_no_older_version_current(external: Book) -> None:
    """Nothing is protected under an older version because the material of the current one is gone."""
    imported(external, 1, external.offset + 1)
    external.tell(facts.KeyRotated, version=2, origin="EXTERNAL")
    imported(external, 2, external.offset + 1)
    external.tell(facts.ImportedKeyMaterialDeleted, version=2)
    assert (external.key().current_version, external.key().current.material) == (2, False)


def test_a_version_that_waits_is_not_current_for_another_failing(external: Book) -> None:
    """Of versions that wait the oldest is current; a failure passes over those that never had material."""
    imported(external, 1, external.offset + 1)
    external.tell(facts.KeyRotated, version=2, origin="EXTERNAL")
    second = external.offset
    external.tell(facts.KeyRotated, version=3, origin="EXTERNAL")
    external.tell(facts.OperationFailed, verb="RotateKey", offset=second)
    assert (external.key().current_version, statuses(external)) == (1, ["Active", "Failed", "Active"])


def test_a_failed_creation_leaves_what_waits(external: Book) -> None:
    """Where the first version failed, the next that waits is current, and the key is not failed."""
    created = external.offset
    external.tell(facts.KeyRotated, version=2, origin="EXTERNAL")
    external.tell(facts.KeyRotated, version=3, origin="EXTERNAL")
    external.tell(facts.OperationFailed, verb="CreateKey", offset=created)
    assert (external.key().status, external.key().current_version) == ("Enabled", 2)


def test_material_for_a_destroyed_version(external: Book) -> None:
    """An import that comes too late makes no destroyed version usable or current."""
    imported(external, 1, external.offset + 1)
    external.tell(facts.KeyRotated, version=2, origin="EXTERNAL")
    external.tell(facts.KeyVersionDestroyed, version=2)
    imported(external, 2, external.offset - 1)
    assert (external.key().current_version, statuses(external)) == (1, ["Active", "Destroyed"])


def test_disabled_versions_are_current_last(with_versions: Book) -> None:
    """If the newest version fails, the newest active one is current; a disabled one only where no other is left."""
    rotated = with_versions.offset
    with_versions.tell(facts.KeyVersionDisabled, version=2)
    with_versions.tell(facts.OperationFailed, verb="RotateKey", offset=rotated)
    assert with_versions.key().current_version == 1
    with_versions.tell(facts.KeyVersionDestroyed, version=1)
    assert (with_versions.key().current_version, with_versions.key().status) == (2, "Enabled")


def test_failed_versions_can_only_be_destroyed(with_versions: Book) -> None:
    """A version whose material could not be made is neither disabled nor enabled by what was decided before that."""
    rotated = with_versions.offset
    with_versions.tell(facts.KeyVersionDisabled, version=3, reason="soon")
    with_versions.tell(facts.OperationFailed, verb="RotateKey", offset=rotated, time=AT)
    assert with_versions.key().version(3).reason == ""
    for kind in (facts.KeyVersionDisabled, facts.KeyVersionEnabled):
        assert with_versions.tell(kind, version=3) == {}
    assert (with_versions.key().version(3).status, with_versions.key().version(3).changed_at) == ("Failed", AT)
    with_versions.tell(facts.KeyVersionDestroyed, version=3)
    assert statuses(with_versions) == ["Active", "Active", "Destroyed"]
    assert with_versions.key().current_version == 2


def test_without_any_version_the_key_is_failed(with_key: Book) -> None:
    """A key whose last usable version was destroyed while the next one failed is failed; another version mends it."""
    with_key.tell(facts.KeyRotated, version=2)
    with_key.tell(facts.OperationFailed, verb="RotateKey", offset=with_key.offset)
    with_key.tell(facts.KeyVersionDestroyed, version=1)
    assert (with_key.key().status, with_key.key().deletion_date) == ("Failed", None)
    with_key.tell(facts.KeyRotated, version=3)
    assert (with_key.key().status, with_key.key().current_version) == ("Enabled", 3)


def test_when_a_status_was_decided(with_key: Book) -> None:
    """A key says when its status was decided last, failed or not; what the worker states does not count."""
    created = with_key.offset
    assert with_key.key().changed_at is None
    with_key.tell(facts.OperationFailed, verb="CreateKey", offset=created, time=END)
    assert (with_key.key().status, with_key.key().changed_at) == ("Failed", None)
    with_key.tell(facts.KeyDisabled, reason="x", time=AT)
    assert (with_key.key().status, with_key.key().changed_at, with_key.key().reason) == ("Failed", AT, "")
    with_key.tell(facts.KeyDestroyed, time=END)
    assert (with_key.key().status, with_key.key().changed_at) == ("Destroyed", END)


def test_destruction_leaves_no_reasons(with_versions: Book) -> None:
    """Destroyed is a status with its own time; the reasons of earlier ones are not its."""
    with_versions.tell(facts.KeyVersionDisabled, version=1, reason="old")
    with_versions.tell(facts.KeyVersionDestroyed, version=2, reason="alone", time=AT)
    with_versions.tell(facts.KeyDisabled, reason="audit")
    with_versions.tell(facts.KeyDestroyed, time=END)
    assert with_versions.key().reason == ""
    assert [(v.reason, v.changed_at) for v in with_versions.key().versions] == [("", END), ("alone", AT), ("", END)]
