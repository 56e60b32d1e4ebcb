"""Imported material that is made to harm: refused as such, at once, by a token and a process that go on working."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Attribute, KeyType
from tests.support.faulty_token import CKR_DEVICE_ERROR, FaultyToken, faulty
from tests.unit.custody.hostile_keys import no_ec_keys, no_rsa_keys, numbers_of, rsa_key, sound_ec_key

from keyfold.custody import Custody, Imported, KeyReference, Protection, private_keys
from keyfold.events.errors import IncorrectKeyMaterial, InvalidCiphertext, TokenUnavailable
from keyfold.token import Module, Session
from keyfold.token import importing as token_importing
from keyfold.token import material as token_material
from keyfold.token.errors import CKR_GENERAL_ERROR, TokenLost
from keyfold.token.templates import Template

pytestmark = pytest.mark.token

KWP = "RSA_AES_KEY_WRAP_SHA_256"
PROTECTIONS: tuple[Protection, ...] = ("HSM", "SOFTWARE")
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class Import(NamedTuple):
    """One import that is tried again and again."""

    custody: Custody
    id: bytes
    blob: bytes
    public: rsa.RSAPublicKey

    def run(self, spec: str, usage: str, protection: Protection, material: bytes, change: int = 0) -> Imported:
        ephemeral = os.urandom(32)
        wrapped = bytearray(self.public.encrypt(ephemeral, OAEP) + aes_key_wrap_with_padding(ephemeral, material))
        wrapped[-1] ^= change
        reference = KeyReference(os.urandom(16), 1, spec, protection, usage)
        return self.custody.import_material(reference, self.id, self.blob, KWP, bytes(wrapped))


@pytest.fixture(scope="module")
def one(custody: Custody) -> Import:
    identifier = os.urandom(16)
    made = custody.generate_import_key(identifier, "RSA_3072")
    public = load_der_public_key(made.public_key or b"")
    assert isinstance(public, rsa.RSAPublicKey)
    return Import(custody, identifier, made.blob, public)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def faults(module: Module) -> Iterator[FaultyToken]:
    with faulty(module) as made:
        yield made


@pytest.mark.parametrize("usage", ["SIGN_VERIFY", "ENCRYPT_DECRYPT"])
@pytest.mark.parametrize("protection", PROTECTIONS)
def test_numbers_that_are_no_rsa_key_are_incorrect_key_material(
    one: Import, key: rsa.RSAPrivateKey, protection: Protection, usage: str
) -> None:
    """Whatever the token or the library says to them; then the same import takes the sound key."""
    for material in no_rsa_keys(key):
        with pytest.raises(IncorrectKeyMaterial):
            one.run("RSA_2048", usage, protection, material)
    one.run("RSA_2048", usage, protection, rsa_key(*numbers_of(key)))
    assert not one.custody.token.is_lost


@pytest.mark.parametrize("usage", ["SIGN_VERIFY", "KEY_AGREEMENT"])
@pytest.mark.parametrize("protection", PROTECTIONS)
def test_numbers_that_are_no_ec_key_are_incorrect_key_material(one: Import, protection: Protection, usage: str) -> None:
    """A token says CKR_GENERAL_ERROR to them; then the same import takes a sound key."""
    for material in no_ec_keys():
        with pytest.raises(IncorrectKeyMaterial):
            one.run("ECC_NIST_P256", usage, protection, material)
    one.run("ECC_NIST_P256", usage, protection, sound_ec_key())
    assert not one.custody.token.is_lost


@pytest.mark.parametrize("function", ["C_SignInit", "C_DeriveKey", "C_WrapKey", "C_CreateObject"])
def test_a_token_that_fails_with_sound_material_is_unavailable(one: Import, faults: FaultyToken, function: str) -> None:
    """An outage is no fault of the caller's: the import can be repeated when the token is back."""
    material = sound_ec_key()
    faults.answer(CKR_GENERAL_ERROR, function)
    with pytest.raises(TokenUnavailable):
        one.run("ECC_NIST_P256", "SIGN_VERIFY", "HSM", material)
    faults.answer(0, function)
    one.run("ECC_NIST_P256", "SIGN_VERIFY", "HSM", material)


