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
from keyfold.token.kinds import AES, EC_DERIVE, EC_SIGN, HMAC, RSA_DECRYPT, RSA_IMPORT, RSA_SIGN, Kind
from keyfold.token.operations import KeyOperations, Prepared, pss
from keyfold.token.session import Session
from keyfold.token.templates import NOT_OF_PRIVATE_KEYS, Template


@dataclass(frozen=True, slots=True)
class Target:
    """The key that an attempt is made on, and the throwaway keys that attempts need.

    `twin` was made by the same template as `key`; `wrapper` may wrap anything, `extractable` may be wrapped by
    anything; `blob` is random material of `kind` wrapped by `key`, where that is a key encryption key.
    """

    session: Session
    key: Any
    twin: Any
    wrapper: Any
    extractable: Any
    blob: bytes = b""
    kind: Kind = AES


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


def unwrap(target: Target, changes: Template, **other: Any) -> Any:
    """Unwrap the target's blob by its kind's template with these changes; DEFAULT leaves an attribute out."""
    # What python-pkcs11 adds to every template: a private key does not have it.
    extra = {} if target.kind.is_secret else dict.fromkeys(NOT_OF_PRIVATE_KEYS, DEFAULT)
    arguments: dict[str, Any] = {
        "object_class": target.kind.object_class,
        "key_type": target.kind.key_type,
        "key_data": target.blob,
        "mechanism": Mechanism.AES_KEY_WRAP_PAD,
        "template": {**extra, **target.kind.unwrapped, **changes},
        "capabilities": 0,
        **other,
    }
    return target.key.unwrap_key(**arguments)


def _unwrap_turned(attribute: Attribute) -> Attempt:
    return lambda target: unwrap(target, {attribute: not target.kind.unwrapped[attribute]})


def _unwrap_without(attribute: Attribute) -> Attempt:
    def attempt(target: Target) -> object:
        unwrapped = unwrap(target, {attribute: DEFAULT})
        if unwrapped[attribute] == target.kind.unwrapped[attribute]:
            unwrapped.destroy()
            raise ActionRefused("the token filled in the pinned value")
        return unwrapped

    return attempt


def _unwrap_as(object_class: ObjectClass, key_type: KeyType) -> Attempt:
    return lambda target: unwrap(target, {}, object_class=object_class, key_type=key_type)


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


def _start(function: str, mechanism: Mechanism | Prepared) -> Attempt:
    """Begin an operation that the key is not for: C_EncryptInit, C_DecryptInit, C_SignInit."""

    def attempt(target: Target) -> None:
        session = target.session
        # A session of its own: what was begun against the rules ends when it is closed.
        apart = session.pkcs11.token.open(rw=True)
        try:
            handle: int = apart.handle  # type: ignore[attr-defined]  # only the compiled class has it
            if isinstance(mechanism, Prepared):
                argument = mechanism.structure
            else:
                vector = ctypes.create_string_buffer(16)
                size = len(vector) if mechanism is Mechanism.AES_CBC_PAD else 0
                argument = CkMechanism(int(mechanism), ctypes.addressof(vector) if size else None, size)
            check(session.functions.begin(function, handle, argument, target.key.handle), function)
        finally:
            apart.close()

    return attempt


def unwraps(kind: Kind) -> dict[str, Attempt]:
    """Against the key encryption key of a kind: one deviation from its unwrap template each."""
    flags = [attribute for attribute, value in kind.unwrapped.items() if isinstance(value, bool)]
    return {
        **{f"unwrap with {flag.name} turned over": _unwrap_turned(flag) for flag in flags},
        **{f"unwrap with {flag.name} left out": _unwrap_without(flag) for flag in kind.unwrapped},
        **({_MORE_MECHANISMS: _unwrap_with_more} if Attribute.ALLOWED_MECHANISMS in kind.unwrapped else {}),
        "unwrap to a stored key": lambda target: unwrap(target, {Attribute.TOKEN: True}, store=True),
        **{
            name: _unwrap_as(*other)
            for name, other in _AS_OTHERS.items()
            if other != (kind.object_class, kind.key_type)
        },
        "unwrap by AES-KW": lambda target: unwrap(target, {}, mechanism=Mechanism.AES_KEY_WRAP),
        "unwrap by AES-CBC": lambda target: unwrap(
            target, {}, mechanism=Mechanism.AES_CBC_PAD, mechanism_param=bytes(16), key_data=bytes(48)
        ),
    }


