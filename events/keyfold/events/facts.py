"""Events: what happened, as a closed vocabulary of immutable facts in the past tense.

Each class names its CloudEvents type, the role that may write it and the topic it belongs on; every reader enforces
that table (`trust`). Fields are whitelisted: no plaintext, no KMS ciphertext, no unkeyed hash of either. Policy's
events carry the decision with the command's exact bytes, so that it can be checked, explained and made again from
events alone; the HSM worker's events name the command's offset.

The vocabulary is whole here. Its classes about who may do what are defined in `governance`, those about incidents in
`incident_facts`, those about the life of keys in `key_life`, the HSM worker's in `outcomes`, `keystore` and `storage`,
root's in `root`.
"""

from typing import Final

from pydantic import Field

from keyfold.events import strictjson
from keyfold.events.arguments import (
    Protection,
)
from keyfold.events.errors import UnsupportedVersion
from keyfold.events.event import Code, Count, Decision, DecisionData, Event, PolicyEvent, ProposalUse, Role, Version
from keyfold.events.governance import (
    GrantCreated,
    GrantRetired,
    GrantRevoked,
    InitialPolicy,
    InitialPrincipal,
    IssuerDeleted,
    IssuerKeysPut,
    IssuerPut,
    LimitDeleted,
    LimitPut,
    PolicyDeleted,
    PolicyPut,
    PolicyReset,
    PrincipalAuthenticated,
    PrincipalRegistered,
    PrincipalResumed,
    PrincipalRevoked,
    PrincipalSuspended,
    PrincipalUpdated,
    ProposalApproved,
    ProposalCancelled,
    ProposalCreated,
    ProposalDenied,
    SigningKeyAdded,
    SigningKeyRevoked,
    SigningKeyRotated,
)
from keyfold.events.incident_facts import (
    IncidentAcknowledged,
    IncidentClosed,
    SuppressionDeleted,
    SuppressionPut,
)
from keyfold.events.key_life import (
    ImportedKeyMaterialDeleted,
    ImportParametersIssued,
    KeyCompromised,
    KeyCreated,
    KeyDecisionData,
    KeyDeletionCancelled,
    KeyDeletionScheduled,
    KeyDestroyed,
    KeyDisabled,
    KeyEnabled,
    KeyRotated,
    KeyRotationDisabled,
    KeyRotationEnabled,
    KeyTagged,
    KeyValidityUpdated,
    KeyVersionDestroyed,
    KeyVersionDisabled,
    KeyVersionEnabled,
    UsageBudgetUpdated,
    UsageBudgetWarning,
)
from keyfold.events.keystore import (
    ErasureCertified,
    ImportKeyErased,
    ImportKeyStored,
    KeyMaterialErased,
    KeyMaterialRewrapped,
    KeyMaterialStored,
    KeystoreRecord,
    SealingKeyDeleted,
    SealingKeyErased,
    SealingKeyPublished,
    SealingKeyStored,
)
from keyfold.events.outcomes import (
    CommandCompleted,
    ImportParametersCreated,
    KeyMaterialGenerated,
    KeyMaterialImported,
    KeyUseCeased,
    KeyUsed,
    OperationFailed,
    Outcome,
    OutcomeData,
)
from keyfold.events.root import Genesis, ServiceKeyCertified, ServiceKeyRevoked
from keyfold.events.storage import (
    Capability,
    KeyErased,
    StorageEpochBegun,
    StorageEpochKeyDestroyed,
    StorageEpochTurned,
    TokenCapabilitiesFound,
)
from keyfold.events.streams import AliasName, KeyId, Name

__all__ = [
    "BY_TYPE",
    "EVENT_TYPES",
    "AliasCreated",
    "AliasDeleted",
    "AliasUpdated",
    "Capability",
    "Code",
    "CommandAuthorized",
    "CommandCompleted",
    "CommandDenied",
    "Count",
    "Decision",
    "DecisionData",
    "DryRunSucceeded",
    "ErasureCertified",
    "Event",
    "Genesis",
    "GrantCreated",
    "GrantRetired",
    "GrantRevoked",
    "ImportKeyErased",
    "ImportKeyStored",
    "ImportParametersCreated",
    "ImportParametersIssued",
    "ImportedKeyMaterialDeleted",
    "IncidentAcknowledged",
    "IncidentClosed",
    "InitialPolicy",
    "InitialPrincipal",
    "IssuerDeleted",
    "IssuerKeysPut",
    "IssuerPut",
    "KeyCompromised",
    "KeyCreated",
    "KeyDecisionData",
    "KeyDeletionCancelled",
    "KeyDeletionScheduled",
    "KeyDestroyed",
    "KeyDisabled",
    "KeyEnabled",
    "KeyErased",
    "KeyMaterialErased",
    "KeyMaterialGenerated",
    "KeyMaterialImported",
    "KeyMaterialRewrapped",
    "KeyMaterialStored",
    "KeyRotated",
    "KeyRotationDisabled",
    "KeyRotationEnabled",
    "KeyTagged",
    "KeyUseCeased",
    "KeyUsed",
    "KeyValidityUpdated",
    "KeyVersionDestroyed",
    "KeyVersionDisabled",
    "KeyVersionEnabled",
    "KeystoreRecord",
    "LimitDeleted",
    "LimitPut",
    "OperationFailed",
    "Outcome",
    "OutcomeData",
    "PolicyDeleted",
    "PolicyEvent",
    "PolicyPut",
    "PolicyReset",
    "PrincipalAuthenticated",
    "PrincipalRegistered",
    "PrincipalResumed",
    "PrincipalRevoked",
    "PrincipalSuspended",
    "PrincipalUpdated",
    "ProposalApproved",
    "ProposalCancelled",
    "ProposalCreated",
    "ProposalDenied",
    "ProposalUse",
    "Role",
    "SealingKeyDeleted",
    "SealingKeyErased",
    "SealingKeyPublished",
    "SealingKeyStored",
    "ServiceKeyCertified",
    "ServiceKeyRevoked",
    "SigningKeyAdded",
    "SigningKeyRevoked",
    "SigningKeyRotated",
    "StorageEpochBegun",
    "StorageEpochKeyDestroyed",
    "StorageEpochTurned",
    "SuppressionDeleted",
    "SuppressionPut",
    "TokenCapabilitiesFound",
    "UsageBudgetUpdated",
    "UsageBudgetWarning",
    "Version",
    "parse_event",
]


