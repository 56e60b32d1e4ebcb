"""Forms of material: codes that never change, blobs that belong to one spec and usage, attributes that were read."""

import os
import threading
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Mechanism

from keyfold.custody import Custody, InvalidBlob, KeyReference, Protection
from keyfold.custody.blobs import header, inner_associated_data, parse
from keyfold.custody.forms import FORMS
from keyfold.events.specs import ALGORITHMS
from keyfold.token import cryptoki
from keyfold.token.errors import SessionLimit

pytestmark = pytest.mark.token

PROTECTIONS: tuple[Protection, ...] = ("HSM", "SOFTWARE")
CODES = {
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"): 1,
    ("HMAC_224", "GENERATE_VERIFY_MAC"): 2, ("HMAC_256", "GENERATE_VERIFY_MAC"): 3,
    ("HMAC_384", "GENERATE_VERIFY_MAC"): 4, ("HMAC_512", "GENERATE_VERIFY_MAC"): 5,
    ("RSA_2048", "ENCRYPT_DECRYPT"): 6, ("RSA_3072", "ENCRYPT_DECRYPT"): 7, ("RSA_4096", "ENCRYPT_DECRYPT"): 8,
    ("RSA_2048", "SIGN_VERIFY"): 9, ("RSA_3072", "SIGN_VERIFY"): 10, ("RSA_4096", "SIGN_VERIFY"): 11,
    ("ECC_NIST_P256", "SIGN_VERIFY"): 12, ("ECC_NIST_P384", "SIGN_VERIFY"): 13, ("ECC_NIST_P521", "SIGN_VERIFY"): 14,
    ("ECC_NIST_P256", "KEY_AGREEMENT"): 15, ("ECC_NIST_P384", "KEY_AGREEMENT"): 16,
    ("ECC_NIST_P521", "KEY_AGREEMENT"): 17, ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"): 18,
    ("ML_DSA_44", "SIGN_VERIFY"): 19, ("ML_DSA_65", "SIGN_VERIFY"): 20, ("ML_DSA_87", "SIGN_VERIFY"): 21,
    ("ML_KEM_768", "KEY_ENCAPSULATION"): 23, ("ML_KEM_1024", "KEY_ENCAPSULATION"): 24,
    ("RSA_3072", "IMPORT"): 32, ("RSA_4096", "IMPORT"): 33,
}  # fmt: skip


def test_codes_are_frozen() -> None:
    """Literally: they are part of the blobs in the log. 22 is kept for ML-KEM-512."""
    assert {pair: form.code for pair, form in FORMS.items()} == CODES
    assert set(FORMS) >= set(ALGORITHMS) - {("ML_KEM_512", "KEY_ENCAPSULATION")}


def test_headers_and_bindings_are_frozen() -> None:
    """Protection 1, 2 or 3 (resident), the code, the epoch; inside, all but symmetric keys are bound to the code."""
    pair = KeyReference(bytes(range(16)), 7, "ML_DSA_65", "SOFTWARE", "SIGN_VERIFY")
    assert header(pair, 5) == b"KFKB\x01\x02\x14\x00\x00\x00\x05"
    edwards = KeyReference(bytes(range(16)), 7, "ECC_NIST_EDWARDS25519", "HSM", "SIGN_VERIFY")
    assert header(edwards, 5, resident=True) == b"KFKB\x01\x03\x12\x00\x00\x00\x05"
    identity = bytes(range(16)) + b"\x00\x00\x00\x07"
    assert inner_associated_data(pair) == b"keyfold-inner-v2" + identity + b"\x14"


