"""Events about the life of keys and their versions: creation, rotation, states, budgets, compromise, import.

Policy decides them; what the HSM worker did about them is in `outcomes`. Part of the vocabulary that is whole in
`facts`.
"""

from typing import Annotated

from pydantic import Field

from keyfold.events.arguments import (
    MAX_PROTECTED_ITEMS,
    Budget,
    DeletionCause,
    Origin,
    Protection,
    RotatePercent,
    RotationCause,
    RotationPeriod,
    Tags,
)
from keyfold.events.event import Count, DecisionData, Event, PolicyEvent, Version
from keyfold.events.specs import KeySpec, KeyUsage, WrappingAlgorithm, WrappingKeySpec
from keyfold.events.streams import KeyId, Name, Uuid
from keyfold.events.strictjson import Frozen
from keyfold.events.times import Instant


class KeyDecisionData(DecisionData):
    key_id: KeyId


class KeyCreated(PolicyEvent):
    class Data(KeyDecisionData):
        key_spec: KeySpec
        key_usage: KeyUsage = "ENCRYPT_DECRYPT"
        origin: Origin = "KEYFOLD"
        protection: Protection
        description: str
        tags: Tags
        created_by: Name
        usage_budget: Budget = MAX_PROTECTED_ITEMS
        rotate_at_percent: RotatePercent | None = None
        not_before: Instant | None = None
        not_after: Instant | None = None
        rotation_period_seconds: RotationPeriod | None = None

    type_name = "keyfold.key.created.v1"
    data: Data


class KeyRotated(PolicyEvent):
    class Data(KeyDecisionData):
        version: Version
        key_spec: KeySpec
        key_usage: KeyUsage = "ENCRYPT_DECRYPT"
        origin: Origin = "KEYFOLD"
        protection: Protection
        cause: RotationCause

    type_name = "keyfold.key.rotated.v1"
    data: Data


class KeyEnabled(PolicyEvent):
    class Data(KeyDecisionData):
        pass

    type_name = "keyfold.key.enabled.v1"
    data: Data


class KeyDisabled(PolicyEvent):
    class Data(KeyDecisionData):
        reason: str

    type_name = "keyfold.key.disabled.v1"
    data: Data


class KeyDeletionScheduled(PolicyEvent):
    class Data(KeyDecisionData):
        deletion_date: Instant

    type_name = "keyfold.key.deletion-scheduled.v1"
    data: Data


class KeyDeletionCancelled(PolicyEvent):
    class Data(KeyDecisionData):
        pass

    type_name = "keyfold.key.deletion-cancelled.v1"
    data: Data


class KeyDestroyed(PolicyEvent):
    class Data(KeyDecisionData):
        versions: list[Version]

    type_name = "keyfold.key.destroyed.v1"
    data: Data


class KeyTagged(PolicyEvent):
    """The key's tags from now on, all of them."""

    class Data(KeyDecisionData):
        tags: Tags

    type_name = "keyfold.key.tagged.v1"
    data: Data


class UsageBudgetUpdated(PolicyEvent):
    class Data(KeyDecisionData):
        items: Budget
        rotate_at_percent: RotatePercent | None

    type_name = "keyfold.key.usage-budget-updated.v1"
    data: Data


class UsageBudgetWarning(Event):
    """With the command at `offset`, a key version has used this part of its budget. Said once for each percentage."""

    class Data(Frozen):
        key_id: KeyId
        version: Version
        percent: Annotated[int, Field(ge=1, le=100)]
        protected_items: Count
        usage_budget: Budget
        offset: Count

    role = "policy"
    type_name = "keyfold.key.usage-budget-warning.v1"
    data: Data


class KeyValidityUpdated(PolicyEvent):
    """When the key protects, from now on; None is no bound."""

    class Data(KeyDecisionData):
        not_before: Instant | None
        not_after: Instant | None

    type_name = "keyfold.key.validity-updated.v1"
    data: Data


class KeyRotationEnabled(PolicyEvent):
    class Data(KeyDecisionData):
        rotation_period_seconds: RotationPeriod

    type_name = "keyfold.key.rotation-enabled.v1"
    data: Data


class KeyRotationDisabled(PolicyEvent):
    class Data(KeyDecisionData):
        pass

    type_name = "keyfold.key.rotation-disabled.v1"
    data: Data


class _VersionData(KeyDecisionData):
    version: Version
    reason: str


class KeyVersionDisabled(PolicyEvent):
    class Data(_VersionData):
        pass

    type_name = "keyfold.key.version-disabled.v1"
    data: Data


class KeyVersionEnabled(PolicyEvent):
    class Data(_VersionData):
        pass

    type_name = "keyfold.key.version-enabled.v1"
    data: Data


class KeyVersionDestroyed(PolicyEvent):
    class Data(_VersionData):
        pass

    type_name = "keyfold.key.version-destroyed.v1"
    data: Data


class KeyCompromised(PolicyEvent):
    """These versions are compromised since `occurred_at` (KMIP: Compromise Occurrence Date)."""

    class Data(KeyDecisionData):
        versions: Annotated[list[Version], Field(min_length=1)]
        occurred_at: Instant
        reason: str

    type_name = "keyfold.key.compromised.v1"
    data: Data


class ImportParametersIssued(PolicyEvent):
    """One import of material for this version is open until `expires_at`; an earlier one is void."""

    class Data(KeyDecisionData):
        import_token: Uuid
        version: Version
        key_spec: KeySpec
        key_usage: KeyUsage
        protection: Protection
        wrapping_algorithm: WrappingAlgorithm
        wrapping_key_spec: WrappingKeySpec
        expires_at: Instant

    type_name = "keyfold.key.import-parameters-issued.v1"
    data: Data


class ImportedKeyMaterialDeleted(PolicyEvent):
    """The version has no material until the same material is imported again."""

    class Data(KeyDecisionData):
        version: Version
        cause: DeletionCause

    type_name = "keyfold.key.imported-material-deleted.v1"
    data: Data
