"""With the user's PIN in hand: every single way around a key's protection is refused, and the probe sees each hole."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pkcs11 import DEFAULT, Attribute, KeyType, Mechanism, ObjectClass

from keyfold.custody.custody import EPOCH_PREFIX, KEY_ENCRYPTION_KEY_ID, SOFTWARE_KEY_ID, Custody
from keyfold.custody.envelopes import IMPORT_CHECK_ID, TRANSFER_ID, kek_id
from keyfold.token import ActionRefused, Session, Token, TokenKeyMissing, TokenKeyUntrusted, probe
from keyfold.token.deviations import (
    COMMON,
    ENVELOPE_KEY_USES,
    KEY_ENCRYPTION_KEY_USES,
    MAC_KEY_USES,
    UNWRAPPED_KEY_USES,
    unwraps,
)
from keyfold.token.keys import deviations_of, require
from keyfold.token.kinds import AES, KINDS, Kind
from keyfold.token.probe import (
    Samples,
    allows,
    target_of_envelope_key,
    target_of_key_encryption_key,
    target_of_unwrapped_key,
)
from keyfold.token.templates import (
    ENVELOPE_KEY,
    FRESH_MATERIAL,
    KEY_ENCRYPTION_KEY,
    MAC_KEY,
    USAGES,
    Template,
)

pytestmark = pytest.mark.token

ENVELOPES = [SOFTWARE_KEY_ID, EPOCH_PREFIX + b"1"]
PRIVATE_USAGES = (Attribute.DECRYPT, Attribute.SIGN, Attribute.UNWRAP, Attribute.DERIVE)
FREE: Template = {
    **dict.fromkeys(USAGES, True),
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}
"""A key that everything is allowed with."""


@pytest.fixture(scope="module")
def samples(custody: Custody) -> Iterator[Samples]:
    """One extractable key of each type, for all tests here."""
    with custody.token.manager() as session, Samples(session) as made:
        yield made


def kek(session: Session, kind: Kind) -> Any:
    return require(session, kek_id(kind), kind.key_encryption_key)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_way_around_a_key_encryption_key(custody: Custody, samples: Samples, kind: Kind) -> None:
    """One deviation from the unwrap template, or one use, copy, reading or change of the key itself, is refused."""
    attempts = {**unwraps(kind), **COMMON, **KEY_ENCRYPTION_KEY_USES}
    with (
        custody.token.manager() as session,
        target_of_key_encryption_key(session, kek(session, kind), samples, kind) as target,
    ):
        assert [name for name, attempt in attempts.items() if allows(attempt, target)] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_way_around_an_unwrapped_key(custody: Custody, samples: Samples, kind: Kind) -> None:
    """A key that was unwrapped by the template cannot be read, copied, changed, wrapped or misused."""
    attempts = {**COMMON, **UNWRAPPED_KEY_USES[kind]}
    with (
        custody.token.manager() as session,
        target_of_key_encryption_key(session, kek(session, kind), samples, kind) as target,
        target_of_unwrapped_key(target) as unwrapped,
    ):
        assert [name for name, attempt in attempts.items() if allows(attempt, unwrapped)] == []


@pytest.mark.parametrize("key_id", [IMPORT_CHECK_ID, TRANSFER_ID], ids=bytes.decode)
@pytest.mark.parametrize("name", [*COMMON, *MAC_KEY_USES])
def test_no_way_around_a_mac_key(custody: Custody, name: str, key_id: bytes) -> None:
    """The keys of import checks and transfers cannot be read, copied, changed, wrapped or misused."""
    with custody.token.manager() as session:
        key = require(session, key_id, MAC_KEY)
        with target_of_envelope_key(session, key, MAC_KEY, KeyType.GENERIC_SECRET) as target:
            assert not allows({**COMMON, **MAC_KEY_USES}[name], target)


@pytest.mark.parametrize("key_id", ENVELOPES, ids=bytes.decode)
@pytest.mark.parametrize("name", [*COMMON, *ENVELOPE_KEY_USES])
def test_no_way_around_an_envelope_key(custody: Custody, name: str, key_id: bytes) -> None:
    """The software key encryption key and the storage epoch key cannot be read, copied, changed or misused."""
    with custody.token.manager() as session:
        key = require(session, key_id, ENVELOPE_KEY)
        with target_of_envelope_key(session, key) as target:
            assert not allows({**COMMON, **ENVELOPE_KEY_USES}[name], target)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_wanted_is_allowed(custody: Custody, samples: Samples, kind: Kind) -> None:
    """The unwrap that custody makes is allowed, and gives exactly the kind's attributes."""
    with (
        custody.token.manager() as session,
        target_of_key_encryption_key(session, kek(session, kind), samples, kind) as target,
        target_of_unwrapped_key(target) as unwrapped,
    ):
        assert deviations_of(unwrapped.key, kind.pin) == []