@pytest.mark.parametrize("blob", [b"KFKB\x01\x00\x01", b"KFKB\x01\x04\x01", b"KFKB\x01\x01\x16", b"KFKB\x01\x01\x00"])
def test_unknown_protections_and_materials_are_refused(blob: bytes) -> None:
    """A newer program's blob is no blob of this one."""
    with pytest.raises(InvalidBlob, match="no known format"):
        parse(blob + bytes(50))


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_a_blob_belongs_to_its_spec_and_usage(custody: Custody, protection: Protection) -> None:
    """A key for signing never becomes one for agreement, nor a short HMAC key a long one."""
    for made_as, opened_as in (
        (("ECC_NIST_P256", "SIGN_VERIFY"), ("ECC_NIST_P256", "KEY_AGREEMENT")),
        (("HMAC_256", "GENERATE_VERIFY_MAC"), ("HMAC_512", "GENERATE_VERIFY_MAC")),
        (("HMAC_256", "GENERATE_VERIFY_MAC"), ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")),
    ):
        ref = KeyReference(os.urandom(16), 1, made_as[0], protection, made_as[1])
        blob = custody.generate(ref).blob
        wrong = ref._replace(spec=opened_as[0], usage=opened_as[1])
        with pytest.raises(InvalidBlob, match="not of spec"):
            custody.open(wrong, blob)
        # Even with the clear byte changed: both envelopes are bound to it.
        forged = blob[:6] + bytes([FORMS[opened_as].code]) + blob[7:]
        with pytest.raises(InvalidBlob):
            custody.open(wrong, forged)


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_the_inner_envelope_is_bound_to_the_material_too(custody: Custody, protection: Protection) -> None:
    """Put into a sound outer envelope of another kind, it does not open: its key is another, or its binding."""
    ref = KeyReference(os.urandom(16), 1, "ECC_NIST_P256", protection, "SIGN_VERIFY")
    wrong = ref._replace(usage="KEY_AGREEMENT")
    with custody.token.manager() as session:
        _, inner = custody.envelopes.open(session, ref, custody.generate(ref).blob)
        moved = custody.envelopes.close(session, wrong, inner)
    with pytest.raises(InvalidBlob, match="inside"):
        custody.open(wrong, moved)


def test_attributes_tell_what_was_read_of_what(custody: Custody) -> None:
    """Fresh material may be wrapped for a moment, its unwrapped copy never; both are said, beside the wrapping key."""
    told = custody.generate(KeyReference(os.urandom(16), 1, "ECC_NIST_P256", "HSM", "SIGN_VERIFY")).attributes
    expected: dict[str, Any] = {
        "material.CKA_LOCAL": True, "material.CKA_EXTRACTABLE": True, "material.CKA_ALWAYS_SENSITIVE": True,
        "material.CKA_TOKEN": False, "material.CKA_KEY_TYPE": "EC", "material.CKA_KEY_GEN_MECHANISM": "EC_KEY_PAIR_GEN",
        "unwrapped.CKA_LOCAL": False, "unwrapped.CKA_SENSITIVE": True, "unwrapped.CKA_EXTRACTABLE": False,
        "unwrapped.CKA_PRIVATE": True, "unwrapped.CKA_TOKEN": False,
        "kek.CKA_ID": "keyfold:kek:private:ec:sign", "kek.CKA_LOCAL": True, "kek.CKA_NEVER_EXTRACTABLE": True,
        "kek.CKA_WRAP_WITH_TRUSTED": False, "kek.CKA_UNWRAP_TEMPLATE": 14,
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    software = custody.generate(KeyReference(os.urandom(16), 1, "ML_KEM_768", "SOFTWARE", "KEY_ENCAPSULATION"))
    assert software.attributes["material"] == "software"
    assert software.attributes["kek.CKA_ID"] == "keyfold:software-kek"
    resident = custody.generate(KeyReference(os.urandom(16), 1, "ECC_NIST_EDWARDS25519", "HSM", "SIGN_VERIFY"))
    assert resident.attributes["resident.CKA_NEVER_EXTRACTABLE"] is True
    assert resident.attributes["resident.CKA_TOKEN"] is True


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_generation_leaves_no_object_and_gives_the_public_key(custody: Custody, protection: Protection) -> None:
    """Pairs of every type that leaves the token: nothing of them stays, and the blob opens again."""
    with custody.token.manager() as session:
        before = len(list(session.pkcs11.get_objects({})))
        for spec, usage in (("RSA_2048", "SIGN_VERIFY"), ("ECC_NIST_P521", "KEY_AGREEMENT"), ("HMAC_384", "")):
            ref = KeyReference(os.urandom(16), 1, spec, protection, usage or "GENERATE_VERIFY_MAC")
            made = custody.generate(ref)
            assert len(list(session.pkcs11.get_objects({}))) == before
            assert (made.public_key is None) == (not usage)
            if made.public_key:
                load_der_public_key(made.public_key)
            custody.open(ref, made.blob).destroy()
            assert len(list(session.pkcs11.get_objects({}))) == before


@pytest.mark.parametrize("has_room", [True, False])
def test_making_an_rsa_key_does_not_keep_others_waiting(
    custody: Custody, monkeypatch: pytest.MonkeyPatch, has_room: bool
) -> None:
    """Others use the manager session meanwhile; a token that opens no more sessions makes the key all the same."""
    functions, free = custody.token.module.cryptoki, list[bool]()
    real = functions.generate_key_pair

    def generate(*arguments: Any) -> int:
        thread = threading.Thread(target=lambda: free.append(manager_is_free(custody)))
        thread.start()
        thread.join()
        return int(real(*arguments))

    def refuse(*_: Any) -> Any:
        raise SessionLimit("no more sessions")

    monkeypatch.setattr(functions, "generate_key_pair", generate)
    if not has_room:
        monkeypatch.setattr(custody.token.module, "open_session", refuse)
    ref = KeyReference(os.urandom(16), 1, "RSA_2048", "HSM", "SIGN_VERIFY")
    custody.open(ref, custody.generate(ref).blob).destroy()
    assert free == [has_room]


def manager_is_free(custody: Custody) -> bool:
    lock = custody.token._manager_lock
    if not lock.acquire(timeout=0.1):
        return False
    lock.release()
    return True


def test_mechanism_numbers_are_the_standards() -> None:
    """python-pkcs11 has the same for each that it knows."""
    known = {mechanism.name: int(mechanism) for mechanism in Mechanism}
    numbers = {name[4:]: value for name, value in vars(cryptoki).items() if name.startswith("CKM_")}
    single = {name: value for name, value in numbers.items() if isinstance(value, int)}
    assert {name: value for name, value in single.items() if known.get(name, value) != value} == {}
    assert len(single.keys() & known.keys()) >= 15
    assert {f"SHA{bits}_HMAC": value for bits, value in cryptoki.CKM_HMAC.items()}.items() <= known.items()
