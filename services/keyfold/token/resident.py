"""Ed25519 key pairs that stay in a token, because tokens do not wrap this key type: one per CKA_ID.

Making one is repeatable: a pair that an earlier attempt left is found again, half a pair is made anew. What the key is
for, and when it may be destroyed, is the caller's business. Everything takes the manager session.
"""

from typing import Any, Final

from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, Object, ObjectClass

from keyfold.token.attributes import ec_point
from keyfold.token.errors import TokenKeyMissing, TokenKeyUntrusted, translated
from keyfold.token.identity import decode_ec_point
from keyfold.token.keys import deviations_of, handle_of, name_of
from keyfold.token.session import Session
from keyfold.token.templates import GENERATED, RESIDENT_PRIVATE, SIGNING_PUBLIC, Template

_WANTED: Final[Template] = {
    **RESIDENT_PRIVATE, **GENERATED, Attribute.TOKEN: True, Attribute.KEY_TYPE: KeyType.EC_EDWARDS,
}  # fmt: skip


def create(session: Session, key_id: bytes) -> tuple[int, bytes]:
    """Make the pair unless it is there; return (private handle, raw public key). Raises `TokenKeyUntrusted`."""
    if not _find(session, ObjectClass.PRIVATE_KEY, key_id):
        # A public half alone is what a crash left: nobody was told of it.
        destroy(session, key_id)
        _generate(session, key_id)
    return require(session, key_id)


def require(session: Session, key_id: bytes) -> tuple[int, bytes]:
    """Return (private handle, raw public key). Raises `TokenKeyMissing` and `TokenKeyUntrusted`."""
    privates, publics = (_find(session, kind, key_id) for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY))
    if not privates or not publics:
        raise TokenKeyMissing(f"the token holds no key pair {name_of(key_id)}; is it the right token?")
    if len(privates) > 1 or len(publics) > 1:
        raise TokenKeyUntrusted(f"the token holds several key pairs {name_of(key_id)}; an operator must look at them")
    deviations = deviations_of(privates[0], _WANTED)
    if deviations:
        raise TokenKeyUntrusted(f"key {name_of(key_id)} is not what it must be: {', '.join(deviations)}")
    return handle_of(privates[0]), decode_ec_point(ec_point(session, handle_of(publics[0])))


def destroy(session: Session, key_id: bytes) -> int:
    """Destroy every half under this id, private ones first; return how many there were (0: it was done before)."""
    found = [*_find(session, ObjectClass.PRIVATE_KEY, key_id), *_find(session, ObjectClass.PUBLIC_KEY, key_id)]
    with translated(f"destroy key pair {name_of(key_id)}"):
        for half in found:
            half.destroy()
    return len(found)


def list_ids(session: Session, prefix: bytes) -> list[bytes]:
    """Return the CKA_IDs of stored key pairs, or halves, that begin with a prefix, sorted."""
    with translated("list the key pairs"):
        found = [
            bytes(half[Attribute.ID])
            for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
            for half in session.pkcs11.get_objects({Attribute.CLASS: kind, Attribute.TOKEN: True})
        ]
    return sorted({key_id for key_id in found if key_id.startswith(prefix)})


def _generate(session: Session, key_id: bytes) -> None:
    with translated(f"create key pair {name_of(key_id)}"):
        session.pkcs11.generate_keypair(
            KeyType.EC_EDWARDS,
            id=key_id,
            label=name_of(key_id).replace(":", " "),
            store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            public_template=dict(SIGNING_PUBLIC),
            private_template=dict(RESIDENT_PRIVATE),
        )


def _find(session: Session, kind: ObjectClass, key_id: bytes) -> list[Object]:
    with translated(f"look for key pair {name_of(key_id)}"):
        wanted: dict[Attribute, Any] = {Attribute.CLASS: kind, Attribute.ID: key_id, Attribute.TOKEN: True}
        return list(session.pkcs11.get_objects(wanted))
