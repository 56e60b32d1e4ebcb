"""What lies in a token: classes and CKA_IDs of all stored keys, whoever made them. It reads nothing else of them."""

from typing import Final

from pkcs11 import Attribute, ObjectClass

from keyfold.token.errors import translated
from keyfold.token.session import Session

_CLASSES: Final = {ObjectClass.SECRET_KEY: "secret", ObjectClass.PRIVATE_KEY: "private"}


def stored_keys(session: Session) -> list[tuple[str, bytes]]:
    """Return (class, CKA_ID) of every stored secret and private key, sorted; an id stands as often as it is there."""
    found: list[tuple[str, bytes]] = []
    with translated("list what the token holds"):
        for kind, name in _CLASSES.items():
            objects = session.pkcs11.get_objects({Attribute.CLASS: kind, Attribute.TOKEN: True})
            found += [(name, bytes(each[Attribute.ID])) for each in objects]
    return sorted(found)