def test_a_failure_that_passes_costs_nothing(one: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that fails once with sound material, and then does not, has imported it."""
    real, answers = token_material.wrap, [TokenUnavailable("once")]

    def once(*arguments: Any) -> bytes:
        if answers:
            raise answers.pop()
        return real(*arguments)

    monkeypatch.setattr(token_material, "wrap", once)
    assert one.run("ECC_NIST_P256", "SIGN_VERIFY", "HSM", sound_ec_key()).public_key
    assert not answers


def test_a_lost_token_is_lost(new_token: Any, faults: FaultyToken) -> None:
    """It is not asked again, and the material is not blamed."""
    custody = Custody(new_token())
    custody.provision()
    identifier = os.urandom(16)
    made = custody.generate_import_key(identifier, "RSA_3072")
    public = load_der_public_key(made.public_key or b"")
    assert isinstance(public, rsa.RSAPublicKey)
    faults.answer(CKR_DEVICE_ERROR, "C_SignInit")
    with pytest.raises(TokenLost):
        Import(custody, identifier, made.blob, public).run("ECC_NIST_P256", "SIGN_VERIFY", "HSM", sound_ec_key())
    assert custody.token.is_lost


@pytest.mark.parametrize("protection", PROTECTIONS)
@pytest.mark.parametrize("size", [1305, 2500, 4000])
def test_material_that_is_too_long_is_refused(one: Import, protection: Protection, size: int) -> None:
    """As incorrect where it opens, as not opening where it does not."""
    material = os.urandom(size)
    with pytest.raises(IncorrectKeyMaterial):
        one.run("RSA_2048", "SIGN_VERIFY", protection, material)
    with pytest.raises(InvalidCiphertext):
        one.run("RSA_2048", "SIGN_VERIFY", protection, material, change=1)


def test_a_private_key_that_is_too_long_never_becomes_one_in_the_token(
    one: Import, key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened as a secret without use, which tells whether it opens."""
    n, e, d, *_ = numbers_of(key)
    made: list[KeyType] = []
    real: Callable[..., int] = vars(token_importing)["unwrap_padded"]

    def spy(session: Session, unwrapping_key: int, wrapped: bytes, template: Template) -> int:
        made.append(template[Attribute.KEY_TYPE])
        return real(session, unwrapping_key, wrapped, template)

    monkeypatch.setattr(token_importing, "unwrap_padded", spy)
    with pytest.raises(IncorrectKeyMaterial):
        one.run("RSA_2048", "SIGN_VERIFY", "HSM", rsa_key(n, e, d, 2**12800 - 1, 3, 2**12799 - 1, 1, 1))
    assert made == [KeyType.GENERIC_SECRET]


def test_long_primes_are_not_tested(key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's test of a long number holds Python's lock for as long as it takes; a sound key is tested."""
    tested: list[bool] = []
    real: Callable[..., Any] = vars(private_keys)["load_der_private_key"]

    def spy(material: bytes, password: None, **how: bool) -> Any:
        tested.append(not how.get("unsafe_skip_rsa_key_validation", False))
        return real(material, password, **how)

    monkeypatch.setattr(private_keys, "load_der_private_key", spy)
    n, e, d, p, q, dmp1, dmq1, iqmp = numbers_of(key)
    long = [
        (2 * n + 1, e, d, p, q, dmp1, dmq1, iqmp), (n, e, d * 2**8, p, q, dmp1, dmq1, iqmp),
        (n, e, d, 2**1024 + p, q, dmp1, dmq1, iqmp), (n, e, d, p, 2**1024 + q, dmp1, dmq1, iqmp),
        (n, e, d, p, q, 2**1024 + dmp1, dmq1, iqmp), (n, e, d, p, q, dmp1, 2**1024 + dmq1, iqmp),
        (n, e, d, p, q, dmp1, dmq1, 2**1024 + iqmp), (n, 2**256 + 1, d, p, q, dmp1, dmq1, iqmp),
        (n, 2**16 - 1, d, p, q, dmp1, dmq1, iqmp), (n, e + 1, d, p, q, dmp1, dmq1, iqmp),
        (n, e, d, 0, q, dmp1, dmq1, iqmp),
    ]  # fmt: skip
    began = time.monotonic()
    for numbers in long:
        with pytest.raises(IncorrectKeyMaterial):
            private_keys.decode("RSA_2048", rsa_key(*numbers))
    for spec in ("RSA_3072", "ECC_NIST_P256"):
        with pytest.raises(IncorrectKeyMaterial):
            private_keys.decode(spec, rsa_key(*numbers_of(key)))
    assert not any(tested)
    assert time.monotonic() - began < 1
    with pytest.raises(IncorrectKeyMaterial):
        private_keys.decode("RSA_2048", rsa_key(n, e, d, p - 2, q, dmp1, dmq1, iqmp))
    private_keys.decode("RSA_2048", rsa_key(*numbers_of(key)))
    assert tested[-4:] == [False, True, False, True]


def test_every_spec_has_a_longest_material_before_it_is_parsed(one: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the level SOFTWARE, nothing longer reaches the library."""

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(private_keys, "load_der_private_key", never)
    longest_of = {
        "RSA_2048": 1300,
        "RSA_3072": 1900,
        "RSA_4096": 2500,
        "ECC_NIST_P521": 300,
        "ECC_NIST_EDWARDS25519": 100,
    }
    for spec, longest in longest_of.items():
        with pytest.raises(IncorrectKeyMaterial):
            one.run(spec, "SIGN_VERIFY", "SOFTWARE", bytes(longest + 1))
        with pytest.raises(AssertionError):
            one.run(spec, "SIGN_VERIFY", "SOFTWARE", bytes(longest))
