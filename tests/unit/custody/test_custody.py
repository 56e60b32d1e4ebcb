"""Blobs: opened by the token, key and version they were made for, and by nothing else."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from keyfold.custody import Custody, InMemory, InToken, InvalidBlob, KeyReference
from keyfold.custody.blobs import header, inner_associated_data, outer_associated_data, parse
from keyfold.custody.custody import EPOCH_PREFIX, KEY_ENCRYPTION_KEY_ID
from keyfold.custody.references import Protection
from keyfold.events.ciphertext import encode_context
from keyfold.events.errors import Unsupported
from keyfold.token import Token, TokenKeyMissing
from keyfold.token.keys import list_ids, require
from keyfold.token.kinds import KINDS
from keyfold.token.templates import KEY_ENCRYPTION_KEY

pytestmark = pytest.mark.token

CONTEXT = [encode_context({"tenant": "a"})]
PROTECTIONS: list[Protection] = ["HSM", "SOFTWARE"]


def reference(protection: Protection, version: int = 1) -> KeyReference:
    return KeyReference(os.urandom(16), version, "SYMMETRIC_DEFAULT", protection)


def provider(custody: Custody, protection: Protection) -> Any:
    return InToken(custody.token) if protection == "HSM" else InMemory(custody.derived)


def round_trip(custody: Custody, ref: KeyReference, blob: bytes, ciphertext: bytes) -> object:
    handle = custody.open(ref, blob)
    try:
        made = provider(custody, ref.protection)
        return made.unprotect(ref.key_id, lambda _: handle, CONTEXT, [(0, ciphertext)])[0]
    finally:
        handle.destroy()


def protect(custody: Custody, ref: KeyReference, blob: bytes, plaintext: bytes) -> bytes:
    handle = custody.open(ref, blob)
    try:
        ciphertext: bytes = provider(custody, ref.protection).protect(handle, CONTEXT, [(0, plaintext)])[0]
        return ciphertext
    finally:
        handle.destroy()


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_a_blob_opens_to_the_same_key_again(custody: Custody, protection: Protection) -> None:
    """What one handle protected, another from the same blob opens."""
    ref = reference(protection)
    blob = custody.generate(ref).blob
    ciphertext = protect(custody, ref, blob, b"secret")
    assert round_trip(custody, ref, blob, ciphertext) == b"secret"


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_every_damaged_byte_of_a_blob_is_refused(custody: Custody, protection: Protection) -> None:
    """Header, nonce, both envelopes, tag: one bit anywhere and nothing opens."""
    ref = reference(protection)
    blob = custody.generate(ref).blob
    for at in range(len(blob)):
        for bit in (0x01, 0x80):
            damaged = blob[:at] + bytes([blob[at] ^ bit]) + blob[at + 1 :]
            with pytest.raises(InvalidBlob):
                custody.open(ref, damaged)
    for length in range(len(blob)):
        with pytest.raises(InvalidBlob):
            custody.open(ref, blob[:length])
    with pytest.raises(InvalidBlob):
        custody.open(ref, blob + b"\0")


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_a_blob_belongs_to_its_key_version(custody: Custody, protection: Protection) -> None:
    """Swapped between keys, versions or protection levels it does not open."""
    ref = reference(protection)
    blob = custody.generate(ref).blob
    other: Protection = "HSM" if protection == "SOFTWARE" else "SOFTWARE"
    for wrong in (ref._replace(key_id=os.urandom(16)), ref._replace(version=2)):
        with pytest.raises(InvalidBlob, match="another key version"):
            custody.open(wrong, blob)
    with pytest.raises(InvalidBlob, match="protection level"):
        custody.open(ref._replace(protection=other), blob)


def test_the_outer_envelope_is_bound_to_all_of_the_header() -> None:
    """Literally: domain, the blob's first eleven bytes, key id, version."""
    ref = KeyReference(bytes(range(16)), 7, "SYMMETRIC_DEFAULT", "HSM")
    blob_header = b"KFKB\x01\x01\x01\x00\x00\x00\x05"
    assert header(ref, 5) == blob_header
    identity = bytes(range(16)) + b"\x00\x00\x00\x07"
    assert outer_associated_data(blob_header, ref) == b"keyfold-outer-v1" + blob_header + identity
    assert inner_associated_data(ref) == b"keyfold-inner-v1" + identity


def test_software_material_is_bound_inside_too(custody: Custody) -> None:
    """The inner envelope of SOFTWARE material binds id and version, even where the outer one is made anew."""
    ref = reference("SOFTWARE")
    with custody.token.manager() as session:
        inner = custody.envelopes.open(session, ref, custody.generate(ref).blob)[1]
        moved = custody.envelopes.close(session, ref._replace(version=2), inner)
    with pytest.raises(InvalidBlob, match="inside"):
        custody.open(ref._replace(version=2), moved)


@pytest.mark.parametrize("inner", [os.urandom(40), b"", os.urandom(8), os.urandom(44)], ids=len)
@pytest.mark.parametrize("protection", PROTECTIONS)
def test_rubbish_inside_a_sound_outer_envelope_is_refused(
    custody: Custody, protection: Protection, inner: bytes
) -> None:
    """The inner envelope protects by itself; the token's refusal is the same typed error, never a retriable one."""
    ref = reference(protection)
    with custody.token.manager() as session:
        blob = custody.envelopes.close(session, ref, inner)
    with pytest.raises(InvalidBlob):
        custody.open(ref, blob)


