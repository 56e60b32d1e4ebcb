"""Material that comes into a token wrapped by someone else: put together here, to be wrapped again at once.

Unlike material that the token made, it says CKA_LOCAL false. Each key that is made here is a session object that is
extractable until the caller has wrapped and destroyed it. Everything takes the manager session.
"""

from typing import Final

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from keyfold.token import cryptoki
from keyfold.token.attributes import value_length
from keyfold.token.cryptoki import CkMechanism
from keyfold.token.errors import ActionRefused, DataRefused, translated
from keyfold.token.keys import destroy, handle_of
from keyfold.token.kinds import Kind
from keyfold.token.material import create, unwrap, unwrap_padded, wrap
from keyfold.token.operations import Prepared
from keyfold.token.session import Session
from keyfold.token.templates import Template, sealed

_UNWRAPPING: Final[Template] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES,
    Attribute.ALLOWED_MECHANISMS: (Mechanism.AES_KEY_WRAP_PAD,), **sealed(Attribute.UNWRAP, TOKEN=False),
}  # fmt: skip
_RULER: Final[Template] = {
    Attribute.ALLOWED_MECHANISMS: (Mechanism.AES_KEY_WRAP,), **sealed(Attribute.WRAP, TOKEN=False),
}  # fmt: skip
_KW: Final = CkMechanism(cryptoki.CKM_AES_KEY_WRAP, None, 0)
_ANYTHING: Final[Template] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET, **sealed(TOKEN=False),
}  # fmt: skip


def put_unwrapping_key(session: Session, value: bytes) -> int:
    """Put an AES key whose value is in this process's memory into the token, only to unwrap by AES-KWP."""
    return create(session, {**_UNWRAPPING, Attribute.VALUE: value})


def unwrap_unwrapping_key(session: Session, rsa_key: int, mechanism: Prepared, wrapped: bytes) -> int:
    """Unwrap such an AES key by an RSA key and the token's own OAEP. Raises `DataRefused`, `ActionRefused`."""
    return unwrap(session, mechanism.structure, rsa_key, wrapped, session.mapper.pack(_UNWRAPPING))


def put_material(session: Session, kind: Kind, value: bytes) -> int:
    """Put a secret key whose value is in this process's memory into the token."""
    return create(session, {**kind.transient(), Attribute.VALUE: value})


def unwrap_material(session: Session, kind: Kind, unwrapping_key: int, wrapped: bytes) -> int:
    """Unwrap material by AES-KWP. Raises `DataRefused` if it does not open, `ActionRefused` if it is another kind's.

    An EC key may sign and agree on secrets until it is wrapped: that is how its public half is found.
    """
    usages = (Attribute.SIGN, Attribute.DERIVE) if kind.key_type is KeyType.EC else ()
    try:
        return unwrap_padded(session, unwrapping_key, wrapped, kind.transient(*usages))
    except (DataRefused, ActionRefused):
        # Tokens say the same to bytes that do not open and to bytes that are no such key. As a secret key, bytes of
        # any content open.
        destroy(session, unwrap_padded(session, unwrapping_key, wrapped, _ANYTHING))
        raise ActionRefused("the material opens, and is no key of its kind") from None


def secret_length(session: Session, key: int) -> int:
    """Return how many bytes an extractable secret key has; 0 if that cannot be told without reading it.

    SoftHSM2 does not tell CKA_VALUE_LEN of what it unwrapped. AES-KW (SP 800-38F, without padding) takes multiples of 8
    bytes only and adds 8: wrapping the key once, by a key that nobody keeps, measures it.
    """
    told = value_length(session, key)
    if told:
        return told
    with translated("measure a key"):
        ruler = session.pkcs11.generate_key(KeyType.AES, 256, store=False, template=dict(_RULER))
    try:
        return len(wrap(session, _KW, handle_of(ruler), key)) - 8
    except (ActionRefused, DataRefused):
        return 0
    finally:
        destroy(session, handle_of(ruler))


def unwrap_material_by_rsa(session: Session, kind: Kind, rsa_key: int, mechanism: Prepared, wrapped: bytes) -> int:
    """Unwrap a secret key by an RSA key and the token's own OAEP. Raises `DataRefused`, `ActionRefused`."""
    return unwrap(session, mechanism.structure, rsa_key, wrapped, session.mapper.pack(kind.transient()))
