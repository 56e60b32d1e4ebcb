"""Keys that stay in the token because it does not wrap them: found again after a crash, destroyed on demand."""

import os
from collections.abc import Callable

import pytest
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from keyfold.custody import Custody, InvalidBlob, KeyReference, TokenOperations, verify
from keyfold.custody.blobs import parse
from keyfold.token import Token, TokenKeyUntrusted
from keyfold.token.templates import SIGNING_PRIVATE, SIGNING_PUBLIC

pytestmark = pytest.mark.token

SPEC, ALGORITHM = "ECC_NIST_EDWARDS25519", "ED25519_SHA_512"


def reference(key_id: bytes | None = None, version: int = 1) -> KeyReference:
    return KeyReference(key_id or os.urandom(16), version, SPEC, "HSM", "SIGN_VERIFY")


def signature(custody: Custody, ref: KeyReference, blob: bytes) -> bytes:
    handle = custody.open(ref, blob)
    (made,) = TokenOperations(custody.token).sign(handle, ALGORITHM, "RAW", [b"message"])
    handle.destroy()
    assert isinstance(made, bytes)
    return made


def test_making_it_again_gives_the_same_key(custody: Custody) -> None:
    """A crash between the token and the log: the next attempt finds the pair under its id."""
    ref = reference()
    first, second = custody.generate(ref), custody.generate(ref)
    assert first.public_key == second.public_key
    assert parse(first.blob).is_resident
    for made in (first, second):
        assert verify(made.public_key or b"", ALGORITHM, "RAW", [(b"message", signature(custody, ref, made.blob))]) == [
            True
        ]


def test_a_half_made_pair_is_made_anew(custody: Custody) -> None:
    """A public half alone is nobody's key."""
    ref = reference()
    first = custody.generate(ref)
    with custody.token.manager() as session:
        wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: cka_id(ref)}
        for half in session.pkcs11.get_objects(wanted):
            half.destroy()
    second = custody.generate(ref)
    assert second.public_key != first.public_key
    assert signature(custody, ref, second.blob)
    with pytest.raises(InvalidBlob, match="another"):
        custody.open(ref, first.blob)


def cka_id(ref: KeyReference) -> bytes:
    """Literally: the prefix, the key id in hexadecimal, the version."""
    return b"keyfold:key:" + ref.key_id.hex().encode() + b":" + str(ref.version).encode()


def test_handles_do_not_destroy_it(custody: Custody) -> None:
    """Closing a handle leaves the key; erasing destroys it, once, and then its blob opens nothing."""
    ref = reference()
    made = custody.generate(ref)
    signature(custody, ref, made.blob)
    signature(custody, ref, made.blob)
    assert custody.erase(ref, made.blob) is True
    assert custody.erase(ref, made.blob) is False
    with pytest.raises(InvalidBlob, match="no key pair"):
        custody.open(ref, made.blob)


def test_residents_are_listed(new_token: Callable[[], Token]) -> None:
    """By key id and version, sorted; what no blob speaks of can be erased by its name."""
    custody = Custody(new_token())
    custody.provision()
    one, two = sorted((os.urandom(16), os.urandom(16)))
    for ref in (reference(two, 1), reference(one, 2), reference(one, 1)):
        custody.generate(ref)
    assert custody.list_resident() == [(one, 1), (one, 2), (two, 1)]
    assert custody.erase_resident(one, 2) is True
    assert custody.erase_resident(one, 2) is False
    assert custody.list_resident() == [(one, 1), (two, 1)]


def test_erasing_a_wrapped_key_does_nothing(custody: Custody) -> None:
    """Its blob is all there is of it."""
    ref = KeyReference(os.urandom(16), 1, "ECC_NIST_P256", "HSM", "SIGN_VERIFY")
    made = custody.generate(ref)
    assert custody.erase(ref, made.blob) is False
    custody.open(ref, made.blob).destroy()


def test_an_epoch_turn_handles_it_like_any_other(new_token: Callable[[], Token]) -> None:
    """The blob moves to the next epoch; the old one never opens again; the key stays."""
    custody = Custody(new_token())
    custody.provision()
    ref = reference()
    old = custody.generate(ref).blob
    custody.begin_epoch(2)
    new = custody.rewrap(ref, old)
    custody.end_epoch(1)
    assert (custody.epoch_of(old), custody.epoch_of(new)) == (1, 2)
    assert parse(new).is_resident
    assert signature(custody, ref, new)
    with pytest.raises(InvalidBlob):
        custody.open(ref, old)


@pytest.mark.parametrize("change", [{Attribute.EXTRACTABLE: True}, {Attribute.SENSITIVE: False}])
def test_a_weaker_key_under_the_id_is_not_opened(custody: Custody, change: dict[Attribute, bool]) -> None:
    """Somebody with the PIN plants a pair that can leave the token: generation refuses it by name."""
    ref = reference()
    with custody.token.manager() as session:
        session.pkcs11.generate_keypair(
            KeyType.EC_EDWARDS,
            id=cka_id(ref),
            label="planted",
            store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            public_template=dict(SIGNING_PUBLIC),
            private_template={**SIGNING_PRIVATE, **change},
        )
    with pytest.raises(TokenKeyUntrusted, match=next(iter(change)).name):
        custody.generate(ref)