class CommandAuthorized(PolicyEvent):
    """A command without a lifecycle fact of its own may be executed; its use is charged here.

    `refused_versions` are those that it must not use although their material may exist: disabled ones, and compromised
    ones where no policy names the principal. `key_version` is the version that it uses, where the command says which.
    """

    class Data(DecisionData):
        verb: str
        principal: Name
        key_id: KeyId | None
        key_version: Version | None
        protection: Protection | None
        items: Count
        bytes: Count
        refused_versions: list[Version] = Field(default_factory=list)

    type_name = "keyfold.command.authorized.v1"
    data: Data


class CommandDenied(PolicyEvent):
    """A command of an authenticated principal was refused; `code` says why."""

    class Data(DecisionData):
        verb: str
        principal: Name
        code: Code

    type_name = "keyfold.command.denied.v1"
    data: Data


class DryRunSucceeded(PolicyEvent):
    """A dry run: the command would have become an event of type `would_be`. Nothing is executed."""

    class Data(DecisionData):
        verb: str
        principal: Name
        would_be: str

    type_name = "keyfold.command.dry-run-succeeded.v1"
    data: Data


class AliasCreated(PolicyEvent):
    class Data(KeyDecisionData):
        alias: AliasName

    type_name = "keyfold.alias.created.v1"
    data: Data


class AliasUpdated(PolicyEvent):
    class Data(KeyDecisionData):
        alias: AliasName

    type_name = "keyfold.alias.updated.v1"
    data: Data


class AliasDeleted(PolicyEvent):
    class Data(DecisionData):
        alias: AliasName

    type_name = "keyfold.alias.deleted.v1"
    data: Data


EVENT_TYPES: Final[tuple[type[Event], ...]] = (
    CommandAuthorized, CommandDenied, DryRunSucceeded,
    KeyCreated, KeyRotated, KeyEnabled, KeyDisabled, KeyDeletionScheduled, KeyDeletionCancelled, KeyDestroyed,
    KeyTagged, UsageBudgetUpdated, UsageBudgetWarning,
    KeyValidityUpdated, KeyRotationEnabled, KeyRotationDisabled,
    KeyVersionDisabled, KeyVersionEnabled, KeyVersionDestroyed, KeyCompromised,
    ImportParametersIssued, ImportedKeyMaterialDeleted,
    AliasCreated, AliasUpdated, AliasDeleted,
    PrincipalRegistered, PrincipalUpdated, PrincipalSuspended, PrincipalResumed, PrincipalRevoked,
    SigningKeyAdded, SigningKeyRotated, SigningKeyRevoked, PrincipalAuthenticated,
    IssuerPut, IssuerDeleted, IssuerKeysPut, PolicyPut, PolicyDeleted, LimitPut, LimitDeleted,
    IncidentAcknowledged, IncidentClosed, SuppressionPut, SuppressionDeleted,
    GrantCreated, GrantRetired, GrantRevoked,
    ProposalCreated, ProposalApproved, ProposalDenied, ProposalCancelled,
    StorageEpochBegun,
    KeyUsed, KeyMaterialGenerated, KeyMaterialImported, ImportParametersCreated, KeyUseCeased, CommandCompleted,
    OperationFailed,
    SealingKeyPublished, SealingKeyErased, TokenCapabilitiesFound,
    StorageEpochTurned, StorageEpochKeyDestroyed, KeyErased,
    Genesis, ServiceKeyCertified, ServiceKeyRevoked, PolicyReset,
    KeyMaterialStored, KeyMaterialRewrapped, KeyMaterialErased, ImportKeyStored, ImportKeyErased, ErasureCertified,
    SealingKeyStored, SealingKeyDeleted,
)  # fmt: skip
BY_TYPE: Final = {model.type_name: model for model in EVENT_TYPES}


def parse_event(value: bytes) -> Event:
    """Parse exact bytes. Raises `InvalidCommand`, or `UnsupportedVersion` for a type that is not known here."""
    kind = strictjson.loads(value).get("type")
    model = BY_TYPE.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise UnsupportedVersion
    return strictjson.parse(model, value)