PINNED = [
    pytest.param(kind, attribute, id=f"{kind.name}-{attribute.name}") for kind in KINDS for attribute in kind.unwrapped
]


@pytest.mark.parametrize(("kind", "left_out"), PINNED)
def test_each_part_of_the_unwrap_template_matters(
    custody: Custody, samples: Samples, kind: Kind, left_out: Attribute
) -> None:
    """A key encryption key whose template does not pin an attribute allows that deviation, and the probe sees it."""
    pin: Template = {key: value for key, value in kind.pin.items() if key is not left_out}
    names = {Attribute.TOKEN: "unwrap to a stored key", Attribute.ALLOWED_MECHANISMS: "unwrap with one more mechanism"}
    with _target(custody.token, {**KEY_ENCRYPTION_KEY, Attribute.UNWRAP_TEMPLATE: pin}, samples, kind) as target:
        assert allows(unwraps(kind)[names.get(left_out, f"unwrap with {left_out.name} turned over")], target)


@pytest.mark.parametrize(
    "name",
    [
        "unwrap as a generic secret",
        "unwrap with COPYABLE left out",
        "unwrap with MODIFIABLE left out",
    ],
)
def test_without_a_template_the_probe_sees_it(custody: Custody, samples: Samples, name: str) -> None:
    """A key encryption key without an unwrap template lets keys out of every kind."""
    weak: Template = {key: value for key, value in KEY_ENCRYPTION_KEY.items() if key is not Attribute.UNWRAP_TEMPLATE}
    with _target(custody.token, weak, samples, AES) as target:
        assert allows(unwraps(AES)[name], target)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in KINDS if not kind.is_secret for name in UNWRAPPED_KEY_USES[kind]],
    ids=lambda value: value.name if isinstance(value, Kind) else value,
)
def test_the_probe_sees_what_a_free_private_key_allows(
    custody: Custody, samples: Samples, kind: Kind, name: str
) -> None:
    """On a private key that may be used for everything, each use comes back: none is refused for its own reason."""
    free: Template = {
        **kind.unwrapped, **dict.fromkeys(PRIVATE_USAGES, True), Attribute.ALLOWED_MECHANISMS: DEFAULT,
    }  # fmt: skip
    weak: Template = {key: value for key, value in KEY_ENCRYPTION_KEY.items() if key is not Attribute.UNWRAP_TEMPLATE}
    with (
        _target(custody.token, weak, samples, kind) as target,
        target_of_unwrapped_key(target, free) as unwrapped,
    ):
        assert allows(UNWRAPPED_KEY_USES[kind][name], unwrapped)


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
    tried = sum(
        len(unwraps(kind)) + 2 * len(COMMON) + len(KEY_ENCRYPTION_KEY_USES) + len(UNWRAPPED_KEY_USES[kind])
        for kind in KINDS
    )
    tried += 2 * (len(COMMON) + len(ENVELOPE_KEY_USES)) + 2 * (len(COMMON) + len(MAC_KEY_USES))
    assert len(report.attempts) == tried


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

    def __init__(self, token: Token, template: Template, samples: Samples, kind: Kind) -> None:
        self._token, self._template, self._samples, self._kind = token, template, samples, kind

    def __enter__(self) -> Any:
        self._manager = self._token.manager()
        session = self._manager.__enter__()
        self._key = session.pkcs11.generate_key(KeyType.AES, 256, id=b"weak", store=True, template=dict(self._template))
        self._target = target_of_key_encryption_key(session, self._key, self._samples, self._kind, FRESH_MATERIAL)
        return self._target.__enter__()

    def __exit__(self, *_: object) -> None:
        self._target.__exit__(None, None, None)
        self._key.destroy()
        self._manager.__exit__(None, None, None)


