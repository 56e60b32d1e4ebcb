"""Import of key material: one use of parameters that end, material that waits, ends, is deleted and comes again."""

from typing import Any

import pytest
from tests.support.desk import outcome_of
from tests.support.office import KEY, Office, office

from keyfold.deciding.imports import PARAMETERS_LIFETIME_MS
from keyfold.events import facts
from keyfold.events.key_states import state_of
from keyfold.events.times import DAY_MS, to_text

CHECK = "0a4dee"


def external(**arguments: Any) -> Office:
    made = Office()
    assert made.code("CreateKey", arguments={"origin": "EXTERNAL", **arguments}) is None
    return made


def parameters(made: Office, **arguments: Any) -> str:
    event = made.ask("GetParametersForImport", arguments=arguments)
    assert isinstance(event, facts.ImportParametersIssued), event
    return event.data.import_token


def importing(made: Office, token: str, **arguments: Any) -> facts.PolicyEvent:
    return made.ask("ImportKeyMaterial", arguments={"import_token": token, **arguments}, items=1, size=600)


def imported(made: Office, valid_to: str | None = None, **wanted: Any) -> None:
    """Import as the worker would confirm it."""
    event = importing(made, parameters(made, **wanted), **({"valid_to": valid_to} if valid_to else {}))
    assert isinstance(event, facts.CommandAuthorized), event
    confirm(made, event, valid_to)


def confirm(made: Office, event: facts.CommandAuthorized, valid_to: str | None = None) -> None:
    about = {
        "key_id": KEY.removeprefix("key/"), "version": event.data.key_version, "key_spec": "SYMMETRIC_DEFAULT",
        "protection": "HSM", "blob_digest": "00" * 32, "import_token": "0" * 8 + "-0000-4000-8000-" + "0" * 12,
        "key_check_value": CHECK, "valid_to": valid_to,
    }  # fmt: skip
    made.finish(outcome_of(event, facts.KeyMaterialImported, **about))


def test_a_token_is_good_once() -> None:
    """Authorizing an import uses it up, whatever comes of it."""
    made = external()
    token = parameters(made)
    first = importing(made, token)
    assert isinstance(first, facts.CommandAuthorized)
    assert (first.data.key_version, made.key().import_parameters) == (1, None)
    again = importing(made, token)
    assert isinstance(again, facts.CommandDenied)
    assert again.data.code == "ImportTokenInvalid"


def test_a_token_ends_and_is_replaced() -> None:
    """After a day it is over; new parameters void older ones."""
    made = external()
    old, new = parameters(made), parameters(made)
    assert made.code("ImportKeyMaterial", arguments={"import_token": old}) == "ImportTokenInvalid"
    made.now_ms += PARAMETERS_LIFETIME_MS
    assert made.code("ImportKeyMaterial", arguments={"import_token": new}) == "ImportTokenExpired"


def test_only_keys_that_wait_for_material() -> None:
    """A key whose material is made here takes none from outside."""
    assert office().code("GetParametersForImport") == "InvalidState"
    assert office().code("DeleteImportedKeyMaterial") == "InvalidState"


@pytest.mark.parametrize("options", [{"items": 2}, {"contexts": [{"tenant": "7"}]}])
def test_an_import_is_one_item_without_context(options: dict[str, Any]) -> None:
    """Anything else is refused, and the token stays good."""
    made = external()
    token = parameters(made)
    assert made.code("ImportKeyMaterial", arguments={"import_token": token}, **options) == "InvalidCommand"
    assert isinstance(importing(made, token), facts.CommandAuthorized)


def test_a_private_key_does_not_fit_oaep() -> None:
    """Pairs are wrapped in two steps only."""
    made = external(key_spec="RSA_2048", key_usage="SIGN_VERIFY")
    wanted = {"wrapping_algorithm": "RSAES_OAEP_SHA_256"}
    assert made.code("GetParametersForImport", arguments=wanted) == "InvalidKeyUsage"
    assert made.code("GetParametersForImport") is None


def test_material_that_ends() -> None:
    """At `valid_to` the key waits for material again; only then may it be deleted as expired."""
    made = external()
    end = to_text(made.now_ms + DAY_MS)
    imported(made, end)
    assert (made.key().version(1).valid_to, made.key().version(1).key_check_value) == (end, CHECK)
    assert made.code("Encrypt") is None
    expired = {"arguments": {"cause": "expired"}}
    assert made.code("DeleteImportedKeyMaterial", **expired) == "InvalidState"
    made.now_ms += DAY_MS
    assert (state_of(made.key(), made.now_ms), made.code("Encrypt")) == ("PendingImport", "KeyPendingImport")
    assert made.code("DeleteImportedKeyMaterial", **expired) is None
    assert made.code("DeleteImportedKeyMaterial", **expired) == "KeyPendingImport"
    imported(made)
    assert made.code("Decrypt") is None


def test_material_is_valid_to_a_time_ahead() -> None:
    """A time that is over is refused, and the token stays good."""
    made = external()
    token = parameters(made)
    refused = importing(made, token, valid_to=to_text(made.now_ms))
    assert isinstance(refused, facts.CommandDenied)
    assert isinstance(importing(made, token), facts.CommandAuthorized)


def test_importing_again_moves_the_end() -> None:
    """The same material, imported while it is there, is how its end is moved."""
    made = external()
    imported(made, to_text(made.now_ms + DAY_MS))
    imported(made)
    assert made.key().version(1).valid_to is None


def test_a_deletion_behind_an_import_counts() -> None:
    """Policy decides a deletion before it knows that an import before it has succeeded: there is no material then."""
    made = external()
    imported(made)
    again = importing(made, parameters(made))
    assert isinstance(again, facts.CommandAuthorized)
    made.ask("DeleteImportedKeyMaterial")
    confirm(made, again)
    assert not made.key().version(1).material
    assert made.code("Encrypt") == "KeyPendingImport"


def test_a_rotated_key_goes_on_until_its_next_material_is_there() -> None:
    """RotateKey adds a version that waits; the current one protects until the import, and opens afterwards."""
    made = external()
    imported(made)
    made.ask("RotateKey")
    assert (made.key().current_version, made.code("Encrypt")) == (1, None)
    imported(made)
    assert made.key().current_version == 2
    event = made.ask("Encrypt")
    assert isinstance(event, facts.CommandAuthorized)
    assert event.data.key_version == 2


def test_an_import_that_fails_leaves_the_key_waiting() -> None:
    """The outcome ends the wait: commands are denied again, not put off."""
    made = external()
    event = importing(made, parameters(made))
    made.finish(outcome_of(event, facts.OperationFailed, key_id=KEY.removeprefix("key/"), code="InvalidCiphertext"))
    assert made.code("Encrypt") == "KeyPendingImport"


def test_a_disabled_key_takes_material_and_stays_disabled() -> None:
    """Import and status are apart."""
    made = external()
    made.ask("DisableKey")
    imported(made)
    assert made.code("Encrypt") == "KeyDisabled"
    made.ask("EnableKey")
    assert made.code("Encrypt") is None