@pytest.mark.parametrize(
    "wrong",
    [
        KeyReference(bytes(15), 1, "SYMMETRIC_DEFAULT", "HSM"),
        KeyReference(bytes(16), 0, "SYMMETRIC_DEFAULT", "HSM"),
        KeyReference(bytes(16), 2**32, "SYMMETRIC_DEFAULT", "HSM"),
        KeyReference(bytes(16), 1, "RSA_1024", "HSM"),
        KeyReference(bytes(16), 1, "RSA_2048", "HSM", "GENERATE_VERIFY_MAC"),
        KeyReference(bytes(16), 1, "RSA_4096", "HSM", "IMPORT"),
        KeyReference(bytes(16), 1, "ML_KEM_512", "SOFTWARE", "KEY_ENCAPSULATION"),
        KeyReference(bytes(16), 1, "ML_DSA_65", "HSM", "SIGN_VERIFY"),
        KeyReference(bytes(16), 1, "SYMMETRIC_DEFAULT", "EXTERNAL"),  # type: ignore[arg-type]
    ],
)
def test_a_reference_that_no_key_has_is_refused(custody: Custody, wrong: KeyReference) -> None:
    """Before the token is asked for anything."""
    with pytest.raises((ValueError, Unsupported)):
        custody.generate(wrong)
    with pytest.raises((ValueError, Unsupported)):
        custody.open(wrong, b"")


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_another_token_does_not_open_it(
    custody: Custody, new_token: Callable[[], Token], protection: Protection
) -> None:
    """A blob is of use to nobody who has not the token that made it."""
    ref = reference(protection)
    blob = custody.generate(ref).blob
    elsewhere = Custody(new_token())
    elsewhere.provision()
    with pytest.raises(InvalidBlob):
        elsewhere.open(ref, blob)


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_generation_leaves_nothing_in_the_token(custody: Custody, protection: Protection) -> None:
    """After generating, and after opening and destroying, the token holds what it held before."""
    with custody.token.manager() as session:
        before = len(list(session.pkcs11.get_objects({})))
        ref = reference(protection)
        blob = custody.generate(ref).blob
        assert len(list(session.pkcs11.get_objects({}))) == before
        handle = custody.open(ref, blob)
        handle.destroy()
        handle.destroy()
        assert len(list(session.pkcs11.get_objects({}))) == before


def test_provisioning_again_changes_nothing(custody: Custody) -> None:
    """The keys are found under their ids; blobs made before still open."""
    ref = reference("HSM")
    blob = custody.generate(ref).blob
    again = Custody(custody.token)
    again.provision()
    again.open(ref, blob).destroy()
    with custody.token.manager() as session:
        assert len(list_ids(session, b"keyfold:")) == len(KINDS) + 4


def test_provisioning_finishes_what_a_crash_left(
    new_token: Callable[[], Token], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash after the first key: the next attempt makes the others and keeps the first."""
    token = new_token()
    half = Custody(token)
    with token.manager() as session:
        from keyfold.token.keys import create_key_encryption_key

        first = create_key_encryption_key(session, KEY_ENCRYPTION_KEY_ID, "kek")
    with pytest.raises(TokenKeyMissing):
        half.attach()
    half.provision()
    with token.manager() as session:
        assert require(session, KEY_ENCRYPTION_KEY_ID, KEY_ENCRYPTION_KEY).handle == first
    assert half.probe().ok


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_an_epoch_turn_rewraps_and_destroys(new_token: Callable[[], Token], protection: Protection) -> None:
    """Live keys move to the new epoch without being opened; the old copy never opens again, the new one does."""
    custody = Custody(new_token())
    custody.provision()
    ref = reference(protection)
    old = custody.generate(ref).blob
    ciphertext = protect(custody, ref, old, b"secret")
    custody.begin_epoch(2)
    custody.begin_epoch(2)
    assert custody.epoch == 2
    custody.open(ref, old).destroy()
    new = custody.rewrap(ref, old)
    assert (parse(old).epoch, parse(new).epoch) == (1, 2)
    with pytest.raises(ValueError, match="current"):
        custody.end_epoch(2)
    custody.end_epoch(1)
    custody.end_epoch(1)
    assert round_trip(custody, ref, new, ciphertext) == b"secret"
    with pytest.raises(InvalidBlob, match="epoch 1"):
        custody.open(ref, old)
    with custody.token.manager() as session:
        assert list_ids(session, EPOCH_PREFIX) == [EPOCH_PREFIX + b"2"]


def test_an_epoch_begun_elsewhere_is_found(new_token: Callable[[], Token]) -> None:
    """Another worker on the same token began the epoch: its blobs open without a restart."""
    token = new_token()
    first = Custody(token)
    first.provision()
    second = Custody(token)
    second.attach()
    first.begin_epoch(2)
    ref = reference("HSM")
    second.open(ref, first.generate(ref).blob).destroy()
