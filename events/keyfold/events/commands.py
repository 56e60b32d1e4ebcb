"""Commands: what producers ask for, as closed, strict models, one per verb.

The value of a command record is one CloudEvents 1.0 document. Secrets are never in it: they travel in the sealed body
beside it. Parsing says whether a document is a command; whether it may be obeyed is `keyfold.policy`'s business.
"""

from typing import Any, Final

from keyfold.events import arguments as args
from keyfold.events import incident_arguments as incidents
from keyfold.events import strictjson
from keyfold.events import use_arguments as uses
from keyfold.events.command_envelope import TYPE_PREFIX, Command, DataPlaneCommand
from keyfold.events.errors import UnsupportedVersion
from keyfold.events.specs import SYMMETRIC_ONLY
from keyfold.events.strictjson import Frozen

_ALGORITHM_NAMES: Final = (
    "encryption_algorithm",
    "signing_algorithm",
    "mac_algorithm",
    "key_agreement_algorithm",
    "key_encapsulation_algorithm",
)


class CreateKey(Command[args.CreateKeyArguments]):
    verb, scope = "CreateKey", "key"


class RotateKey(Command[args.RotateKeyArguments]):
    verb, scope = "RotateKey", "key"


class EnableKey(Command[args.NoArguments]):
    verb, scope = "EnableKey", "key"


class DisableKey(Command[args.ReasonArguments]):
    verb, scope = "DisableKey", "key"


class ScheduleKeyDeletion(Command[args.ScheduleKeyDeletionArguments]):
    verb, scope = "ScheduleKeyDeletion", "key"


class CancelKeyDeletion(Command[args.NoArguments]):
    verb, scope = "CancelKeyDeletion", "key"


class DestroyKey(Command[args.NoArguments]):
    """Sent by the scheduler when the waiting period is over."""

    verb, scope = "DestroyKey", "key"


class DestroyKeyNow(Command[args.NoArguments]):
    """Destroys without a waiting period: for a policy that asks for approvals."""

    verb, scope = "DestroyKeyNow", "key"


class TagResource(Command[args.TagArguments]):
    verb, scope = "TagResource", "key"


class UntagResource(Command[args.UntagArguments]):
    verb, scope = "UntagResource", "key"


class UpdateUsageBudget(Command[args.UsageBudgetArguments]):
    verb, scope = "UpdateUsageBudget", "key"


class UpdateKeyValidity(Command[args.KeyValidityArguments]):
    verb, scope = "UpdateKeyValidity", "key"


class EnableKeyRotation(Command[args.KeyRotationArguments]):
    """Rotation by period, from now on."""

    verb, scope = "EnableKeyRotation", "key"


class DisableKeyRotation(Command[args.NoArguments]):
    verb, scope = "DisableKeyRotation", "key"


class DisableKeyVersion(Command[args.KeyVersionArguments]):
    """A version that is not the current one stops opening and verifying."""

    verb, scope = "DisableKeyVersion", "key"


class EnableKeyVersion(Command[args.KeyVersionArguments]):
    verb, scope = "EnableKeyVersion", "key"


class DestroyKeyVersion(Command[args.KeyVersionArguments]):
    """A version that was disabled or compromised for the waiting period loses its material, alone."""

    verb, scope = "DestroyKeyVersion", "key"


class MarkKeyCompromised(Command[args.MarkKeyCompromisedArguments]):
    verb, scope = "MarkKeyCompromised", "key"


class GetPublicKey(Command[args.GetPublicKeyArguments]):
    verb, scope = "GetPublicKey", "key"


class GetParametersForImport(Command[args.GetParametersForImportArguments]):
    """A wrapping key for one import; an earlier one of this key is void."""

    verb, scope = "GetParametersForImport", "key"


class ImportKeyMaterial(DataPlaneCommand[args.ImportKeyMaterialArguments]):
    """Its one item is the wrapped material."""

    verb, scope = "ImportKeyMaterial", "key"


class DeleteImportedKeyMaterial(Command[args.DeleteImportedKeyMaterialArguments]):
    verb, scope = "DeleteImportedKeyMaterial", "key"


class CreateGrant(Command[args.CreateGrantArguments]):
    verb, scope = "CreateGrant", "key"


class RetireGrant(Command[args.GrantArguments]):
    """By the grantee, the retiring principal, or whom a policy permits it."""

    verb, scope = "RetireGrant", "key"


class RevokeGrant(Command[args.GrantArguments]):
    verb, scope = "RevokeGrant", "key"


class CreateAlias(Command[args.AliasArguments]):
    verb, scope = "CreateAlias", "registry"


class UpdateAlias(Command[args.AliasArguments]):
    verb, scope = "UpdateAlias", "registry"


