"""What the HSM worker keeps: sealing keys, as events, and wrapped material, as records of the keystore topic.

Both carry public keys, digests and wrapped blobs only. What the worker answered to commands is in `outcomes`.
"""

from typing import Annotated

from pydantic import Field

from keyfold.events import topics
from keyfold.events.arguments import Protection
from keyfold.events.event import Count, Epoch, Event, Version
from keyfold.events.specs import KeySpec, KeyUsage, WrappingAlgorithm
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
    """Wrapped material (base64) of a version, and its public half (SubjectPublicKeyInfo, base64) if it has one.

    `material_check` is there for imported material: a keyed digest by which the same material is known again.
    """

    class Data(Frozen):
        key_id: KeyId
        version: Version
        key_spec: KeySpec
        key_usage: KeyUsage = "ENCRYPT_DECRYPT"
        protection: Protection
        blob: str
        public_key: str | None = None
        material_check: Fingerprint | None = None

    type_name = "keyfold.keystore.material-stored.v1"
    data: Data


class KeyMaterialRewrapped(KeystoreRecord):
    """The blobs of a key's versions under a new storage epoch; what is inside is as it was."""

    class Data(Frozen):
        key_id: KeyId
        epoch: Epoch
        blobs: dict[str, str]

    type_name = "keyfold.keystore.material-rewrapped.v1"
    data: Data


class KeyMaterialErased(KeystoreRecord):
    """The blobs of these versions are gone from the keystore; copies in older records are dealt with by an epoch turn.

    `offset` is the command's, `epoch` the last epoch that a blob of them was under. Of versions that were `destroyed`
    it is certified later that nothing opens any more; imported material that was deleted may come again.
    """

    class Data(Frozen):
        key_id: KeyId
        versions: list[Version]
        offset: Count | None = None
        epoch: Epoch | None = None
        blob_digests: dict[str, Fingerprint] = Field(default_factory=dict)
        destroyed: bool = True

    type_name = "keyfold.keystore.material-erased.v1"
    data: Data


class ImportKeyStored(KeystoreRecord):
    """The wrapped private key of one import, and what it is for; an earlier one of the key is void."""

    class Data(Frozen):
        key_id: KeyId
        import_token: Uuid
        version: Version
        key_spec: KeySpec
        key_usage: KeyUsage
        protection: Protection
        wrapping_algorithm: WrappingAlgorithm
        blob: str

    type_name = "keyfold.keystore.import-key-stored.v1"
    data: Data


class ImportKeyErased(KeystoreRecord):
    class Data(Frozen):
        key_id: KeyId
        import_token: Uuid

    type_name = "keyfold.keystore.import-key-erased.v1"
    data: Data


class ErasureCertified(KeystoreRecord):
    """`KeyErased` was stated for these versions: nothing is left to be stated about them."""

    class Data(Frozen):
        key_id: KeyId
        versions: list[Version]

    type_name = "keyfold.keystore.erasure-certified.v1"
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
