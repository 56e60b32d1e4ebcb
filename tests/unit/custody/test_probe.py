"""With the user's PIN in hand: every single way around a key's protection is refused, and the probe sees each hole."""

from collections.abc import Callable
from typing import Any

import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from keyfold.custody.custody import EPOCH_PREFIX, KEY_ENCRYPTION_KEY_ID, SOFTWARE_KEY_ID, Custody
from keyfold.token import ActionRefused, Token, TokenKeyMissing, TokenKeyUntrusted, probe
from keyfold.token.deviations import COMMON, DATA_KEY_USES, ENVELOPE_KEY_USES, KEY_ENCRYPTION_KEY_USES, UNWRAPS
from keyfold.token.keys import require
from keyfold.token.probe import allows, target_of_data_key, target_of_envelope_key, target_of_key_encryption_key
from keyfold.token.templates import (
    DATA_KEY,
    DATA_KEY_PIN,
    ENVELOPE_KEY,
    FRESH_MATERIAL,
    KEY_ENCRYPTION_KEY,
    USAGES,
    Template,
)

pytestmark = pytest.mark.token

ENVELOPES = [SOFTWARE_KEY_ID, EPOCH_PREFIX + b"1"]
FREE: Template = {
    **dict.fromkeys(USAGES, True),
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}
"""A key that everything is allowed with."""


@pytest.mark.parametrize("name", [*UNWRAPS, *COMMON, *KEY_ENCRYPTION_KEY_USES])
def test_no_way_around_a_key_encryption_key(custody: Custody, name: str) -> None:
    """One deviation from the unwrap template, or one use, copy, reading or change of the key itself, is refused."""
    attempts = {**UNWRAPS, **COMMON, **KEY_ENCRYPTION_KEY_USES}
    with custody.token.manager() as session:
        key = require(session, KEY_ENCRYPTION_KEY_ID, KEY_ENCRYPTION_KEY)
        with target_of_key_encryption_key(session, key) as target:
            assert not allows(attempts[name], target)


@pytest.mark.parametrize("name", [*COMMON, *DATA_KEY_USES])
def test_no_way_around_an_unwrapped_data_key(custody: Custody, name: str) -> None:
    """A data key that was unwrapped by the template cannot be read, copied, changed, wrapped or misused."""
    with custody.token.manager() as session:
        key = require(session, KEY_ENCRYPTION_KEY_ID, KEY_ENCRYPTION_KEY)
        with target_of_key_encryption_key(session, key) as target, target_of_data_key(target) as data_key:
            assert not allows({**COMMON, **DATA_KEY_USES}[name], data_key)


@pytest.mark.parametrize("key_id", ENVELOPES, ids=bytes.decode)
@pytest.mark.parametrize("name", [*COMMON, *ENVELOPE_KEY_USES])
def test_no_way_around_an_envelope_key(custody: Custody, name: str, key_id: bytes) -> None:
    """The software key encryption key and the storage epoch key cannot be read, copied, changed or misused."""
    with custody.token.manager() as session:
        key = require(session, key_id, ENVELOPE_KEY)
        with target_of_envelope_key(session, key) as target:
            assert not allows({**COMMON, **ENVELOPE_KEY_USES}[name], target)


def test_what_is_wanted_is_allowed(custody: Custody) -> None:
    """The refusals are not for a wrong reason: unwrapping exactly by the template works."""
    with custody.token.manager() as session:
        key = require(session, KEY_ENCRYPTION_KEY_ID, KEY_ENCRYPTION_KEY)
        with target_of_key_encryption_key(session, key) as target, target_of_data_key(target) as data_key:
            assert data_key.key[Attribute.EXTRACTABLE] is False


