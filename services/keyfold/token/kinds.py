"""Kinds of key material that leaves a token wrapped: what each is, and what its unwrapped keys may do. Tables only.

Each kind has one key encryption key, whose CKA_UNWRAP_TEMPLATE is the kind's pin: whatever is unwrapped by it is of
that class and key type, stays in the session, cannot leave, and has the kind's usage and no other. So one kind's
blob never becomes a key of another kind.
"""

from dataclasses import dataclass
from typing import Any, Final

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from keyfold.token.templates import DATA_KEY, KEY_ENCRYPTION_KEY, Template, sealed, sealed_private

# Mechanisms stand in the order of their numbers, as tokens give them back.
HMAC_MECHANISMS: Final = (
    Mechanism.SHA256_HMAC, Mechanism.SHA224_HMAC, Mechanism.SHA384_HMAC, Mechanism.SHA512_HMAC,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind. `name` ends its key encryption key's CKA_ID; `unwrapped` is what an unwrapped key has, and the pin."""

    name: str
    object_class: ObjectClass
    key_type: KeyType
    unwrapped: Template

    @property
    def pin(self) -> Template:
        """The unwrap template."""
        return {Attribute.CLASS: self.object_class, Attribute.KEY_TYPE: self.key_type, **self.unwrapped}

    @property
    def key_encryption_key(self) -> Template:
        """What the kind's key encryption key is made by, and checked against."""
        return {**KEY_ENCRYPTION_KEY, Attribute.UNWRAP_TEMPLATE: self.pin}

    @property
    def is_secret(self) -> bool:
        return self.object_class is ObjectClass.SECRET_KEY

    @property
    def fresh(self) -> Template:
        """New material between generation and wrapping: a session object that can be wrapped and nothing else."""
        return self.transient()

    def transient(self, *usages: Attribute) -> Template:
        """Material on its way to being wrapped, with these usages meanwhile."""
        make = sealed if self.is_secret else sealed_private
        common = {Attribute.CLASS: self.object_class, Attribute.KEY_TYPE: self.key_type, Attribute.TOKEN: False}
        return {**common, **make(*usages, EXTRACTABLE=True)}


def _restricted(mechanisms: tuple[Mechanism, ...], template: Template) -> dict[Attribute, Any]:
    return {Attribute.ALLOWED_MECHANISMS: mechanisms, **template}


AES: Final = Kind("secret:aes", ObjectClass.SECRET_KEY, KeyType.AES, DATA_KEY)
HMAC: Final = Kind(
    "secret:hmac",
    ObjectClass.SECRET_KEY,
    KeyType.GENERIC_SECRET,
    _restricted(HMAC_MECHANISMS, sealed(Attribute.SIGN, Attribute.VERIFY, TOKEN=False)),
)
RSA_SIGN: Final = Kind(
    "private:rsa:sign",
    ObjectClass.PRIVATE_KEY,
    KeyType.RSA,
    _restricted((Mechanism.RSA_PKCS, Mechanism.RSA_PKCS_PSS), sealed_private(Attribute.SIGN, TOKEN=False)),
)
RSA_DECRYPT: Final = Kind(
    "private:rsa:decrypt",
    ObjectClass.PRIVATE_KEY,
    KeyType.RSA,
    _restricted((Mechanism.RSA_X_509, Mechanism.RSA_PKCS_OAEP), sealed_private(Attribute.DECRYPT, TOKEN=False)),
)
RSA_IMPORT: Final = Kind(
    "private:rsa:import",
    ObjectClass.PRIVATE_KEY,
    KeyType.RSA,
    _restricted(
        (Mechanism.RSA_X_509, Mechanism.RSA_PKCS_OAEP),
        sealed_private(Attribute.DECRYPT, Attribute.UNWRAP, TOKEN=False),
    ),
)
EC_SIGN: Final = Kind(
    "private:ec:sign",
    ObjectClass.PRIVATE_KEY,
    KeyType.EC,
    _restricted((Mechanism.ECDSA,), sealed_private(Attribute.SIGN, TOKEN=False)),
)
EC_DERIVE: Final = Kind(
    "private:ec:derive",
    ObjectClass.PRIVATE_KEY,
    KeyType.EC,
    _restricted((Mechanism.ECDH1_DERIVE,), sealed_private(Attribute.DERIVE, TOKEN=False)),
)
KINDS: Final = (AES, HMAC, RSA_SIGN, RSA_DECRYPT, RSA_IMPORT, EC_SIGN, EC_DERIVE)