class DeleteAlias(Command[args.AliasNameArguments]):
    verb, scope = "DeleteAlias", "registry"


class RegisterPrincipal(Command[args.RegisterPrincipalArguments]):
    verb, scope = "RegisterPrincipal", "registry"


class UpdatePrincipal(Command[args.UpdatePrincipalArguments]):
    verb, scope = "UpdatePrincipal", "registry"


class SuspendPrincipal(Command[args.SuspendPrincipalArguments]):
    verb, scope = "SuspendPrincipal", "registry"


class ResumePrincipal(Command[args.PrincipalArguments]):
    verb, scope = "ResumePrincipal", "registry"


class RevokePrincipal(Command[args.PrincipalArguments]):
    verb, scope = "RevokePrincipal", "registry"


class AddSigningKey(Command[args.AddSigningKeyArguments]):
    verb, scope = "AddSigningKey", "registry"


class RotateSigningKey(Command[args.RotateSigningKeyArguments]):
    verb, scope = "RotateSigningKey", "registry"


class RevokeSigningKey(Command[args.RevokeSigningKeyArguments]):
    verb, scope = "RevokeSigningKey", "registry"


class AssumePrincipalWithWebIdentity(Command[args.WebIdentityArguments]):
    """Signed with the key that the token binds; its principal need not be known before."""

    verb, scope = "AssumePrincipalWithWebIdentity", "registry"


class PutIssuer(Command[args.PutIssuerArguments]):
    verb, scope = "PutIssuer", "registry"


class DeleteIssuer(Command[args.IssuerArguments]):
    verb, scope = "DeleteIssuer", "registry"


class PutIssuerKeys(Command[args.PutIssuerKeysArguments]):
    """Sent by the scheduler, which reads key sets from where the issuer publishes them."""

    verb, scope = "PutIssuerKeys", "registry"


class PutLimit(Command[args.PutLimitArguments]):
    verb, scope = "PutLimit", "registry"


class DeleteLimit(Command[args.LimitArguments]):
    verb, scope = "DeleteLimit", "registry"


class AcknowledgeIncident(Command[incidents.AcknowledgeIncidentArguments]):
    verb, scope = "AcknowledgeIncident", "registry"


class CloseIncident(Command[incidents.CloseIncidentArguments]):
    verb, scope = "CloseIncident", "registry"


class PutSuppression(Command[incidents.PutSuppressionArguments]):
    verb, scope = "PutSuppression", "registry"


class DeleteSuppression(Command[incidents.SuppressionArguments]):
    verb, scope = "DeleteSuppression", "registry"


class PutPolicy(Command[args.PutPolicyArguments]):
    verb, scope = "PutPolicy", "any"


class DeletePolicy(Command[args.PolicyArguments]):
    verb, scope = "DeletePolicy", "any"


class ProposeCommand(Command[args.ProposeCommandArguments]):
    verb, scope = "ProposeCommand", "any"


class ApproveProposal(Command[args.DecideProposalArguments]):
    verb, scope = "ApproveProposal", "any"


class DenyProposal(Command[args.DecideProposalArguments]):
    verb, scope = "DenyProposal", "any"


class CancelProposal(Command[args.ProposalArguments]):
    verb, scope = "CancelProposal", "any"


class RotateSealingKey(Command[args.NoArguments]):
    """Sent by the scheduler once a day."""

    verb, scope = "RotateSealingKey", "registry"


class EraseSealingKey(Command[args.SealingKeyArguments]):
    """Sent by the scheduler when nothing sealed to a retired key can be valid any more."""

    verb, scope = "EraseSealingKey", "registry"


class BeginStorageEpoch(Command[args.NoArguments]):
    """All blobs are made anew under the next storage epoch. For a policy that asks for approvals."""

    verb, scope = "BeginStorageEpoch", "registry"


class EndStorageEpoch(Command[args.EndStorageEpochArguments]):
    """Sent by the scheduler when every partition has turned: the old epoch's key is destroyed."""

    verb, scope = "EndStorageEpoch", "registry"


class Encrypt(DataPlaneCommand[uses.EncryptArguments]):
    verb, scope = "Encrypt", "key"


class Decrypt(DataPlaneCommand[uses.DecryptArguments]):
    verb, scope = "Decrypt", "key"


class ReEncrypt(DataPlaneCommand[uses.ReEncryptArguments]):
    verb, scope = "ReEncrypt", "key"


class ReEncryptFrom(DataPlaneCommand[uses.ReEncryptFromArguments]):
    verb, scope = "ReEncryptFrom", "key"


class ReEncryptTo(DataPlaneCommand[uses.ReEncryptToArguments]):
    verb, scope = "ReEncryptTo", "key"


class Sign(DataPlaneCommand[uses.SignArguments]):
    verb, scope = "Sign", "key"


