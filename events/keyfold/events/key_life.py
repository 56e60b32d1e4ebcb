"""Events about the life of keys and their versions beyond creation and rotation: validity, states, compromise, import.

Policy decides them; what the HSM worker did about them is in `outcomes`. Part of the vocabulary that is whole in
`facts`.
"""

from typing import Annotated

from pydantic import Field

from keyfold.events.arguments import DeletionCause, Protection, RotationPeriod
from keyfold.events.event import DecisionData, PolicyEvent, Version
from keyfold.events.specs import KeySpec, KeyUsage, WrappingAlgorithm, WrappingKeySpec
from keyfold.events.streams import KeyId, Uuid
from keyfold.events.times import Instant


class KeyDecisionData(DecisionData):
    key_id: KeyId


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