@pytest.mark.parametrize("left_out", list(DATA_KEY), ids=lambda attribute: attribute.name)
def test_each_part_of_the_unwrap_template_matters(custody: Custody, left_out: Attribute) -> None:
    """A key encryption key whose template does not pin an attribute allows that deviation, and the probe sees it."""
    pin: Template = {key: value for key, value in DATA_KEY_PIN.items() if key is not left_out}
    with _target(custody.token, {**KEY_ENCRYPTION_KEY, Attribute.UNWRAP_TEMPLATE: pin}) as target:
        stored = left_out is Attribute.TOKEN
        name = "unwrap to a stored key" if stored else f"unwrap with {left_out.name} turned over"
        assert allows(UNWRAPS[name], target)


@pytest.mark.parametrize(
    "name", ["unwrap as a generic secret", "unwrap with COPYABLE left out", "unwrap with MODIFIABLE left out"]
)
def test_without_a_template_the_probe_sees_it(custody: Custody, name: str) -> None:
    """A key encryption key without an unwrap template lets keys out of every kind."""
    weak: Template = {key: value for key, value in KEY_ENCRYPTION_KEY.items() if key is not Attribute.UNWRAP_TEMPLATE}
    with _target(custody.token, weak) as target:
        assert allows(UNWRAPS[name], target)


SEEN_ON_A_FREE_KEY = [
    "read its value", "wrap it by another key", "copy it", "copy it to modifiable", "copy it into the token",
    "change ENCRYPT afterwards", "change DECRYPT afterwards", "change SIGN afterwards", "change VERIFY afterwards",
    "change WRAP afterwards", "change UNWRAP afterwards", "change DERIVE afterwards", "change SENSITIVE afterwards",
    "change EXTRACTABLE afterwards", "change LABEL afterwards",
    "encrypt by AES-CBC with it", "decrypt by AES-CBC with it", "encrypt by AES-ECB with it",
    "decrypt by AES-ECB with it", "make a MAC with it", "wrap another key with it",
]  # fmt: skip


@pytest.mark.parametrize("name", SEEN_ON_A_FREE_KEY)
def test_the_probe_sees_what_a_free_key_allows(custody: Custody, name: str) -> None:
    """On a key that everything is allowed with, each attempt comes back: none is refused for a reason of its own."""
    with custody.token.manager() as session:
        key = session.pkcs11.generate_key(KeyType.AES, 256, store=False, template=dict(FREE))
        with target_of_envelope_key(session, key, FREE) as target:
            assert allows({**COMMON, **ENVELOPE_KEY_USES}[name], target)
        key.destroy()


def test_the_probe_of_a_sound_token_allows_nothing(custody: Custody) -> None:
    """The start-up probe tries everything on every key and reports nothing."""
    report = custody.probe()
    assert report.ok
    assert report.allowed == ()
    tried = len(UNWRAPS) + 4 * len(COMMON) + len(KEY_ENCRYPTION_KEY_USES) + len(DATA_KEY_USES)
    assert len(report.attempts) == tried + 2 * len(ENVELOPE_KEY_USES)


def test_the_probe_leaves_no_objects(custody: Custody) -> None:
    """Throwaway keys and results of attempts are destroyed."""
    with custody.token.manager() as session:
        before = len(list(session.pkcs11.get_objects({})))
        custody.probe()
        assert len(list(session.pkcs11.get_objects({}))) == before


def test_an_imported_key_is_not_trusted(new_token: Callable[[], Token]) -> None:
    """Somebody with the PIN plants a key encryption key that he knows: it is refused by what the token says of it."""
    token = new_token()
    with token.manager() as session:
        session.pkcs11.create_object(
            {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: KeyType.AES,
                Attribute.TOKEN: True,
                Attribute.ID: KEY_ENCRYPTION_KEY_ID,
                Attribute.VALUE: bytes(32),
                **KEY_ENCRYPTION_KEY,
            }
        )
    with pytest.raises(TokenKeyUntrusted, match="LOCAL, ALWAYS_SENSITIVE, NEVER_EXTRACTABLE"):
        Custody(token).provision()


