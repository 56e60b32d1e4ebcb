"""Data objects in a token (CKO_DATA, PKCS#11 v2.40 section 4.5): small private values, found by their label.

They are readable by whoever logs in as the token's user, and die with the token; a value that is a secret comes here
encrypted. An object is never changed: a new one is created, then the old one destroyed. Everything takes the manager
session.
"""

from typing import Any, Final

from pkcs11 import Attribute, ObjectClass

from keyfold.token.errors import TokenError, translated
from keyfold.token.keys import destroy, handle_of
from keyfold.token.material import create as create_object
from keyfold.token.session import Session
from keyfold.token.templates import Template

__all__ = ["create", "destroy", "find", "require_one"]

_APPLICATION: Final = "keyfold"
_PRIVATE: Final[Template] = {
    Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.PRIVATE: True, Attribute.MODIFIABLE: False,
}  # fmt: skip


def create(session: Session, label: str, value: bytes) -> int:
    """Store a value under a label, beside others of that label; return its handle."""
    named = {Attribute.LABEL: label, Attribute.APPLICATION: _APPLICATION, Attribute.VALUE: value}
    return create_object(session, {**named, **_PRIVATE})


def find(session: Session, label: str) -> dict[int, bytes]:
    """Return the private values under a label by handle, in no order; public ones are somebody else's."""
    wanted: dict[Attribute, Any] = {
        Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.PRIVATE: True, Attribute.LABEL: label,
    }  # fmt: skip
    with translated("look for a data object"):
        return {handle_of(found): bytes(found[Attribute.VALUE]) for found in session.pkcs11.get_objects(wanted)}


def require_one(session: Session, label: str) -> bytes | None:
    """Return the one value under a label; None without one. Raises `TokenError` for several."""
    found = list(find(session, label).values())
    if len(found) > 1:
        raise TokenError(f"the token holds {len(found)} data objects {label!r}; an operator must look at them")
    return found[0] if found else None
