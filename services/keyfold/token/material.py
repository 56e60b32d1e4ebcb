"""Key material that is made in a token, leaves it wrapped, and comes back for use: always by the templates of its kind.

Wrapping is AES-KWP (SP 800-38F) under the kind's key encryption key; private keys are wrapped as PKCS #8. Material that
is made here must be extractable until it is wrapped, which is a moment within one call; no usage is allowed with it
meanwhile. An unwrapped key lives until it is destroyed or the session that unwrapped it is closed.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from pkcs11 import Attribute, ObjectClass

from keyfold.events.errors import TokenUnavailable
from keyfold.token import cryptoki
from keyfold.token.cryptoki import CkMechanism
from keyfold.token.errors import (
    CKR_FUNCTION_FAILED,
    CKR_GENERAL_ERROR,
    DataRefused,
    SessionLimit,
    TokenError,
    TokenLost,
    check,
)
from keyfold.token.keys import destroy
from keyfold.token.kinds import KINDS, Kind
from keyfold.token.session import Session, Token
from keyfold.token.templates import PackedTemplate, Template

MAX_WRAPPED_BYTES: Final = 4096
"""An RSA-4096 private key as PKCS #8 has 2,374 bytes."""
_KWP: Final = CkMechanism(cryptoki.CKM_AES_KEY_WRAP_PAD, None, 0)
_AES_GEN: Final = CkMechanism(cryptoki.CKM_AES_KEY_GEN, None, 0)
_SECRET_GEN: Final = CkMechanism(cryptoki.CKM_GENERIC_SECRET_KEY_GEN, None, 0)
_RSA_GEN: Final = CkMechanism(cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, None, 0)
_EC_GEN: Final = CkMechanism(cryptoki.CKM_EC_KEY_PAIR_GEN, None, 0)
_PUBLIC: Final[Template] = {
    Attribute.TOKEN: False, Attribute.ENCRYPT: False, Attribute.VERIFY: False, Attribute.WRAP: False,
}  # fmt: skip


class FreshPair(NamedTuple):
    """Handles of a key pair that was just made: the private half is extractable and must be destroyed soon."""

    private: int
    public: int


class Material:
    """The templates of all kinds, packed once for one token."""

    def __init__(self, session: Session) -> None:
        self._fresh = {kind: session.mapper.pack(kind.fresh) for kind in KINDS}
        self._secrets: dict[tuple[Kind, int], PackedTemplate] = {}
        self._unwrapped = {kind: session.mapper.pack(kind.pin) for kind in KINDS}

    @contextmanager
    def fresh_secret(self, session: Session, kind: Kind, size: int) -> Iterator[int]:
        """A new secret key of `size` bytes, destroyed at the end of the block."""
        template = self._secrets.get((kind, size))
        if template is None:
            template = session.mapper.pack({**kind.fresh, Attribute.VALUE_LEN: size})
            self._secrets[kind, size] = template
        handle = ctypes.c_ulong()
        mechanism = _AES_GEN if kind.name == "secret:aes" else _SECRET_GEN
        rv = session.functions.generate_key(
            session.handle, ctypes.addressof(mechanism), template.address, template.count, ctypes.addressof(handle)
        )
        check(rv, "generate key material")
        try:
            yield handle.value
        finally:
            destroy(session, handle.value)

    @contextmanager
    def fresh_rsa(self, session: Session, kind: Kind, bits: int) -> Iterator[FreshPair]:
        """A new RSA key pair with the exponent 65537; takes seconds. Destroyed at the end of the block."""
        public = {Attribute.MODULUS_BITS: bits, Attribute.PUBLIC_EXPONENT: b"\x01\x00\x01"}
        with self._fresh_pair(session, _RSA_GEN, kind, public) as made:
            yield made

    @contextmanager
    def fresh_ec(self, session: Session, kind: Kind, curve: bytes) -> Iterator[FreshPair]:
        """A new key pair on a curve (CKA_EC_PARAMS, the DER of its OID). Destroyed at the end of the block."""
        with self._fresh_pair(session, _EC_GEN, kind, {Attribute.EC_PARAMS: curve}) as made:
            yield made

    @contextmanager
    def _fresh_pair(
        self, session: Session, mechanism: CkMechanism, kind: Kind, public: Template
    ) -> Iterator[FreshPair]:
        whole = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: kind.key_type, **_PUBLIC, **public}
        wanted, private = session.mapper.pack(whole), self._fresh[kind]
        made = (ctypes.c_ulong(), ctypes.c_ulong())
        rv = session.functions.generate_key_pair(
            session.handle, ctypes.addressof(mechanism), wanted.address, wanted.count, private.address, private.count,
            ctypes.addressof(made[0]), ctypes.addressof(made[1]),
        )  # fmt: skip
        check(rv, "generate a key pair")
        try:
            yield FreshPair(made[1].value, made[0].value)
        finally:
            destroy(session, made[1].value)
            destroy(session, made[0].value)

    def wrap(self, session: Session, key_encryption_key: int, key: int) -> bytes:
        """Return an extractable key wrapped.

        SoftHSM2 fills up a secret key to a multiple of 8 bytes with zeros: a key for HMAC-SHA-224 comes back with 32
        bytes and makes the same MACs (FIPS 198-1, step 3).
        """
        return wrap(session, _KWP, key_encryption_key, key)

    def unwrap(self, session: Session, kind: Kind, key_encryption_key: int, wrapped: bytes) -> int:
        """Return the handle of a session key that any session with this token can use.

        Raises `DataRefused` or `ActionRefused`. SoftHSM2 answers CKR_GENERAL_ERROR to damaged bytes, so that value is
        taken for a refusal: use this right after another operation has shown that the token is well.
        """
        return unwrap(session, _KWP, key_encryption_key, wrapped, self._unwrapped[kind])