PINS: dict[str, tuple[ObjectClass, KeyType, set[str], tuple[Mechanism, ...] | None]] = {
    "secret:aes": (ObjectClass.SECRET_KEY, KeyType.AES, {"ENCRYPT", "DECRYPT"}, None),
    "secret:hmac": (
        ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, {"SIGN", "VERIFY"},
        (Mechanism.SHA256_HMAC, Mechanism.SHA224_HMAC, Mechanism.SHA384_HMAC, Mechanism.SHA512_HMAC),
    ),
    "private:rsa:sign": (
        ObjectClass.PRIVATE_KEY, KeyType.RSA, {"SIGN"}, (Mechanism.RSA_PKCS, Mechanism.RSA_PKCS_PSS)
    ),
    "private:rsa:decrypt": (
        ObjectClass.PRIVATE_KEY, KeyType.RSA, {"DECRYPT"}, (Mechanism.RSA_X_509, Mechanism.RSA_PKCS_OAEP)
    ),
    "private:rsa:import": (
        ObjectClass.PRIVATE_KEY, KeyType.RSA, {"DECRYPT", "UNWRAP"}, (Mechanism.RSA_X_509, Mechanism.RSA_PKCS_OAEP)
    ),
    "private:ec:sign": (ObjectClass.PRIVATE_KEY, KeyType.EC, {"SIGN"}, (Mechanism.ECDSA,)),
    "private:ec:derive": (ObjectClass.PRIVATE_KEY, KeyType.EC, {"DERIVE"}, (Mechanism.ECDH1_DERIVE,)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_template_pins_what_the_design_names(kind: Kind) -> None:
    """The list itself is frozen: leaving an attribute out of the template would leave its attempt out as well."""
    object_class, key_type, usages, mechanisms = PINS[kind.name]
    secret = {"ENCRYPT", "VERIFY", "WRAP"} if object_class is ObjectClass.SECRET_KEY else {"SIGN_RECOVER"}
    flags = {"DECRYPT", "SIGN", "UNWRAP", "DERIVE"} | secret
    expected: dict[str, Any] = {
        "CLASS": object_class, "KEY_TYPE": key_type, "SENSITIVE": True, "PRIVATE": True, "EXTRACTABLE": False,
        "TOKEN": False, "COPYABLE": False, "MODIFIABLE": False, **{flag: flag in usages for flag in flags},
        **({"ALLOWED_MECHANISMS": mechanisms} if mechanisms else {}),
    }  # fmt: skip
    assert {attribute.name: value for attribute, value in kind.pin.items()} == expected


def test_stored_keys_have_one_usage() -> None:
    """Key encryption keys wrap and unwrap, envelope keys encrypt and decrypt, the MAC key signs; nothing else."""
    wanted = [(kind.key_encryption_key, {"WRAP", "UNWRAP"}) for kind in KINDS]
    for template, usages in (*wanted, (ENVELOPE_KEY, {"ENCRYPT", "DECRYPT"}), (MAC_KEY, {"SIGN"})):
        flags = {attribute.name: value for attribute, value in template.items() if isinstance(value, bool)}
        assert {name for name, value in flags.items() if value} == usages | {"PRIVATE", "SENSITIVE"}
        assert {"EXTRACTABLE", "MODIFIABLE", "COPYABLE", "DERIVE", "SIGN", "VERIFY"} <= flags.keys()
