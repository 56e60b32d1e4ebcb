"""HSM material: made in the kms token and wrapped there, or resident in it; opened into handles of the token.

It makes and opens inner envelopes only; the outer one is `keyfold.custody.envelopes`'s. Attributes are read while the
key is there: "material" is the fresh key (extractable until it was wrapped), "unwrapped" a copy that came back from
its own inner envelope as every later one will, "kek" the key encryption key.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from keyfold.custody.envelopes import Envelopes
from keyfold.custody.forms import Form, form_of
from keyfold.custody.public_keys import CURVES, encode
from keyfold.custody.references import InvalidBlob, KeyReference
from keyfold.events.errors import Unsupported
from keyfold.token import ActionRefused, DataRefused, Session, Token, TokenError, TokenKeyMissing, TokenKeyUntrusted
from keyfold.token import keys as token_keys
from keyfold.token import resident as residents
from keyfold.token.attributes import Described, describe, ec_point, rsa_public_numbers
from keyfold.token.kinds import Kind
from keyfold.token.material import FreshPair, Material, own_session

RESIDENT_PREFIX: Final = b"keyfold:key:"


class Inner(NamedTuple):
    """What goes into an outer envelope, and what is told of it."""

    envelope: bytes
    public_key: bytes | None
    attributes: Described
    is_resident: bool = False


class InTokenMaterial:
    """Makes and opens the inner envelopes of one token."""

    def __init__(self, token: Token, envelopes: Envelopes) -> None:
        self._token, self._envelopes = token, envelopes
        with token.manager() as session:
            self._material = Material(session)

    def generate(self, reference: KeyReference) -> Inner:
        """Make fresh material. Raises `Unsupported` where the token lacks a mechanism for it."""
        form = form_of(reference)
        if form.kind is None:
            return self._generate_resident(reference)
        key_encryption_key = self._envelopes.key_encryption_key(form.kind)
        try:
            with self._session(form) as session, self._fresh(session, form) as fresh:
                private = fresh.private if isinstance(fresh, FreshPair) else fresh
                public = _public_key(session, form, fresh) if isinstance(fresh, FreshPair) else None
                wrapped = self._material.wrap(session, key_encryption_key, private)
                told = describe(session, private, "material")
                return Inner(wrapped, public, {**told, **self.describe_unwrapped(session, form.kind, wrapped)})
        except ActionRefused:
            raise Unsupported(f"the token does not make keys of {reference.spec} for {reference.usage}") from None

    def describe_unwrapped(self, session: Session, kind: Kind, wrapped: bytes) -> Described:
        """What the token says of a copy that is unwrapped, and of its key encryption key."""
        copy = self._material.unwrap(session, kind, self._envelopes.key_encryption_key(kind), wrapped)
        try:
            return {**describe(session, copy, "unwrapped"), **self._envelopes.described(kind)}
        finally:
            token_keys.destroy(session, copy)

    @contextmanager
    def _session(self, form: Form) -> Iterator[Session]:
        """RSA keys take seconds to make: meanwhile the manager session serves others."""
        is_rsa = form.kind is not None and not form.kind.is_secret and not form.curve
        with own_session(self._token) if is_rsa else self._token.manager() as session:
            yield session

    @contextmanager
    def _fresh(self, session: Session, form: Form) -> Iterator[int | FreshPair]:
        kind = form.kind
        if kind is None:
            raise Unsupported
        if kind.is_secret:
            with self._material.fresh_secret(session, kind, form.size) as secret:
                yield secret
        elif form.curve:
            with self._material.fresh_ec(session, kind, form.curve) as pair:
                yield pair
        else:
            with self._material.fresh_rsa(session, kind, form.size) as pair:
                yield pair

    def wrap(self, session: Session, kind: Kind, key: int) -> bytes:
        """Return the inner envelope of an extractable key of a kind."""
        return self._material.wrap(session, self._envelopes.key_encryption_key(kind), key)

    def unwrap(self, session: Session, reference: KeyReference, inner: bytes) -> int:
        """Return the handle of a session key. Raises `InvalidBlob`."""
        kind = form_of(reference).kind
        if kind is None:
            raise InvalidBlob("the key is resident in the token, its blob says otherwise; restore the keystore")
        try:
            return self._material.unwrap(session, kind, self._envelopes.key_encryption_key(kind), inner)
        except (DataRefused, ActionRefused):
            raise InvalidBlob("the token refuses the key material inside the blob; restore the keystore") from None

    def _generate_resident(self, reference: KeyReference) -> Inner:
        """If we crash after this, the pair is found again under its id, or among `list_resident`."""
        with self._token.manager() as session:
            try:
                private, raw = residents.create(session, resident_id(reference.key_id, reference.version))
            except ActionRefused:
                raise Unsupported(f"the token does not make keys of {reference.spec}") from None
            public = encode(Ed25519PublicKey.from_public_bytes(raw))
            return Inner(sha256(public).digest(), public, describe(session, private, "resident"), is_resident=True)

    def find_resident(self, session: Session, reference: KeyReference, inner: bytes) -> int:
        """Return the handle of a resident key. Raises `InvalidBlob` if it is gone or is another than the blob says."""
        try:
            private, raw = residents.require(session, resident_id(reference.key_id, reference.version))
        except (TokenKeyMissing, TokenKeyUntrusted) as error:
            raise InvalidBlob(str(error)) from None
        if sha256(encode(Ed25519PublicKey.from_public_bytes(raw))).digest() != inner:
            raise InvalidBlob("the resident key in the token is another than the blob's; restore the keystore or token")
        return private


def resident_id(key_id: bytes, version: int) -> bytes:
    """The CKA_ID of a resident key."""
    return RESIDENT_PREFIX + f"{key_id.hex()}:{version}".encode()


def resident_name(key_id: bytes) -> tuple[bytes, int]:
    """The key id and version in a resident key's CKA_ID. Raises `TokenKeyUntrusted` if it is malformed."""
    name, _, version = key_id.removeprefix(RESIDENT_PREFIX).decode("ascii", "replace").partition(":")
    try:
        return bytes.fromhex(name), int(version)
    except ValueError:
        raise TokenKeyUntrusted("the token holds a key with a malformed name; an operator must look at it") from None


def _public_key(session: Session, form: Form, pair: FreshPair) -> bytes:
    public: PublicKeyTypes
    if not form.curve:
        public = rsa_public_numbers(session, pair.public).public_key()
        return encode(public)
    point = ec_point(session, pair.public)
    curve = CURVES[form.curve_name]()
    size = 1 + 2 * ((curve.key_size + 7) // 8)
    # The point is bare or in a DER OCTET STRING, whose header is then before it.
    if len(point) < size:
        raise TokenError("the token's public key is not a point of its curve; use another token or module")
    public = ec.EllipticCurvePublicKey.from_encoded_point(curve, point[-size:])
    return encode(public)