def wrap(session: Session, mechanism: CkMechanism, wrapping_key: int, key: int) -> bytes:
    """C_WrapKey."""
    buffer = ctypes.create_string_buffer(MAX_WRAPPED_BYTES)
    length = ctypes.c_ulong(len(buffer))
    rv = session.functions.wrap_key(
        session.handle, ctypes.addressof(mechanism), wrapping_key, key,
        ctypes.addressof(buffer), ctypes.addressof(length),
    )  # fmt: skip
    check(rv, "wrap key material")
    return buffer.raw[: length.value]


def unwrap(session: Session, mechanism: CkMechanism, unwrapping_key: int, wrapped: bytes, as_: PackedTemplate) -> int:
    """C_UnwrapKey; raises as `Material.unwrap` does."""
    handle = ctypes.c_ulong()
    rv = session.functions.unwrap_key(
        session.handle, ctypes.addressof(mechanism), unwrapping_key, wrapped, len(wrapped),
        as_.address, as_.count, ctypes.addressof(handle),
    )  # fmt: skip
    if rv in {CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED}:
        raise DataRefused("unwrap a key: the bytes do not open with this key")
    check(rv, "unwrap a key")
    return handle.value


def unwrap_padded(session: Session, unwrapping_key: int, wrapped: bytes, template: Template) -> int:
    """Unwrap by AES-KWP to a key of another template: material of an import, on its way to being wrapped again."""
    return unwrap(session, _KWP, unwrapping_key, wrapped, session.mapper.pack(template))


def create(session: Session, template: Template) -> int:
    """C_CreateObject: put a key into the token whose value is in this process's memory."""
    # Freed by Python, and overwritten first: the packed template holds the value.
    packed, handle = session.mapper.pack(template), ctypes.c_ulong()
    try:
        rv = session.functions.create_object(session.handle, packed.address, packed.count, ctypes.addressof(handle))
    finally:
        packed.wipe()
    check(rv, "put a key into the token")
    return handle.value


@contextmanager
def own_session(token: Token) -> Iterator[Session]:
    """A session beside the pool's and the manager's, for what takes seconds. Its keys are gone when it is closed.

    A token that opens no more sessions is used through the manager's, and others wait meanwhile.
    """
    with token.manager() as manager:
        own = _another_session(token, manager)
        if own is None:
            yield manager
            return
    try:
        yield own
    except TokenLost:
        token.lose()
        raise
    finally:
        with suppress(TokenUnavailable, TokenError):
            own.close()


def _another_session(token: Token, manager: Session) -> Session | None:
    try:
        opened = token.module.open_session(manager.pkcs11.token, manager.mapper)
    except SessionLimit:
        return None
    return Session(token.module, opened, manager.mapper)