class Verify(DataPlaneCommand[uses.VerifyArguments]):
    verb, scope = "Verify", "key"


class GenerateMac(DataPlaneCommand[uses.GenerateMacArguments]):
    verb, scope = "GenerateMac", "key"


class VerifyMac(DataPlaneCommand[uses.VerifyMacArguments]):
    verb, scope = "VerifyMac", "key"


class DeriveSharedSecret(DataPlaneCommand[uses.DeriveSharedSecretArguments]):
    verb, scope = "DeriveSharedSecret", "key"


class Encapsulate(DataPlaneCommand[uses.EncapsulateArguments]):
    verb, scope = "Encapsulate", "key"


class Decapsulate(DataPlaneCommand[uses.DecapsulateArguments]):
    verb, scope = "Decapsulate", "key"


class GenerateDataKeyPair(DataPlaneCommand[uses.DataKeyPairArguments]):
    verb, scope = "GenerateDataKeyPair", "key"


class GenerateDataKeyPairWithoutPlaintext(DataPlaneCommand[uses.DataKeyPairArguments]):
    verb, scope = "GenerateDataKeyPairWithoutPlaintext", "key"


class GenerateDataKey(DataPlaneCommand[uses.DataKeyArguments]):
    verb, scope = "GenerateDataKey", "key"


class GenerateDataKeyWithoutPlaintext(DataPlaneCommand[uses.DataKeyArguments]):
    verb, scope = "GenerateDataKeyWithoutPlaintext", "key"


class GenerateRandom(DataPlaneCommand[uses.DataKeyArguments]):
    verb, scope = "GenerateRandom", "principal"


AnyCommand = Command[Any]
COMMANDS: Final[tuple[type[AnyCommand], ...]] = (
    CreateKey, RotateKey, EnableKey, DisableKey, ScheduleKeyDeletion, CancelKeyDeletion, DestroyKey, DestroyKeyNow,
    UpdateKeyValidity, EnableKeyRotation, DisableKeyRotation, DisableKeyVersion, EnableKeyVersion, DestroyKeyVersion,
    MarkKeyCompromised, GetPublicKey, GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial,
    TagResource, UntagResource, UpdateUsageBudget, CreateGrant, RetireGrant, RevokeGrant,
    Encrypt, Decrypt, ReEncrypt, ReEncryptFrom, ReEncryptTo, Sign, Verify, GenerateMac, VerifyMac, DeriveSharedSecret,
    Encapsulate, Decapsulate, GenerateDataKey, GenerateDataKeyWithoutPlaintext, GenerateDataKeyPair,
    GenerateDataKeyPairWithoutPlaintext, GenerateRandom,
    CreateAlias, UpdateAlias, DeleteAlias,
    RegisterPrincipal, UpdatePrincipal, SuspendPrincipal, ResumePrincipal, RevokePrincipal,
    AddSigningKey, RotateSigningKey, RevokeSigningKey, AssumePrincipalWithWebIdentity,
    PutIssuer, DeleteIssuer, PutIssuerKeys, PutLimit, DeleteLimit, PutPolicy, DeletePolicy,
    AcknowledgeIncident, CloseIncident, PutSuppression, DeleteSuppression,
    ProposeCommand, ApproveProposal, DenyProposal, CancelProposal,
    RotateSealingKey, EraseSealingKey, BeginStorageEpoch, EndStorageEpoch,
)  # fmt: skip
BY_VERB: Final = {model.verb: model for model in COMMANDS}
_BY_TYPE: Final = {f"{TYPE_PREFIX}{model.verb}.v1": model for model in COMMANDS}


def arguments_model(verb: str) -> type[Frozen]:
    """Return the model of a verb's arguments. Raises KeyError."""
    data: Any = BY_VERB[verb].model_fields["data"].annotation
    model: type[Frozen] = data.model_fields["arguments"].annotation
    return model


def type_of(verb: str) -> str:
    """Return the CloudEvents type of a verb's current version."""
    return f"{TYPE_PREFIX}{verb}.v1"


def parse_command(value: bytes) -> AnyCommand:
    """Parse exact bytes. Raises `InvalidCommand`, or `UnsupportedVersion` for a type that is not known here."""
    kind = strictjson.loads(value).get("type")
    model = _BY_TYPE.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise UnsupportedVersion
    return strictjson.parse(model, value)


def algorithm_of(command: AnyCommand) -> str:
    """Return the algorithm by which a command uses a key; empty for verbs that use none."""
    for name in _ALGORITHM_NAMES:
        found = getattr(command.data.arguments, name, None)
        if isinstance(found, str):
            return found
    return "SYMMETRIC_DEFAULT" if command.verb in SYMMETRIC_ONLY else ""
