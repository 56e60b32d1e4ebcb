"""What the HSM worker keeps: sealing keys, as events, and wrapped material, as records of the keystore topic.

Both carry public keys, digests and wrapped blobs only. What the worker answered to commands is in `outcomes`.
"""

from typing import Annotated

from pydantic import Field

from keyfold.events import topics
from keyfold.events.arguments import KeySpec, Protection
from keyfold.events.event import Event, Version
from keyfold.events.streams import Fingerprint, KeyId, Uuid
from keyfold.events.strictjson import Frozen


class SealingKeyPublished(Event):
    """The public HPKE key that bodies are sealed to from now on (MLKEM768_X25519, 1,216 bytes as hex)."""

    class Data(Frozen):
        sealing_key: Uuid
        public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{2432}$")]
        blob_digest: Fingerprint

    role = "hsm"
    type_name = "keyfold.sealing-key.published.v1"
    data: Data


class SealingKeyErased(Event):
    """The token key that wrapped a retired sealing key is destroyed; what was sealed to it cannot be opened."""

    class Data(Frozen):
        sealing_key: Uuid

    role = "hsm"
    type_name = "keyfold.sealing-key.erased.v1"
    data: Data


class KeystoreRecord(Event):
    """Records of the keystore topic: wrapped material, written in the same transaction as its event."""

    role = "hsm"
    topic = topics.KEYSTORE


class KeyMaterialStored(KeystoreRecord):
    class Data(Frozen):
        key_id: KeyId
        version: Version
        key_spec: KeySpec
        protection: Protection
        blob: str

    type_name = "keyfold.keystore.material-stored.v1"
    data: Data


class KeyMaterialErased(KeystoreRecord):
    class Data(Frozen):
        key_id: KeyId
        versions: list[Version]

    type_name = "keyfold.keystore.material-erased.v1"
    data: Data


class SealingKeyStored(KeystoreRecord):
    class Data(Frozen):
        sealing_key: Uuid
        public_key: str
        blob: str

    type_name = "keyfold.keystore.sealing-key-stored.v1"
    data: Data


class SealingKeyDeleted(KeystoreRecord):
    class Data(Frozen):
        sealing_key: Uuid

    type_name = "keyfold.keystore.sealing-key-deleted.v1"
    data: Data
