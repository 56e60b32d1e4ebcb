"""The state machine of keys: states follow from what was decided and from time, and one table says what each allows."""

from typing import get_args

import pytest
from tests.support.desk import outcome_of
from tests.support.office import KEY, Office, office

from keyfold.deciding.lifecycle import ALLOWED, VERSION_ALLOWED
from keyfold.events import facts
from keyfold.events.commands import COMMANDS
from keyfold.events.entities import Key, VersionStatus
from keyfold.events.evolve import PROTECTING
from keyfold.events.key_states import KeyState, state_of
from keyfold.events.times import DAY_MS, to_text

HOUR = 3_600_000


def state(made: Office) -> KeyState:
    return state_of(made.key(), made.now_ms)


def test_every_verb_on_a_key_has_its_states() -> None:
    """No verb about keys is missing from the table, and no other one is in it."""
    on_keys = {model.verb for model in COMMANDS if model.scope == "key"}
    apart = {"CreateKey", "RetireGrant", "RevokeGrant"}
    assert set(ALLOWED) == (on_keys - apart) | {"PutPolicy", "DeletePolicy"}
    assert all(states <= set(get_args(KeyState)) for states in ALLOWED.values())
    assert all(statuses <= set(get_args(VersionStatus)) for statuses in VERSION_ALLOWED.values())


def test_what_protects_needs_an_enabled_key() -> None:
    """Nothing is protected by a key in any other state; nothing at all is done with a destroyed one, but marking it."""
    assert all(ALLOWED[verb] == {"Enabled"} for verb in PROTECTING)
    assert {verb for verb, states in ALLOWED.items() if "Destroyed" in states} == {"MarkKeyCompromised"}
    assert all("Disabled" not in ALLOWED[verb] for verb in ("Decrypt", "Verify", "VerifyMac", "Decapsulate"))


def test_a_key_before_its_time() -> None:
    """Before `not_before` nothing is done with it; then it works, to the millisecond."""
    made = Office()
    made.ask("CreateKey", arguments={"not_before": to_text(made.now_ms + HOUR)})
    assert state(made) == "PreActive"
    assert [made.code(verb) for verb in ("Encrypt", "Decrypt")] == ["KeyNotYetValid"] * 2
    made.now_ms += HOUR - 1
    assert made.code("Encrypt") == "KeyNotYetValid"
    made.now_ms += 1
    assert (state(made), made.code("Encrypt")) == ("Enabled", None)


def test_a_key_after_its_time_opens_and_protects_nothing() -> None:
    """From `not_after` on it decrypts only; taking the bound away makes it whole."""
    made = Office()
    made.ask("CreateKey", arguments={"not_after": to_text(made.now_ms + HOUR)})
    made.now_ms += HOUR - 1
    assert made.code("Encrypt") is None
    made.now_ms += 1
    assert state(made) == "Expired"
    assert [made.code(verb) for verb in ("Encrypt", "GenerateDataKey", "ReEncrypt")] == ["KeyExpired"] * 3
    assert made.code("Decrypt") is None
    assert made.code("RotateKey") == "KeyExpired"
    assert made.code("UpdateKeyValidity", arguments={"not_after": "never"}) is None
    assert made.code("Encrypt") is None


@pytest.mark.parametrize(
    "bounds",
    [{"not_after": -1}, {"not_after": 0}, {"not_before": 9, "not_after": 9}, {"not_before": 2, "not_after": 1}],
)
def test_bounds_that_make_no_sense(bounds: dict[str, int]) -> None:
    """A key that never would be valid is not created."""
    made = Office()
    arguments = {name: to_text(made.now_ms + ms) for name, ms in bounds.items()}
    assert made.code("CreateKey", arguments=arguments) == "InvalidCommand"


def test_bounds_are_moved_one_by_one() -> None:
    """What an update does not name stays; an order that is wrong is refused."""
    made = office()
    begin, end = to_text(made.now_ms - HOUR), to_text(made.now_ms + HOUR)
    made.ask("UpdateKeyValidity", arguments={"not_before": begin})
    made.ask("UpdateKeyValidity", arguments={"not_after": end})
    assert (made.key().not_before, made.key().not_after) == (begin, end)
    assert made.code("UpdateKeyValidity", arguments={"not_before": end}) == "InvalidCommand"
    made.ask("UpdateKeyValidity", arguments={"not_before": "never"})
    assert (made.key().not_before, made.key().not_after) == (None, end)


def test_states_hide_each_other_in_one_order() -> None:
    """A disabled key that is compromised and over is disabled; enabled, it is compromised; rotated, it is over."""
    made = office()
    made.ask("UpdateKeyValidity", arguments={"not_after": to_text(made.now_ms + HOUR)})
    made.ask("MarkKeyCompromised", arguments={"occurred_at": to_text(made.now_ms - DAY_MS)})
    made.ask("DisableKey", arguments={"reason": "look"})
    assert (state(made), made.key().reason) == ("Disabled", "look")
    made.now_ms += HOUR
    made.ask("EnableKey")
    assert state(made) == "Compromised"
    assert made.code("RotateKey", arguments={"cause": "compromise"}) is None
    assert state(made) == "Expired"


def test_a_key_whose_material_failed() -> None:
    """Failed is a state of its own: the key can be destroyed, and nothing else."""
    made = office("Failed")
    assert state(made) == "Failed"
    assert made.code("Encrypt") == "InvalidState"
    assert made.code("DestroyKeyNow") is None


def test_each_status_says_when_and_why() -> None:
    """The time of the last change is kept with its reason, on the key and on a version."""
    made = office()
    made.ask("RotateKey")
    made.now_ms += 5
    made.ask("DisableKeyVersion", arguments={"version": 1, "reason": "old"})
    version = made.key().version(1)
    assert (version.status, version.reason, version.changed_at) == ("Disabled", "old", to_text(made.now_ms))
    made.now_ms += 5
    made.ask("DisableKey", arguments={"reason": "audit"})
    key = made.key()
    assert (key.status, key.reason, key.changed_at) == ("Disabled", "audit", to_text(made.now_ms))
    made.ask("ScheduleKeyDeletion", arguments={"pending_window_seconds": 7 * 86_400})
    assert (made.key().status, made.key().reason) == ("PendingDeletion", "")


def test_an_import_under_way_is_no_denial() -> None:
    """From an import's authorization to its outcome, commands that need the material wait; before it, they fail."""
    made = Office()
    made.ask("CreateKey", arguments={"origin": "EXTERNAL"})
    assert (state(made), made.code("Encrypt")) == ("PendingImport", "KeyPendingImport")
    issued = made.ask("GetParametersForImport")
    assert isinstance(issued, facts.ImportParametersIssued)
    imported = made.ask("ImportKeyMaterial", arguments={"import_token": issued.data.import_token}, items=1, size=300)
    assert isinstance(imported, facts.CommandAuthorized), imported
    before = len(made.events)
    with pytest.raises(IndexError):
        made.ask("Encrypt")
    assert (len(made.events), made.reply()) == (before, "RegistryBehind")
    about = {
        "key_id": KEY.removeprefix("key/"), "version": 1, "key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM",
        "blob_digest": "00" * 32, "import_token": issued.data.import_token, "key_check_value": "0a4dee",
    }  # fmt: skip
    made.finish(outcome_of(imported, facts.KeyMaterialImported, **about))
    assert (state(made), made.code("Encrypt")) == ("Enabled", None)
    assert isinstance(made.key(), Key)