def _unwrap_with_more(target: Target) -> object:
    mechanisms = (*target.kind.unwrapped[Attribute.ALLOWED_MECHANISMS], Mechanism.AES_ECB)
    return unwrap(target, {Attribute.ALLOWED_MECHANISMS: mechanisms})


_MORE_MECHANISMS: Final = "unwrap with one more mechanism"
_AS_OTHERS: Final = {
    "unwrap as a generic secret": (ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET),
    "unwrap as an AES key": (ObjectClass.SECRET_KEY, KeyType.AES),
    "unwrap as a DES3 key": (ObjectClass.SECRET_KEY, KeyType.DES3),
    "unwrap as an RSA private key": (ObjectClass.PRIVATE_KEY, KeyType.RSA),
    "unwrap as an EC private key": (ObjectClass.PRIVATE_KEY, KeyType.EC),
}

COMMON: Final[dict[str, Attempt]] = {
    "read its value": lambda target: target.key[Attribute.VALUE],
    "read its private exponent": lambda target: target.key[Attribute.PRIVATE_EXPONENT],
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


def _derive(target: Target) -> None:
    """C_DeriveKey with the generator of P-256."""
    point = bytes.fromhex(_P256_GENERATOR)
    (made,) = KeyOperations(target.session).derive_many(target.key.handle, [point], 32)
    if made is None:
        raise ActionRefused("the token refuses to derive")


_P256_GENERATOR: Final = (
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
_WRAP_ANOTHER: Final[dict[str, Attempt]] = {
    "wrap another key with it": lambda target: _wrap(target, target.key, target.extractable)
}
_SIGN_RSA: Final[dict[str, Attempt]] = {
    "sign by RSA PKCS #1 with it": _start("C_SignInit", Mechanism.RSA_PKCS),
    "sign by RSA PSS with it": _start("C_SignInit", pss("256")),
    "sign by raw RSA with it": _start("C_SignInit", Mechanism.RSA_X_509),
}
UNWRAPPED_KEY_USES: Final[dict[Kind, dict[str, Attempt]]] = {
    AES: {**_WRAP_ANOTHER, "make a MAC with it": _start("C_SignInit", Mechanism.AES_CMAC)},
    HMAC: {
        **_WRAP_ANOTHER,
        "make an HMAC of SHA-1 with it": _start("C_SignInit", Mechanism.SHA_1_HMAC),
        "encrypt by AES-ECB with it": _start("C_EncryptInit", Mechanism.AES_ECB),
    },
    RSA_SIGN: {
        "sign by raw RSA with it": _start("C_SignInit", Mechanism.RSA_X_509),
        "decrypt by RSA PKCS #1 with it": _start("C_DecryptInit", Mechanism.RSA_PKCS),
        "decrypt by raw RSA with it": _start("C_DecryptInit", Mechanism.RSA_X_509),
    },
    RSA_DECRYPT: {**_SIGN_RSA, "decrypt by RSA PKCS #1 with it": _start("C_DecryptInit", Mechanism.RSA_PKCS)},
    RSA_IMPORT: {**_SIGN_RSA, "decrypt by RSA PKCS #1 with it": _start("C_DecryptInit", Mechanism.RSA_PKCS)},
    EC_SIGN: {"agree on a secret with it": _derive},
    EC_DERIVE: {"sign by ECDSA with it": _start("C_SignInit", Mechanism.ECDSA)},
}
"""Against an unwrapped key of each kind: everything that is not its usage."""

MAC_KEY_USES: Final[dict[str, Attempt]] = {
    **_WRAP_ANOTHER,
    "make an HMAC of SHA-512 with it": _start("C_SignInit", Mechanism.SHA512_HMAC),
    "encrypt by AES-ECB with it": _start("C_EncryptInit", Mechanism.AES_ECB),
}
"""Against a stored MAC key: everything that is not HMAC-SHA-256."""
