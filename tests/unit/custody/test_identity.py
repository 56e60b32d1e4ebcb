"""A signing identity in a token: made once, verified by another implementation, refused when planted."""

from collections.abc import Callable
from hashlib import sha256

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from keyfold.token import (
    Token,
    TokenError,
    TokenKeyMissing,
    TokenKeyUntrusted,
    TokenSigner,
    create_signing_identity,
)
from keyfold.token.deviations import COMMON, Target
from keyfold.token.identity import IDENTITY_ID, decode_ec_point
from keyfold.token.probe import allows
from keyfold.token.templates import SIGNING_PRIVATE, SIGNING_PUBLIC

pytestmark = pytest.mark.token


@pytest.mark.parametrize("message", [b"", b"x", b"statement" * 1000])
def test_signatures_verify_outside_the_token(token: Token, message: bytes) -> None:
    """The raw public key and the 64-byte signature are plain Ed25519 (RFC 8032)."""
    public = create_signing_identity(token)
    signature = TokenSigner(token).sign(message)
    assert (len(public), len(signature)) == (32, 64)
    Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message + b"!")


def test_creating_it_again_gives_the_same(token: Token) -> None:
    """A ceremony that is repeated after a crash finds its identity."""
    assert create_signing_identity(token) == create_signing_identity(token) == TokenSigner(token).public_key


def test_the_fingerprint_is_the_keys(token: Token) -> None:
    """Lower-case hex of SHA-256 over the 32 raw bytes, as everywhere."""
    public = create_signing_identity(token)
    assert TokenSigner(token).fingerprint == sha256(public).hexdigest()


def test_a_token_without_identity_is_told(new_token: Callable[[], Token]) -> None:
    """The error says what to run."""
    with pytest.raises(TokenKeyMissing, match="ceremony"):
        TokenSigner(new_token())


@pytest.mark.parametrize("name", [name for name in COMMON if not name.startswith(("unwrap", "wrap"))])
def test_no_way_around_the_private_key(token: Token, name: str) -> None:
    """It cannot be read, copied or changed, with the PIN in hand."""
    create_signing_identity(token)
    with token.manager() as session:
        wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: IDENTITY_ID}
        (key,) = session.pkcs11.get_objects(wanted)
        assert not allows(COMMON[name], Target(session, key, key, None, None))


def test_a_weak_identity_is_not_trusted(new_token: Callable[[], Token]) -> None:
    """A private key that could leave the token is refused, by the attribute's name."""
    token = new_token()
    with token.manager() as session:
        session.pkcs11.generate_keypair(
            KeyType.EC_EDWARDS,
            id=IDENTITY_ID,
            store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            public_template=dict(SIGNING_PUBLIC),
            private_template={**SIGNING_PRIVATE, Attribute.EXTRACTABLE: True},
        )
    with pytest.raises(TokenKeyUntrusted, match="EXTRACTABLE"):
        create_signing_identity(token)


def test_a_second_identity_is_not_trusted(new_token: Callable[[], Token]) -> None:
    """Two key pairs under one id: no guessing which is right."""
    token = new_token()
    create_signing_identity(token)
    with token.manager() as session:
        session.pkcs11.generate_keypair(
            KeyType.EC_EDWARDS,
            id=IDENTITY_ID,
            store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            public_template=dict(SIGNING_PUBLIC),
            private_template=dict(SIGNING_PRIVATE),
        )
    with pytest.raises(TokenKeyUntrusted, match="more than one"):
        TokenSigner(token)


@pytest.mark.parametrize("point", [bytes(32), b"\x04\x20" + bytes(32)])
def test_points_come_wrapped_or_bare(point: bytes) -> None:
    """A DER OCTET STRING (PKCS#11 v3.0) or 32 raw bytes."""
    assert decode_ec_point(point) == bytes(32)


@pytest.mark.parametrize(
    "point", [b"", bytes(31), bytes(33), bytes(34), b"\x04\x21" + bytes(32), b"\x03\x20" + bytes(32)]
)
def test_other_points_are_refused(point: bytes) -> None:
    """No guessing."""
    with pytest.raises(TokenError):
        decode_ec_point(point)
