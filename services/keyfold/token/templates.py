"""What keys in a token are allowed to be, as templates; and the mapper that packs them for python-pkcs11.

It decides nothing at run time and talks to no token. Two traps are closed here. First, python-pkcs11 can't pack nested
templates (CKA_UNWRAP_TEMPLATE is an array of CK_ATTRIBUTE whose values must stay alive). Second, it adds its own
defaults to each template (every usage for AES, SENSITIVE for private keys): so ours name every usage, true or false.
"""

import ctypes
import struct
from collections.abc import Mapping
from typing import Any, Final

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.attributes import AttributeMapper

from keyfold.token.cryptoki import CkAttribute

Template = Mapping[Attribute, Any]

USAGES: Final = (
    Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.SIGN, Attribute.VERIFY,
    Attribute.WRAP, Attribute.UNWRAP, Attribute.DERIVE,
)  # fmt: skip


NOT_OF_PRIVATE_KEYS: Final = (Attribute.ENCRYPT, Attribute.VERIFY, Attribute.WRAP)
"""Attributes that python-pkcs11 gives to every key, and that private keys do not have."""


def sealed(*usages: Attribute, **exceptions: bool) -> dict[Attribute, Any]:
    """Return a template that allows these usages and nothing else; `exceptions` name other flags, as TOKEN=False.

    MODIFIABLE comes last: SoftHSM2 sets attributes in order and refuses those after it.
    """
    flags = {
        **{usage.name: usage in usages for usage in USAGES},
        "PRIVATE": True,
        "SENSITIVE": True,
        "EXTRACTABLE": False,
        "COPYABLE": False,
        **exceptions,
        "MODIFIABLE": False,
    }
    return {Attribute[name]: value for name, value in flags.items()}


def sealed_private(*usages: Attribute, **exceptions: bool) -> dict[Attribute, Any]:
    """The same for a private key: it has CKA_SIGN_RECOVER, and no CKA_ENCRYPT, CKA_VERIFY and CKA_WRAP."""
    template = sealed(*usages, **{"SIGN_RECOVER": False, **exceptions})
    return {key: value for key, value in template.items() if key not in NOT_OF_PRIVATE_KEYS}


DATA_KEY: Final[Template] = sealed(Attribute.ENCRYPT, Attribute.DECRYPT, TOKEN=False)
"""An unwrapped AES data key: exactly this, by the unwrap template of its key encryption key."""

DATA_KEY_PIN: Final[Template] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, **DATA_KEY,
}  # fmt: skip

KEY_ENCRYPTION_KEY: Final[Template] = {
    Attribute.ALLOWED_MECHANISMS: (Mechanism.AES_KEY_WRAP_PAD,),
    Attribute.UNWRAP_TEMPLATE: DATA_KEY_PIN,
    **sealed(Attribute.WRAP, Attribute.UNWRAP),
}
"""Wraps and unwraps AES data keys, by AES-KWP only."""

ENVELOPE_KEY: Final[Template] = {
    Attribute.ALLOWED_MECHANISMS: (Mechanism.AES_GCM,),
    **sealed(Attribute.ENCRYPT, Attribute.DECRYPT),
}
"""Storage epoch keys, the software key encryption key, the keys around sealing keys: AES-GCM only."""

FRESH_MATERIAL: Final[Template] = sealed(EXTRACTABLE=True)
"""New material between its generation and its wrapping: a session object that can be wrapped and nothing else."""

SIGNING_PUBLIC: Final[Template] = {
    Attribute.EC_PARAMS: bytes.fromhex("06032b6570"),  # OID 1.3.101.112, id-Ed25519 (RFC 8410)
    Attribute.VERIFY: True, Attribute.ENCRYPT: False, Attribute.WRAP: False, Attribute.COPYABLE: False,
    Attribute.MODIFIABLE: False,
}  # fmt: skip
SIGNING_PRIVATE: Final[Template] = {
    key: value for key, value in sealed(Attribute.SIGN).items() if key not in NOT_OF_PRIVATE_KEYS
}

RESIDENT_PRIVATE: Final[Template] = {
    Attribute.ALLOWED_MECHANISMS: (Mechanism.EDDSA,), **sealed_private(Attribute.SIGN),
}  # fmt: skip
"""An Ed25519 key of a user that stays in the token, because the token does not wrap this type."""

MAC_KEY: Final[Template] = {
    Attribute.ALLOWED_MECHANISMS: (Mechanism.SHA256_HMAC,), **sealed(Attribute.SIGN),
}  # fmt: skip
"""A stored key that makes HMAC-SHA-256 values and nothing else."""

GENERATED: Final[Template] = {
    Attribute.LOCAL: True, Attribute.ALWAYS_SENSITIVE: True, Attribute.NEVER_EXTRACTABLE: True,
}  # fmt: skip
"""What the token itself says of a key that was made inside it and never left it."""


class TemplateMapper(AttributeMapper):
    """python-pkcs11's mapper, with nested templates, mechanism lists, and no defaults that contradict ours."""

    def __init__(self) -> None:
        super().__init__()
        # One entry per nested template in use (a handful): the arrays must outlive every call that points to them.
        self._packed: dict[tuple[tuple[int, bytes], ...], PackedTemplate] = {}
        self.register_handler(Attribute.UNWRAP_TEMPLATE, self._pack_nested, bytes)
        self.register_handler(Attribute.ALLOWED_MECHANISMS, _pack_mechanisms, _unpack_mechanisms)
        self.default_private_key_template = {
            Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: b"", Attribute.LABEL: "", Attribute.PRIVATE: True,
        }  # fmt: skip

    def _pack_nested(self, template: Template) -> bytes:
        values = tuple((int(key), self.pack_attribute(key, value)) for key, value in template.items())
        return self._packed.setdefault(values, PackedTemplate(values)).to_bytes()

    def pack(self, template: Template) -> "PackedTemplate":
        """Return a template for calls that do not go through python-pkcs11."""
        return PackedTemplate(tuple((int(key), self.pack_attribute(key, value)) for key, value in template.items()))


class PackedTemplate:
    """An array of CK_ATTRIBUTE; its values live as long as it does."""

    def __init__(self, values: tuple[tuple[int, bytes], ...]) -> None:
        self._values = [ctypes.create_string_buffer(value, len(value)) for _, value in values]
        self._array = (CkAttribute * len(values))()
        for slot, (key, value), buffer in zip(self._array, values, self._values, strict=True):
            slot.type, slot.value, slot.length = key, ctypes.addressof(buffer), len(value)
        self.address = ctypes.addressof(self._array)
        self.count = len(values)

    def to_bytes(self) -> bytes:
        """The array itself, as CKA_UNWRAP_TEMPLATE wants it: pointers into this object."""
        return bytes(self._array)

    def wipe(self) -> None:
        """Overwrite the values, where one of them is secret; the template is of no use afterwards."""
        for buffer in self._values:
            ctypes.memset(buffer, 0, len(buffer))


def _pack_mechanisms(mechanisms: tuple[int, ...]) -> bytes:
    return struct.pack(f"{len(mechanisms)}L", *mechanisms)


def _unpack_mechanisms(value: bytes) -> tuple[int, ...]:
    return struct.unpack(f"{len(value) // struct.calcsize('L')}L", value)
