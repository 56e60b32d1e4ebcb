"""Material that comes into a token wrapped by someone else: put together here, to be wrapped again at once.

Unlike material that the token made, it says CKA_LOCAL false. Each key that is made here is a session object that is
extractable until the caller has wrapped and destroyed it. Everything takes the manager session.
"""

from contextlib import suppress
from typing import Final

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from keyfold.token import cryptoki
from keyfold.token.attributes import value_length
from keyfold.token.errors import ActionRefused, DataRefused, translated
from keyfold.token.keys import destroy, handle_of
from keyfold.token.kinds import Kind
from keyfold.token.material import create, unwrap, unwrap_padded, wrap
from keyfold.token.operations import KeyOperations, Prepared
from keyfold.token.session import Session
from keyfold.token.templates import Template, sealed

_UNWRAPPING: Final[Template] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES,
    Attribute.ALLOWED_MECHANISMS: (Mechanism.AES_KEY_WRAP_PAD,), **sealed(Attribute.UNWRAP, TOKEN=False),
}  # fmt: skip
_RULER: Final[Template] = {
    Attribute.ALLOWED_MECHANISMS: (Mechanism.AES_KEY_WRAP_PAD,), **sealed(Attribute.WRAP, TOKEN=False),
}  # fmt: skip
_MEASURED: Final[Template] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
    **sealed(Attribute.SIGN, TOKEN=False, EXTRACTABLE=True),
}  # fmt: skip
_HASH_BITS: Final = {32: "256", 48: "384", 64: "512"}
_KWP: Final = Prepared(cryptoki.CKM_AES_KEY_WRAP_PAD)


def put_unwrapping_key(session: Session, value: bytes) -> int:
    """Put an AES key whose value is in this process's memory into the token, only to unwrap by AES-KWP."""
    return create(session, {**_UNWRAPPING, Attribute.VALUE: value})


def unwrap_unwrapping_key(session: Session, rsa_key: int, mechanism: Prepared, wrapped: bytes) -> int:
    """Unwrap such an AES key by an RSA key and the token's own OAEP. Raises `DataRefused`, `ActionRefused`."""
    return unwrap(session, mechanism.structure, rsa_key, wrapped, session.mapper.pack(_UNWRAPPING))


def put_material(session: Session, kind: Kind, value: bytes) -> int:
    """Put a secret key whose value is in this process's memory into the token."""
    return create(session, {**kind.transient(), Attribute.VALUE: value})


def unwrap_private(session: Session, kind: Kind, unwrapping_key: int, wrapped: bytes, *, longest: int) -> int:
    """Unwrap a private key by AES-KWP. Raises `DataRefused` if it does not open, `ActionRefused` if it is no such key.

    `longest`: bytes of ciphertext; more than these are no such key, and never become one in the token. An EC key may
    sign and agree on secrets until it is wrapped: that is how its public half is found.
    """
    usages = (Attribute.SIGN, Attribute.DERIVE) if kind.key_type is KeyType.EC else ()
    if len(wrapped) <= longest:
        with suppress(DataRefused, ActionRefused):
            return unwrap_padded(session, unwrapping_key, wrapped, kind.transient(*usages))
    # Tokens say the same to bytes that do not open and to bytes that are no such key. As a secret key, bytes of any
    # content open.
    destroy(session, unwrap_padded(session, unwrapping_key, wrapped, _MEASURED))
    raise ActionRefused("the material opens, and is no key of its kind")


def unwrap_secret(
    session: Session, kind: Kind, unwrapping_key: int, mechanism: Prepared, wrapped: bytes, *, size: int
) -> int:
    """Unwrap a secret key of `size` bytes. Raises `DataRefused` if it does not open, `ActionRefused` for another size.

    The mechanism is AES-KWP, or an OAEP that the token has itself.
    """
    measured = unwrap(session, mechanism.structure, unwrapping_key, wrapped, session.mapper.pack(_MEASURED))
    try:
        if not _has_length(session, measured, size):
            raise ActionRefused("the material opens, and has another length")
    finally:
        destroy(session, measured)
    return unwrap(session, mechanism.structure, unwrapping_key, wrapped, session.mapper.pack(kind.transient()))


def _has_length(session: Session, key: int, size: int) -> bool:
    """Whether a secret key has that many bytes, found without reading it.

    SoftHSM2 does not tell CKA_VALUE_LEN of what it unwrapped, and fills up to a multiple of 8 what it wraps. There,
    wrapping gives the upper bound, and its refusal to make an HMAC with a key that is shorter than the hash gives the
    lower one. That it refuses is tried on a key that is a byte too short.
    """
    told = value_length(session, key)
    if told:
        return told == size
    if size not in _HASH_BITS:
        return False
    with translated("measure a key"):
        ruler = session.pkcs11.generate_key(KeyType.AES, 256, store=False, template=dict(_RULER))
        short = session.pkcs11.generate_key(
            KeyType.GENERIC_SECRET, 8 * (size - 1), store=False, template=sealed(Attribute.SIGN),
            mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
        )  # fmt: skip
    try:
        at_most = len(wrap(session, _KWP.structure, handle_of(ruler), key)) - 8
        hashes = (_makes_mac(session, each, _HASH_BITS[size]) for each in (key, handle_of(short)))
        return at_most == size and [*hashes] == [True, False]
    finally:
        destroy(session, handle_of(ruler))
        destroy(session, handle_of(short))


def _makes_mac(session: Session, key: int, bits: str) -> bool:
    try:
        KeyOperations(session).sign_many(key, Prepared(cryptoki.CKM_HMAC[bits]), [b""])
    except ActionRefused:
        return False
    return True
