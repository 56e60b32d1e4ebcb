"""Events about the token and the storage epochs: what a token can do, and that erased material is beyond recovery.

The outer envelope of every blob is made by the key of a storage epoch. When all blobs are made anew under the next
epoch's key and the old one is destroyed, no copy of an erased blob, in the log or its backups, opens with this token.
"""

from typing import Annotated

from pydantic import Field

from keyfold.events.arguments import Protection
from keyfold.events.event import Count, DecisionData, Epoch, Event, PolicyEvent, Version
from keyfold.events.specs import KeySpec, KeyUsage
from keyfold.events.streams import Fingerprint, KeyId, Uuid
from keyfold.events.strictjson import Frozen


class Capability(Frozen):
    """What keys of one spec, usage and protection level can do here. `resident`: they stay inside the token."""

    key_spec: KeySpec
    key_usage: KeyUsage
    protection: Protection
    algorithms: list[str]
    resident: bool = False


class TokenCapabilitiesFound(Event):
    """What the HSM worker found that its token and library offer, by trying. `imports` says where wrapped keys open."""

    class Data(Frozen):
        module: Annotated[str, Field(max_length=200)]
        capabilities: Annotated[list[Capability], Field(max_length=200)]
        imports: Annotated[dict[str, str], Field(max_length=10)]

    role = "hsm"
    type_name = "keyfold.token.capabilities-found.v1"
    data: Data


class StorageEpochBegun(PolicyEvent):
    """The next epoch: from now on every partition makes its blobs anew under it."""

    class Data(DecisionData):
        epoch: Epoch

    type_name = "keyfold.storage-epoch.begun.v1"
    data: Data


class StorageEpochTurned(Event):
    """Every live blob of this partition is under the epoch; `versions` were made anew."""

    class Data(Frozen):
        epoch: Epoch
        partition: Count
        versions: Count

    role = "hsm"
    type_name = "keyfold.storage-epoch.turned.v1"
    data: Data


class StorageEpochKeyDestroyed(Event):
    """The key of an epoch is gone from the token: what the token answered, and how many keys it still finds."""

    class Data(Frozen):
        epoch: Epoch
        token: Annotated[str, Field(max_length=100)]
        serial: Annotated[str, Field(max_length=100)]
        module: Annotated[str, Field(max_length=200)]
        answer: Annotated[str, Field(max_length=100)]
        found_after: Count
        evidence: dict[str, Count]

    role = "hsm"
    type_name = "keyfold.storage-epoch.key-destroyed.v1"
    data: Data


class KeyErased(Event):
    """The erasure certificate of versions of a key: from now on no copy of their blobs opens with this token.

    `destroyed_by` is the offset of the command that destroyed each version, `epoch` the last epoch that a blob of them
    was under: that one and all before it have ended, the last by the event `epoch_key_destroyed`. `sealing_key` is the
    last that can have carried payloads of the key: it and all before it are erased. `covers` and `does_not_cover` say
    what is claimed, in the terms of the operations manual; on a token in software it is a `demonstration`.
    """

    class Data(Frozen):
        key_id: KeyId
        versions: Annotated[list[Version], Field(min_length=1)]
        destroyed_by: dict[str, Count]
        blob_digests: dict[str, Fingerprint]
        epoch: Epoch
        epoch_key_destroyed: Annotated[str, Field(max_length=200)]
        sealing_key: Uuid | None
        module: Annotated[str, Field(max_length=200)]
        demonstration: bool
        covers: list[Annotated[str, Field(max_length=100)]]
        does_not_cover: list[Annotated[str, Field(max_length=100)]]

    role = "hsm"
    type_name = "keyfold.key.erased.v1"
    data: Data
