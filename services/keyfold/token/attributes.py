"""What a token says of a key: attributes read back for the record, and the public half of a key pair.

Several attributes are read with one call. What the key does not have, or the token does not tell, is left out.
"""

import ctypes
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from pkcs11 import Attribute, KeyType, Mechanism

from keyfold.token.cryptoki import CK_UNAVAILABLE_INFORMATION, CkAttribute
from keyfold.token.errors import TokenError, error_of
from keyfold.token.session import Session

_FLAGS: Final = (
    Attribute.LOCAL, Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE, Attribute.EXTRACTABLE,
    Attribute.NEVER_EXTRACTABLE, Attribute.PRIVATE, Attribute.TOKEN,
)  # fmt: skip
_NUMBERS: Final = (Attribute.KEY_TYPE, Attribute.KEY_GEN_MECHANISM)
_NAMES: Final[dict[Attribute, type[Enum]]] = {
    Attribute.KEY_TYPE: KeyType, Attribute.KEY_GEN_MECHANISM: Mechanism,
}  # fmt: skip
# CKR values that say "this attribute not", while the others of the same call are filled in.
_PARTIAL: Final = frozenset({0x11, 0x12, 0x150})
_ROOM: Final = 1100
_NUMBER: Final = ctypes.sizeof(ctypes.c_ulong)

Described = dict[str, bool | int | str]
"""Attributes by name, such as "kek.CKA_EXTRACTABLE"."""


def describe(session: Session, key: int, name: str) -> Described:
    """Return what the token says of a key of any class, each attribute under `name`.CKA_…"""
    found: Described = {}
    wanted = (*_FLAGS, *_NUMBERS)
    for attribute, value in zip(wanted, _read(session, key, wanted, _NUMBER), strict=True):
        if value is not None:
            found[f"{name}.CKA_{attribute.name}"] = _readable(attribute, value)
    return found


def describe_key_encryption_key(session: Session, key: int, key_id: bytes) -> Described:
    """The same of a key encryption key, with its id, and how many attributes its unwrap template pins."""
    (trusted,) = _read(session, key, (Attribute.WRAP_WITH_TRUSTED,))
    # With a null pointer C_GetAttributeValue only tells the length, so nothing nested is read.
    slot = CkAttribute(int(Attribute.UNWRAP_TEMPLATE), None, 0)
    rv = session.functions.get_attribute_value(session.handle, key, ctypes.addressof(slot), 1)
    told = rv == 0 and slot.length != CK_UNAVAILABLE_INFORMATION
    return {
        "kek.CKA_ID": key_id.decode("ascii"),
        **describe(session, key, "kek"),
        **({} if trusted is None else {"kek.CKA_WRAP_WITH_TRUSTED": bool(trusted[0])}),
        **({"kek.CKA_UNWRAP_TEMPLATE": slot.length // ctypes.sizeof(CkAttribute)} if told else {}),
    }


def rsa_public_numbers(session: Session, key: int) -> RSAPublicNumbers:
    """Return modulus and public exponent of either half of an RSA pair. Raises `TokenError` if there are none."""
    modulus, exponent = _read(session, key, (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT))
    if not modulus or not exponent:
        raise TokenError("the token does not tell the public half of an RSA key; use another token or module")
    return RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big"))


def ec_parameters(session: Session, key: int) -> bytes:
    """Return CKA_EC_PARAMS of either half of a pair on a curve; empty if the token does not tell."""
    return _read(session, key, (Attribute.EC_PARAMS,))[0] or b""


def ec_point(session: Session, key: int) -> bytes:
    """Return CKA_EC_POINT of a public key: bare, or wrapped in a DER OCTET STRING. Raises `TokenError` if absent."""
    (point,) = _read(session, key, (Attribute.EC_POINT,))
    if not point:
        raise TokenError("the token does not tell the public point of a key; use another token or module")
    return point


def value_length(session: Session, key: int) -> int:
    """Return CKA_VALUE_LEN of a secret key in bytes; 0 if the token does not tell."""
    (length,) = _read(session, key, (Attribute.VALUE_LEN,))
    return int.from_bytes(length or b"", "little")


def secret_value(session: Session, key: int, size: int) -> bytes:
    """Return CKA_VALUE of a secret key that may be read (a derived shared secret), of `size` bytes."""
    buffer = ctypes.create_string_buffer(size)
    slot = CkAttribute(int(Attribute.VALUE), ctypes.addressof(buffer), size)
    rv = session.functions.get_attribute_value(session.handle, key, ctypes.addressof(slot), 1)
    if rv:
        raise error_of(rv, "read a shared secret")
    value = buffer.raw[: slot.length]
    ctypes.memset(buffer, 0, size)
    return value.rjust(size, b"\0")


def _read(session: Session, key: int, attributes: Sequence[Attribute], room: int = _ROOM) -> list[bytes | None]:
    buffers = [ctypes.create_string_buffer(room) for _ in attributes]
    array = (CkAttribute * len(attributes))()
    for slot, attribute, buffer in zip(array, attributes, buffers, strict=True):
        slot.type, slot.value, slot.length = int(attribute), ctypes.addressof(buffer), room
    rv = session.functions.get_attribute_value(session.handle, key, ctypes.addressof(array), len(array))
    if rv and rv not in _PARTIAL:
        raise error_of(rv, "read attributes")
    return [
        None if slot.length == CK_UNAVAILABLE_INFORMATION else buffer.raw[: slot.length]
        for slot, buffer in zip(array, buffers, strict=True)
    ]


def _readable(attribute: Attribute, value: bytes) -> bool | int | str:
    if attribute not in _NAMES:
        return bool(value[0]) if value else False
    number: Any = int.from_bytes(value, "little")
    try:
        return _NAMES[attribute](number).name
    except ValueError:
        return "unavailable" if number == CK_UNAVAILABLE_INFORMATION else f"{number:#x}"
