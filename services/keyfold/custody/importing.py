"""Importing key material: opened by an import's RSA key in the token, checked, and put into custody's envelopes.

The bytes that come in are described in `keyfold.events.import_format`. For an HSM key wrapped by
RSA_AES_KEY_WRAP_SHA_256 the material is opened and wrapped again inside the token; where the token has no OAEP with
SHA-256, the ephemeral AES key passes this process's memory (`keyfold.custody.oaep`). For RSAES_OAEP_SHA_256 on such a
token, and for SOFTWARE keys, the material itself does. The attributes say which: "import.unwrapped_in".

What does not open is `InvalidCiphertext`, whatever the cause; what opens and is no key of the spec is
`IncorrectKeyMaterial`. (AES-KWP authenticates, so the difference tells nothing of other ciphertexts.) Tokens answer to
numbers that are no key (d = 0, an even modulus) as if they were ill; `Importer` tells the two apart by sound material.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from keyfold.custody import blobs, private_keys
from keyfold.custody.check_values import (
    Checks,
    of_pair,
    of_secret,
    of_secret_in_token,
    public_half,
    require_working_pair,
)
from keyfold.custody.envelopes import Envelopes
from keyfold.custody.forms import Form, form_of, import_reference
from keyfold.custody.in_token_material import Inner, InTokenMaterial
from keyfold.custody.public_keys import encode
from keyfold.custody.references import InvalidBlob, KeyReference
from keyfold.custody.token_oaep import TokenOaep
from keyfold.events import import_format
from keyfold.events.errors import IncorrectKeyMaterial, InvalidCiphertext, TokenUnavailable, Unsupported
from keyfold.events.specs import is_asymmetric
from keyfold.token import ActionRefused, DataRefused, Session, Token, TokenError
from keyfold.token import cryptoki as ck
from keyfold.token import importing as token_importing
from keyfold.token import keys as token_keys
from keyfold.token.attributes import Described, describe
from keyfold.token.errors import HandleLost, TokenLost
from keyfold.token.operations import KeyOperations, Prepared, oaep

_SHA: Final = "256"
_ATTEMPTS: Final = 2
_WHERE: Final = "import.unwrapped_in"


class Imported(NamedTuple):
    """Imported material: as `Generated`, and two values to compare it by, in hexadecimal.

    `key_check_value` has 3 bytes and is for people: of an AES key as CKA_CHECK_VALUE, of an HMAC key from the MAC of 16
    zero bytes, of a pair from SHA-256 of the public key. `material_check` has 32 bytes, is made by a key in the token,
    and is the same for the same material of the same spec at either level.
    """

    blob: bytes
    public_key: bytes | None
    attributes: Described
    key_check_value: str
    material_check: str


class Importer:
    """Carries out imports on one token."""

    def __init__(self, token: Token, envelopes: Envelopes, in_token: InTokenMaterial) -> None:
        self._token, self._envelopes, self._in_token = token, envelopes, in_token
        self._oaep = TokenOaep()

    def run(
        self, reference: KeyReference, import_id: bytes, import_blob: bytes, wrapping_algorithm: str, wrapped: bytes
    ) -> Imported:
        """See `Custody.import_material`."""
        form = form_of(reference)
        if not import_format.takes(wrapping_algorithm, reference.spec):
            raise Unsupported(f"{wrapping_algorithm} does not wrap keys of {reference.spec}")
        if reference.protection == "HSM" and form.kind is None:
            raise Unsupported(f"the token does not take keys of {reference.spec}; import to the level SOFTWARE")
        import_key = import_reference(import_id, blobs.spec_of(import_blob))
        encrypted, material = import_format.split(wrapping_algorithm, import_key.spec, wrapped)
        with self._token.manager() as session, self._import_key(session, import_key, import_blob) as key:
            if reference.protection == "SOFTWARE":
                return self._to_memory(session, reference, self._open_in_memory(session, key, encrypted, material))
            return self._in_token_or_refused(session, reference, key, encrypted, material)

    def _in_token_or_refused(
        self, session: Session, reference: KeyReference, key: int, encrypted: bytes, material: bytes
    ) -> Imported:
        """Import to the level HSM. What fails twice, between sound material that does not, is no key."""
        for _ in range(_ATTEMPTS):
            try:
                with self._open_in_token(session, reference, key, encrypted, material) as (target, told):
                    return self._to_token(session, reference, target, told)
            except (TokenLost, HandleLost):
                raise
            except (TokenUnavailable, TokenError, InvalidBlob, ValueError):
                if not is_asymmetric(reference.spec):
                    raise
                self._require_well(session, reference)
        raise IncorrectKeyMaterial

    def _require_well(self, session: Session, reference: KeyReference) -> None:
        """Let sound material of the same kind go the same way. Raises `TokenUnavailable` where that fails.

        An RSA key of 2048 bits stands for all sizes, because it is made in a tenth of a second.
        """
        sample = reference._replace(spec="RSA_2048") if reference.spec.startswith("RSA_") else reference
        material, ephemeral = private_keys.encode(private_keys.generate(sample.spec)), os.urandom(32)
        wrapped = aes_key_wrap_with_padding(ephemeral, material)
        try:
            unwrapping_key = token_importing.put_unwrapping_key(session, ephemeral)
            with self._unwrapped_by(session, sample, unwrapping_key, wrapped) as target:
                self._to_token(session, sample, target, {})
        except (TokenLost, HandleLost):
            raise
        except (TokenUnavailable, TokenError, InvalidBlob, InvalidCiphertext, IncorrectKeyMaterial, ValueError):
            raise TokenUnavailable("the token fails with sound key material; look at it, then try again") from None

    @contextmanager
    def _import_key(self, session: Session, reference: KeyReference, blob: bytes) -> Iterator[int]:
        _, inner = self._envelopes.open(session, reference, blob)
        key = self._in_token.unwrap(session, reference, inner)
        try:
            yield key
        finally:
            token_keys.destroy(session, key)

    def _decrypt(self, session: Session, key: int, encrypted: bytes) -> bytes:
        (opened,) = self._oaep.decrypt_many(session, key, _SHA, [encrypted])
        if opened is None:
            raise InvalidCiphertext
        return opened

    def _open_in_memory(self, session: Session, key: int, encrypted: bytes, material: bytes) -> bytes:
        opened = self._decrypt(session, key, encrypted)
        if not material:
            return opened
        if len(opened) != import_format.EPHEMERAL_KEY_BYTES:
            raise InvalidCiphertext
        try:
            return aes_key_unwrap_with_padding(opened, material)
        except (InvalidUnwrap, ValueError):
            raise InvalidCiphertext from None

    def _to_memory(self, session: Session, reference: KeyReference, value: bytes) -> Imported:
        public_key = None
        if is_asymmetric(reference.spec):
            private = private_keys.decode(reference.spec, value)
            # Encoded anew: what a blob holds does not depend on how the caller encodes.
            value, public_key = private_keys.encode(private), encode(private.public_key())
        elif len(value) != form_of(reference).size:
            raise IncorrectKeyMaterial
        checks = of_pair(public_key) if public_key else of_secret(reference.spec, value)
        inner = self._envelopes.wrap_software(session, reference, value)
        told: Described = {**self._envelopes.described(None), _WHERE: "worker"}
        return self._imported(session, reference, Inner(inner, public_key, told), checks)

    @contextmanager
    def _open_in_token(
        self, session: Session, reference: KeyReference, key: int, encrypted: bytes, material: bytes
    ) -> Iterator[tuple[int, Described]]:
        """Give the handle of the opened material, which is destroyed at the end, and how it was opened."""
        form = form_of(reference)
        if form.kind is None:
            raise Unsupported
        if material and self._is_measurable(session, form, key):
            unwrapping_key, where = self._unwrapping_key(session, key, encrypted)
            with self._unwrapped_by(session, reference, unwrapping_key, material) as target:
                yield target, {_WHERE: "token", "import.ephemeral_key_in": where}
            return
        if not material and self._oaep.is_native(session, key, _SHA):
            target, where = self._unwrapped(session, reference, key, oaep(_SHA), encrypted), "token"
        else:
            value = self._open_in_memory(session, key, encrypted, material)
            if len(value) != form.size:
                raise IncorrectKeyMaterial
            target, where = token_importing.put_material(session, form.kind, value), "worker"
        try:
            yield target, {_WHERE: where}
        finally:
            token_keys.destroy(session, target)

    @contextmanager
    def _unwrapped_by(
        self, session: Session, reference: KeyReference, unwrapping_key: int, wrapped: bytes
    ) -> Iterator[int]:
        """Give the handle of what an AES key unwraps by AES-KWP; both are destroyed at the end."""
        try:
            target = self._unwrapped(session, reference, unwrapping_key, Prepared(ck.CKM_AES_KEY_WRAP_PAD), wrapped)
        finally:
            token_keys.destroy(session, unwrapping_key)
        try:
            yield target
        finally:
            token_keys.destroy(session, target)

    def _is_measurable(self, session: Session, form: Form, key: int) -> bool:
        """Whether the length of unwrapped material can be checked in the token.

        It can of pairs, and of multiples of 8 bytes. HMAC_224 has 28: where the ephemeral key passes this process's
        memory anyway, so does that material, rather than a key of 25 to 31 bytes being taken for one of 28.
        """
        return form.size % 8 == 0 or self._oaep.is_native(session, key, _SHA)

    def _unwrapping_key(self, session: Session, key: int, encrypted: bytes) -> tuple[int, str]:
        """The ephemeral AES key as a key in the token, and whether its value passed this process's memory."""
        if self._oaep.is_native(session, key, _SHA):
            try:
                return token_importing.unwrap_unwrapping_key(session, key, oaep(_SHA), encrypted), "token"
            except (DataRefused, ActionRefused):
                raise InvalidCiphertext from None
        value = self._decrypt(session, key, encrypted)
        if len(value) != import_format.EPHEMERAL_KEY_BYTES:
            raise InvalidCiphertext
        return token_importing.put_unwrapping_key(session, value), "worker"

    @staticmethod
    def _unwrapped(
        session: Session, reference: KeyReference, unwrapping_key: int, mechanism: Prepared, wrapped: bytes
    ) -> int:
        form = form_of(reference)
        try:
            if form.kind is not None and form.kind.is_secret:
                return token_importing.unwrap_secret(
                    session, form.kind, unwrapping_key, mechanism, wrapped, size=form.size
                )
            if form.kind is not None:
                longest = import_format.longest_wrapped(reference.spec)
                return token_importing.unwrap_private(session, form.kind, unwrapping_key, wrapped, longest=longest)
        except DataRefused:
            raise InvalidCiphertext from None
        except ActionRefused:
            raise IncorrectKeyMaterial from None
        raise Unsupported

    def _to_token(self, session: Session, reference: KeyReference, target: int, told: Described) -> Imported:
        form = form_of(reference)
        if form.kind is None:
            raise Unsupported
        public_key = public_half(session, form, target) if is_asymmetric(reference.spec) else None
        told = {**describe(session, target, "material"), **told}
        inner = self._in_token.wrap(session, form.kind, target)
        told.update(self._in_token.describe_unwrapped(session, form.kind, inner))
        copy = self._in_token.unwrap(session, reference, inner)
        try:
            if public_key:
                require_working_pair(session, form, copy, public_key)
            checks = of_pair(public_key) if public_key else of_secret_in_token(session, reference.spec, copy)
        finally:
            token_keys.destroy(session, copy)
        return self._imported(session, reference, Inner(inner, public_key, told), checks)

    def _imported(self, session: Session, reference: KeyReference, inner: Inner, checks: Checks) -> Imported:
        if not self._envelopes.import_check_key:
            raise Unsupported("the token has no key for import checks; give its user the right to make one")
        identity = reference.spec.encode() + b"\0" + checks.identity
        mechanism = Prepared(ck.CKM_HMAC["256"])
        (check,) = KeyOperations(session).sign_many(self._envelopes.import_check_key, mechanism, [identity])
        blob = self._envelopes.close(session, reference, inner.envelope)
        return Imported(blob, inner.public_key, dict(inner.attributes), checks.key_check_value.hex(), check.hex())