@pytest.mark.parametrize(
    "change",
    [
        {Attribute.EXTRACTABLE: True},
        {Attribute.SENSITIVE: False},
        {Attribute.DECRYPT: True},
        {Attribute.COPYABLE: True},
        {Attribute.MODIFIABLE: True},
        {Attribute.ALLOWED_MECHANISMS: (0x1087, 0x210A)},
    ],
    ids=lambda change: next(iter(change)).name,
)
def test_a_weaker_key_is_not_trusted(new_token: Callable[[], Token], change: dict[Attribute, Any]) -> None:
    """A key with one attribute that its template does not allow is refused at start, by the attribute's name."""
    token = new_token()
    with token.manager() as session:
        template = {**KEY_ENCRYPTION_KEY, **change}
        session.pkcs11.generate_key(KeyType.AES, 256, id=KEY_ENCRYPTION_KEY_ID, store=True, template=template)
    with pytest.raises(TokenKeyUntrusted, match=next(iter(change)).name):
        Custody(token).provision()


def test_a_second_key_under_the_same_id_is_not_trusted(new_token: Callable[[], Token]) -> None:
    """Two keys under one deterministic id: no guessing which is right."""
    token = new_token()
    Custody(token).provision()
    with token.manager() as session:
        session.pkcs11.generate_key(KeyType.AES, 256, id=SOFTWARE_KEY_ID, store=True, template=dict(ENVELOPE_KEY))
    with pytest.raises(TokenKeyUntrusted, match="2 keys"):
        Custody(token).attach()


def test_the_probe_names_a_missing_key(token: Token) -> None:
    """A probe of a key that is not there is an error, not a clean report."""
    with pytest.raises(TokenKeyMissing, match="keyfold:nothing"):
        probe(token, envelope_keys=(b"keyfold:nothing",))


def test_refusals_are_typed(custody: Custody) -> None:
    """What the token refuses surfaces as one class, by way of python-pkcs11 and without."""
    with custody.token.manager() as session:
        key = require(session, SOFTWARE_KEY_ID, ENVELOPE_KEY)
        with target_of_envelope_key(session, key) as target, pytest.raises(ActionRefused):
            ENVELOPE_KEY_USES["wrap another key with it"](target)


class _target:  # noqa: N801 - reads as the context manager that it is
    """A stored key encryption key by a template of the test's, as the probe's target."""

    def __init__(self, token: Token, template: Template) -> None:
        self._token, self._template = token, template

    def __enter__(self) -> Any:
        self._manager = self._token.manager()
        session = self._manager.__enter__()
        self._key = session.pkcs11.generate_key(KeyType.AES, 256, id=b"weak", store=True, template=dict(self._template))
        self._target = target_of_key_encryption_key(session, self._key, FRESH_MATERIAL)
        return self._target.__enter__()

    def __exit__(self, *_: object) -> None:
        self._target.__exit__(None, None, None)
        self._key.destroy()
        self._manager.__exit__(None, None, None)


def test_the_template_pins_what_the_design_names() -> None:
    """The list itself is frozen: leaving an attribute out of the template would leave its attempt out as well."""
    pinned = {attribute.name: value for attribute, value in DATA_KEY_PIN.items()}
    assert pinned == {
        "CLASS": ObjectClass.SECRET_KEY, "KEY_TYPE": KeyType.AES, "SENSITIVE": True, "PRIVATE": True,
        "EXTRACTABLE": False, "TOKEN": False, "COPYABLE": False, "MODIFIABLE": False, "WRAP": False, "UNWRAP": False,
        "DERIVE": False, "SIGN": False, "VERIFY": False, "ENCRYPT": True, "DECRYPT": True,
    }  # fmt: skip
    for template, usages in ((KEY_ENCRYPTION_KEY, {"WRAP", "UNWRAP"}), (ENVELOPE_KEY, {"ENCRYPT", "DECRYPT"})):
        flags = {attribute.name: value for attribute, value in template.items() if isinstance(value, bool)}
        assert {name for name, value in flags.items() if value} == usages | {"PRIVATE", "SENSITIVE"}
        assert {"EXTRACTABLE", "MODIFIABLE", "COPYABLE", "DERIVE", "SIGN", "VERIFY"} <= flags.keys()
