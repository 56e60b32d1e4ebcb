"""Every single way around the protection of a key in a token, as tables of attempts by name.

Each attempt takes a `Target` and tries one thing, with all the rights that the user's PIN gives. It comes back if the
token allowed it and raises what the token said if not. Nothing here judges or reports (`keyfold.token.probe` does).
Attempts that change a key work on its twin, so that a token that allows them does not leave the real key weakened.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pkcs11 import DEFAULT, Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import PKCS11Error

from keyfold.token.cryptoki import CkMechanism
from keyfold.token.errors import ActionRefused, check
from keyfold.token.session import Session
from keyfold.token.templates import DATA_KEY, Template


@dataclass(frozen=True, slots=True)
class Target:
    """The key that an attempt is made on, and the throwaway keys that attempts need.

    `twin` was made by the same template as `key`; `wrapper` may wrap anything, `extractable` may be wrapped by
    anything; `blob` is random AES material wrapped by `key`, where that is a key encryption key.
    """

    session: Session
    key: Any
    twin: Any
    wrapper: Any
    extractable: Any
    blob: bytes = b""


Attempt = Callable[[Target], object]

_CHANGES: Final = (
    Attribute.EXTRACTABLE, Attribute.SENSITIVE, Attribute.PRIVATE, Attribute.TOKEN, Attribute.COPYABLE,
    Attribute.MODIFIABLE, Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.SIGN, Attribute.VERIFY, Attribute.WRAP,
    Attribute.UNWRAP, Attribute.DERIVE,
)  # fmt: skip
_COPIES: Final[dict[str, Template]] = {
    "copy it": {Attribute.LABEL: "twin"},
    "copy it to extractable": {Attribute.EXTRACTABLE: True},
    "copy it to not sensitive": {Attribute.SENSITIVE: False},
    "copy it into the token": {Attribute.TOKEN: True},
    "copy it to a public object": {Attribute.PRIVATE: False},
    "copy it to modifiable": {Attribute.MODIFIABLE: True},
}


def _unwrap(target: Target, changes: Template, **other: Any) -> Any:
    arguments: dict[str, Any] = {
        "object_class": ObjectClass.SECRET_KEY,
        "key_type": KeyType.AES,
        "key_data": target.blob,
        "mechanism": Mechanism.AES_KEY_WRAP_PAD,
        "template": {**DATA_KEY, **changes},
        "capabilities": 0,
        **other,
    }
    return target.key.unwrap_key(**arguments)


def _unwrap_turned(attribute: Attribute) -> Attempt:
    return lambda target: _unwrap(target, {attribute: not DATA_KEY[attribute]})


def _unwrap_without(attribute: Attribute) -> Attempt:
    def attempt(target: Target) -> object:
        unwrapped = _unwrap(target, {attribute: DEFAULT})
        if unwrapped[attribute] == DATA_KEY[attribute]:
            unwrapped.destroy()
            raise ActionRefused("the token filled in the pinned value")
        return unwrapped

    return attempt


def _copy(template: Template) -> Attempt:
    return lambda target: target.key.copy(dict(template))


def _change(attribute: Attribute) -> Attempt:
    def attempt(target: Target) -> None:
        try:
            value = bool(target.twin[attribute])
        except PKCS11Error:
            value = False  # an attribute that this class of key does not have
        target.twin[attribute] = not value

    return attempt


def _relabel(target: Target) -> None:
    target.twin[Attribute.LABEL] = "other"


def _wrap(target: Target, key: Any, wrapped: Any) -> None:
    """C_WrapKey past python-pkcs11, which only offers it on keys that say they wrap."""
    mechanism = CkMechanism(int(Mechanism.AES_KEY_WRAP_PAD), None, 0)
    buffer, length = ctypes.create_string_buffer(4096), ctypes.c_ulong(4096)
    rv = target.session.functions.wrap_key(
        target.session.handle, ctypes.addressof(mechanism), key.handle, wrapped.handle,
        ctypes.addressof(buffer), ctypes.addressof(length),
    )  # fmt: skip
    check(rv, "wrap")


def _start(function: str, mechanism: Mechanism) -> Attempt:
    """Begin an operation that the key is not for: C_EncryptInit, C_DecryptInit, C_SignInit."""

    def attempt(target: Target) -> None:
        session = target.session
        # A session of its own: what was begun against the rules ends when it is closed.
        apart = session.pkcs11.token.open(rw=True)
        try:
            handle: int = apart.handle  # type: ignore[attr-defined]  # only the compiled class has it
            vector = ctypes.create_string_buffer(16)
            size = len(vector) if mechanism is Mechanism.AES_CBC_PAD else 0
            argument = CkMechanism(int(mechanism), ctypes.addressof(vector) if size else None, size)
            check(session.functions.begin(function, handle, argument, target.key.handle), function)
        finally:
            apart.close()

    return attempt


UNWRAPS: Final[dict[str, Attempt]] = {
    **{f"unwrap with {flag.name} turned over": _unwrap_turned(flag) for flag in DATA_KEY},
    **{f"unwrap with {flag.name} left out": _unwrap_without(flag) for flag in DATA_KEY},
    "unwrap to a stored key": lambda target: _unwrap(target, {Attribute.TOKEN: True}, store=True),
    "unwrap as a generic secret": lambda target: _unwrap(target, {}, key_type=KeyType.GENERIC_SECRET),
    "unwrap as a DES3 key": lambda target: _unwrap(target, {}, key_type=KeyType.DES3),
    "unwrap as a private key": lambda target: _unwrap(target, {}, object_class=ObjectClass.PRIVATE_KEY),
    "unwrap by AES-KW": lambda target: _unwrap(target, {}, mechanism=Mechanism.AES_KEY_WRAP, key_data=target.blob),
    "unwrap by AES-CBC": lambda target: _unwrap(
        target, {}, mechanism=Mechanism.AES_CBC_PAD, mechanism_param=bytes(16), key_data=bytes(48)
    ),
}
"""Against a key encryption key: one deviation from its unwrap template each."""

COMMON: Final[dict[str, Attempt]] = {
    "read its value": lambda target: target.key[Attribute.VALUE],
    "wrap it by another key": lambda target: _wrap(target, target.wrapper, target.key),
    **{name: _copy(template) for name, template in _COPIES.items()},
    **{f"change {attribute.name} afterwards": _change(attribute) for attribute in _CHANGES},
    "change LABEL afterwards": _relabel,
}
"""Against every key: reading, taking out, copying, changing."""

KEY_ENCRYPTION_KEY_USES: Final[dict[str, Attempt]] = {
    "encrypt by AES-CBC with it": _start("C_EncryptInit", Mechanism.AES_CBC_PAD),
    "decrypt by AES-CBC with it": _start("C_DecryptInit", Mechanism.AES_CBC_PAD),
    "encrypt by AES-ECB with it": _start("C_EncryptInit", Mechanism.AES_ECB),
    "decrypt by AES-ECB with it": _start("C_DecryptInit", Mechanism.AES_ECB),
    "make a MAC with it": _start("C_SignInit", Mechanism.AES_CMAC),
}
"""Against a key encryption key: everything that is not wrapping and unwrapping."""

ENVELOPE_KEY_USES: Final[dict[str, Attempt]] = {
    **KEY_ENCRYPTION_KEY_USES,
    "wrap another key with it": lambda target: _wrap(target, target.key, target.extractable),
}
"""Against an envelope key: everything that is not AES-GCM."""

DATA_KEY_USES: Final[dict[str, Attempt]] = {
    "wrap another key with it": lambda target: _wrap(target, target.key, target.extractable),
    "make a MAC with it": _start("C_SignInit", Mechanism.AES_CMAC),
}
"""Against an unwrapped data key: everything that is not encryption."""
