"""An Ed25519 signing identity that lives in a token (the root identity, the notary): made there, never readable.

It signs what it is given; what may be signed is the caller's business.
"""

from hashlib import sha256
from typing import Any, Final

from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, Object, ObjectClass, PrivateKey, PublicKey

from keyfold.token.errors import TokenError, TokenKeyMissing, TokenKeyUntrusted, translated
from keyfold.token.keys import deviations_of
from keyfold.token.session import Session, Token
from keyfold.token.templates import GENERATED, SIGNING_PRIVATE, SIGNING_PUBLIC

IDENTITY_ID: Final = b"keyfold:identity"
PUBLIC_KEY_BYTES: Final = 32


def create_signing_identity(token: Token) -> bytes:
    """Make the token's Ed25519 key pair unless it has one; return the raw public key, 32 bytes.

    If we crash half-way, calling it again gives the same identity or makes the missing one. Raises
    `TokenKeyUntrusted` if a key lies there that was not made in the token or can leave it.
    """
    with token.manager() as session:
        try:
            return _raw_public(_require(session)[0])
        except TokenKeyMissing:
            pass
        with translated("create a signing identity"):
            session.pkcs11.generate_keypair(
                KeyType.EC_EDWARDS,
                id=IDENTITY_ID,
                label="keyfold identity",
                store=True,
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                public_template=dict(SIGNING_PUBLIC),
                private_template=dict(SIGNING_PRIVATE),
            )
        return _raw_public(_require(session)[0])


class TokenSigner:
    """Signs with the identity in a token. Raises `TokenKeyMissing` or `TokenKeyUntrusted` when made."""

    def __init__(self, token: Token) -> None:
        self._token = token
        with token.manager() as session:
            public, self._private = _require(session)
            self.public_key = _raw_public(public)
        self.fingerprint = sha256(self.public_key).hexdigest()

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature (RFC 8032) over a message."""
        # The key's object is bound to the manager session, which the lock keeps to one thread.
        with self._token.manager(), translated("sign in the token"):
            signature: bytes = self._private.sign(message, mechanism=Mechanism.EDDSA)
        return signature


def decode_ec_point(point: bytes) -> bytes:
    """Return the raw 32-byte Ed25519 public key of a CKA_EC_POINT.

    PKCS#11 v3.0 (section 6.3.5) wraps the point in a DER OCTET STRING, as SoftHSM2 does; some tokens give it bare.
    """
    if len(point) == PUBLIC_KEY_BYTES + 2 and point[:2] == bytes((0x04, PUBLIC_KEY_BYTES)):
        return point[2:]
    if len(point) == PUBLIC_KEY_BYTES:
        return point
    raise TokenError("the token's public key is not an Ed25519 point; use another token or module")


def _require(session: Session) -> tuple[PublicKey, Any]:
    publics = _find(session, ObjectClass.PUBLIC_KEY)
    privates = _find(session, ObjectClass.PRIVATE_KEY)
    if not publics or not privates:
        raise TokenKeyMissing(f"token {session.pkcs11.token.label!r} holds no identity; run its ceremony")
    if len(publics) > 1 or len(privates) > 1:
        raise TokenKeyUntrusted("the token holds more than one identity; an operator must look at it")
    public, private = publics[0], privates[0]
    wanted = {**SIGNING_PRIVATE, **GENERATED, Attribute.TOKEN: True, Attribute.KEY_TYPE: KeyType.EC_EDWARDS}
    deviations = deviations_of(private, wanted)
    if deviations or not isinstance(public, PublicKey) or not isinstance(private, PrivateKey):
        raise TokenKeyUntrusted(f"the token's identity is not what it must be: {', '.join(deviations)}")
    return public, private


def _find(session: Session, kind: ObjectClass) -> list[Object]:
    with translated("look for the identity"):
        return list(session.pkcs11.get_objects({Attribute.CLASS: kind, Attribute.ID: IDENTITY_ID}))


def _raw_public(public: PublicKey) -> bytes:
    with translated("read the public key"):
        return decode_ec_point(public[Attribute.EC_POINT])
