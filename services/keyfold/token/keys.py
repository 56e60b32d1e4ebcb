"""Keys that stay in a token: made by template, found under a deterministic CKA_ID, checked before they are used.

Everything takes the manager session of an open token (`Token.manager`). Which keys exist, and what they protect, is
`keyfold.custody`'s business; material that leaves the token wrapped is `keyfold.token.material`'s.
"""

from typing import Any, Final

from pkcs11 import Attribute, KeyType, Mechanism, Object, ObjectClass, SecretKey

from keyfold.token.errors import (
    TokenError,
    TokenKeyMissing,
    TokenKeyUntrusted,
    check,
    translated,
)
from keyfold.token.kinds import AES, Kind
from keyfold.token.session import Session
from keyfold.token.templates import ENVELOPE_KEY, GENERATED, MAC_KEY, Template

# The token answers for these; a nested template cannot be read back safely through python-pkcs11, the probe tests it.
_NOT_READ: Final = frozenset({Attribute.UNWRAP_TEMPLATE})


def create_key_encryption_key(session: Session, key_id: bytes, label: str, kind: Kind = AES) -> int:
    """Make a stored key that can only wrap and unwrap material of one kind; return its handle."""
    return handle_of(_generate(session, kind.key_encryption_key, key_id, label))


def create_envelope_key(session: Session, key_id: bytes, label: str) -> int:
    """Make a stored key that can only encrypt and decrypt with AES-GCM; return its handle."""
    return handle_of(_generate(session, ENVELOPE_KEY, key_id, label))


def create_mac_key(session: Session, key_id: bytes, label: str) -> int:
    """Make a stored key of 256 bits that can only make HMAC-SHA-256 values; return its handle."""
    with translated(f"create key {name_of(key_id)}"):
        made = session.pkcs11.generate_key(
            KeyType.GENERIC_SECRET, 256, id=key_id, label=label, store=True, template=dict(MAC_KEY),
            mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
        )  # fmt: skip
    return handle_of(made)


def require_key_encryption_key(session: Session, key_id: bytes, kind: Kind = AES) -> int:
    """Return the handle of the key encryption key under this id.

    Raises `TokenKeyMissing`, and `TokenKeyUntrusted` if it is not exactly what this program would make.
    """
    return handle_of(require(session, key_id, kind.key_encryption_key))


def require_envelope_key(session: Session, key_id: bytes) -> int:
    """Return the handle of the envelope key under this id; raises like `require_key_encryption_key`."""
    return handle_of(require(session, key_id, ENVELOPE_KEY))


def require_mac_key(session: Session, key_id: bytes) -> int:
    """Return the handle of the MAC key under this id; raises like `require_key_encryption_key`."""
    return handle_of(require(session, key_id, MAC_KEY))


def require(session: Session, key_id: bytes, template: Template) -> SecretKey:
    """Return the one secret key under this id, if it has the template's attributes and was made in the token."""
    found = find(session, key_id)
    if not found:
        raise TokenKeyMissing(f"the token holds no key {name_of(key_id)}; was it created, is it the right token?")
    if len(found) > 1:
        raise TokenKeyUntrusted(f"the token holds {len(found)} keys {name_of(key_id)}; an operator must look at them")
    deviations = deviations_of(found[0], {**template, **GENERATED, Attribute.TOKEN: True})
    if deviations:
        raise TokenKeyUntrusted(f"key {name_of(key_id)} is not what it must be: {', '.join(deviations)}")
    return found[0]


def find(session: Session, key_id: bytes) -> list[SecretKey]:
    """Return the stored secret keys under a CKA_ID."""
    with translated(f"look for key {name_of(key_id)}"):
        wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.ID: key_id, Attribute.TOKEN: True}
        return [key for key in session.pkcs11.get_objects(wanted) if isinstance(key, SecretKey)]


def list_ids(session: Session, prefix: bytes) -> list[bytes]:
    """Return the CKA_IDs of stored secret keys that begin with a prefix, sorted."""
    with translated("list the keys"):
        wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.TOKEN: True}
        ids = [key.id for key in session.pkcs11.get_objects(wanted) if isinstance(key, SecretKey)]
    return sorted({key_id for key_id in ids if key_id.startswith(prefix)})


def deviations_of(key: Object, template: Template) -> list[str]:
    """Name each attribute of a key that differs from a template, or that the token does not tell."""
    found: list[str] = []
    for attribute, wanted in template.items():
        if attribute in _NOT_READ:
            continue
        try:
            with translated("read an attribute"):
                value: Any = key[attribute]
        except TokenError:
            value = None
        if value != wanted:
            found.append(attribute.name)
    return found


def destroy_all(session: Session, key_id: bytes) -> int:
    """Destroy every stored secret key under this id; return how many there were (0: it was done before)."""
    keys = find(session, key_id)
    with translated(f"destroy key {name_of(key_id)}"):
        for key in keys:
            key.destroy()
    return len(keys)


def destroy(session: Session, handle: int) -> None:
    """Destroy the object behind a handle."""
    check(session.functions.destroy_object(session.handle, handle), "destroy a key")


def handle_of(key: Object) -> int:
    """The Cryptoki handle of an object."""
    handle = key.handle
    if handle is None:
        raise TokenKeyMissing("the object is not in the token")
    return handle


def _generate(session: Session, template: Template, key_id: bytes, label: str) -> SecretKey:
    with translated(f"create key {name_of(key_id)}"):
        return session.pkcs11.generate_key(
            KeyType.AES, 256, id=key_id, label=label, store=True, template=dict(template)
        )


def name_of(key_id: bytes) -> str:
    """A CKA_ID for messages."""
    return key_id.decode("ascii", errors="backslashreplace")
