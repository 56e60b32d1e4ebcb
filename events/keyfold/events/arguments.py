"""What commands take as arguments: closed, strict models and the types that they share with events.

Whether arguments make sense together with what exists is policy's business; here only form and bounds are said.
"""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from keyfold.events.signatures import SignatureAlgorithm, check_public_key
from keyfold.events.specs import (
    EncryptionAlgorithm,
    KeyAgreementAlgorithm,
    KeyEncapsulationAlgorithm,
    KeySpec,
    KeyUsage,
    MacAlgorithm,
    SigningAlgorithm,
    WrappingAlgorithm,
    WrappingKeySpec,
)
from keyfold.events.streams import AliasName, Fingerprint, KeyId, Name, Uuid
from keyfold.events.strictjson import Frozen
from keyfold.events.times import Instant

MAX_ITEMS: Final = 1000
MAX_PROTECTED_ITEMS: Final = 2**31
"""Items that one key version may protect at most: well before the 2^32 invocations of AES-GCM with random nonces that
NIST SP 800-38D, section 8.3, allows."""

Protection = Literal["HSM", "SOFTWARE"]
Origin = Literal["KEYFOLD", "EXTERNAL"]
PrincipalType = Literal["human", "workload"]
RotationCause = Literal["requested", "usage-budget", "period", "compromise"]
DeletionCause = Literal["requested", "expired"]
LimitKind = Literal["rate", "quota"]
LimitUnit = Literal["commands", "items"]
LimitScope = Literal["principal", "key"]
JwsAlgorithm = Literal[
    "EdDSA", "Ed25519", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"
]
GrantVerb = Literal[
    "Encrypt", "Decrypt", "ReEncrypt", "ReEncryptFrom", "ReEncryptTo",
    "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
    "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext",
    "Sign", "Verify", "GenerateMac", "VerifyMac", "DeriveSharedSecret", "Encapsulate", "Decapsulate",
    "GetPublicKey", "CreateGrant",
]  # fmt: skip
GrantAlgorithm = (
    EncryptionAlgorithm | SigningAlgorithm | MacAlgorithm | KeyAgreementAlgorithm | KeyEncapsulationAlgorithm
)
Text = Annotated[str, StringConstraints(max_length=1024)]
TagName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Tags = Annotated[dict[TagName, Text], Field(max_length=50)]
Groups = Annotated[list[Name], Field(max_length=50)]
PolicyText = Annotated[str, StringConstraints(min_length=1, max_length=32_768)]
VerbName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]{2,63}$")]
Budget = Annotated[int, Field(ge=1, le=MAX_PROTECTED_ITEMS)]
RotatePercent = Annotated[int, Field(ge=1, le=95)]
KeyVersionNumber = Annotated[int, Field(ge=1, le=2**32 - 1)]
RotationPeriod = Annotated[int, Field(ge=1, le=2560 * 86_400)]
PublicKey = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|[0-9a-f]{3904})$")]
Context = dict[str, str]
Jwks = Annotated[str, StringConstraints(min_length=2, max_length=65_536)]


class NoArguments(Frozen):
    """For verbs that need none."""


class CreateKeyArguments(Frozen):
    """`usage_budget` is how many items a version may protect; at `rotate_at_percent` of it the key is rotated.

    `key_usage` may be None where the spec has one usage only. A key of origin EXTERNAL waits for imported material.
    From `not_before` to `not_after` the key protects; `rotation_period_seconds` is 90 to 2560 days (any in a
    deployment for development), None for no rotation by period.
    """

    key_spec: KeySpec = "SYMMETRIC_DEFAULT"
    key_usage: KeyUsage | None = None
    origin: Origin = "KEYFOLD"
    protection: Protection = "HSM"
    not_before: Instant | None = None
    not_after: Instant | None = None
    rotation_period_seconds: RotationPeriod | None = None
    description: Text = ""
    tags: Tags = Field(default_factory=dict)
    usage_budget: Budget = MAX_PROTECTED_ITEMS
    rotate_at_percent: RotatePercent | None = 95


class RotateKeyArguments(Frozen):
    """Causes other than `requested` are the scheduler's, and refused unless they hold.

    `usage-budget`: the current version has used that much of its budget; `period`: it is as old as the rotation period
    says; `compromise`: it is marked as compromised.
    """

    cause: RotationCause = "requested"


class UsageBudgetArguments(Frozen):
    items: Budget
    rotate_at_percent: RotatePercent | None = None


class KeyValidityArguments(Frozen):
    """When the key protects. What is None stays as it is; `never` takes a bound away."""

    not_before: Instant | Literal["never"] | None = None
    not_after: Instant | Literal["never"] | None = None


class KeyRotationArguments(Frozen):
    """`rotation_period_seconds` is 90 to 2560 days; shorter only in a deployment for development."""

    rotation_period_seconds: RotationPeriod


class KeyVersionArguments(Frozen):
    version: KeyVersionNumber
    reason: Text = ""


class MarkKeyCompromisedArguments(Frozen):
    """Which versions are compromised (None: all that exist), and since when (KMIP: Compromise Occurrence Date)."""

    versions: Annotated[list[KeyVersionNumber], Field(min_length=1, max_length=1000)] | None = None
    occurred_at: Instant
    reason: Text = ""


class GetPublicKeyArguments(Frozen):
    """`key_version` None is the current version."""

    key_version: KeyVersionNumber | None = None


class GetParametersForImportArguments(Frozen):
    """How the material will be wrapped. The import token is the command's id."""

    wrapping_algorithm: WrappingAlgorithm = "RSA_AES_KEY_WRAP_SHA_256"
    wrapping_key_spec: WrappingKeySpec = "RSA_4096"
    key_version: KeyVersionNumber | None = None


class ImportKeyMaterialArguments(Frozen):
    """The wrapped material is the command's one item, in its sealed body; it is deleted after `valid_to`, if given."""

    import_token: Uuid
    valid_to: Instant | None = None


class DeleteImportedKeyMaterialArguments(Frozen):
    """`expired` is the scheduler's cause: refused unless the material's `valid_to` is over."""

    key_version: KeyVersionNumber | None = None
    cause: DeletionCause = "requested"


class TagArguments(Frozen):
    tags: Annotated[dict[TagName, Text], Field(min_length=1, max_length=50)]


class UntagArguments(Frozen):
    tag_keys: Annotated[list[TagName], Field(min_length=1, max_length=50)]


class ScheduleKeyDeletionArguments(Frozen):
    """`pending_window_seconds` is 7 to 30 days; shorter only where the deployment is marked for development."""

    pending_window_seconds: Annotated[int, Field(ge=1, le=30 * 86_400)]


class ReasonArguments(Frozen):
    reason: Text = ""


class AliasArguments(Frozen):
    alias: AliasName
    key_id: KeyId


class AliasNameArguments(Frozen):
    alias: AliasName


class SigningKeyArgument(Frozen):
    """A public signing key, raw bytes as hex: 32 of Ed25519, 1,952 of ML-DSA-65."""

    public_key: PublicKey
    algorithm: SignatureAlgorithm = "Ed25519"

    @model_validator(mode="after")
    def _usable(self) -> Self:
        check_public_key(bytes.fromhex(self.public_key), self.algorithm)
        return self


class RegisterPrincipalArguments(SigningKeyArgument):
    """After `expires_at` (none: never) nothing that the principal signs is accepted."""

    principal: Name
    groups: Groups = Field(default_factory=list)
    tags: Tags = Field(default_factory=dict)
    principal_type: PrincipalType = "workload"
    expires_at: Instant | None = None


class UpdatePrincipalArguments(Frozen):
    """What is None stays as it is; `never` takes an expiry away."""

    principal: Name
    groups: Groups | None = None
    tags: Tags | None = None
    expires_at: Instant | Literal["never"] | None = None


class PrincipalArguments(Frozen):
    principal: Name


class SuspendPrincipalArguments(Frozen):
    principal: Name
    reason: Text = ""


class AddSigningKeyArguments(SigningKeyArgument):
    principal: Name
    expires_at: Instant | None = None


class RotateSigningKeyArguments(SigningKeyArgument):
    """The new key takes the place of `replaces`, which is revoked by the same command."""

    principal: Name
    replaces: Fingerprint
    expires_at: Instant | None = None


class RevokeSigningKeyArguments(Frozen):
    principal: Name
    signing_key: Fingerprint


class PutPolicyArguments(Frozen):
    """Cedar text under a name, on the registry or on the key whose stream the command is for."""

    policy: Name
    text: PolicyText


class PolicyArguments(Frozen):
    policy: Name


class PutIssuerArguments(Frozen):
    """An OpenID Connect issuer whose tokens are accepted.

    `url` is the `iss` claim, `audience` the one `aud` that tokens must have. The scheduler reads the issuer's keys from
    `jwks_source` (an https address, http in development, or the name of a file in its directory of key sets) and puts
    them with `PutIssuerKeys`; None where an administrator does. They are used for `keys_lifetime_seconds` after that.
    `groups` maps values of `groups_claim` to groups, `tags` maps names of claims to names of tags; `base_groups` are
    given to all. A token may not live longer than `max_token_seconds`.
    """

    issuer: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,15}$")]
    url: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    audience: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    algorithms: Annotated[list[JwsAlgorithm], Field(min_length=1, max_length=11)]
    jwks_source: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    keys_lifetime_seconds: Annotated[int, Field(ge=60, le=30 * 86_400)] = 86_400
    max_token_seconds: Annotated[int, Field(ge=60, le=86_400)] = 3_600
    groups_claim: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    groups: Annotated[dict[Text, Name], Field(max_length=100)] = Field(default_factory=dict)
    tags: Annotated[dict[TagName, TagName], Field(max_length=20)] = Field(default_factory=dict)
    base_groups: Groups = Field(default_factory=list)


class IssuerArguments(Frozen):
    issuer: Name


class PutIssuerKeysArguments(Frozen):
    """`jwks` is a JSON Web Key Set (RFC 7517) of public keys, as text."""

    issuer: Name
    jwks: Jwks


class WebIdentityArguments(SigningKeyArgument):
    """`token` is a JWT (RFC 7519, compact) whose `cnf` (RFC 7800) binds the public key, which signs this command."""

    issuer: Name
    token: Annotated[str, StringConstraints(min_length=1, max_length=16_384, pattern=r"^[A-Za-z0-9._-]+$")]


class PutLimitArguments(Frozen):
    """A limit under a name. It holds for who and what it names; what is None or empty is not asked about.

    `rate` is a token bucket: `amount` in each `period_seconds`, at most `burst` (default: `amount`) at once. `quota` is
    a fixed window: `amount` in each period, counted from 1970. Counted per principal and partition (each has its share,
    amount ÷ (partitions − 1), rounded up) or, exactly, per principal and key.
    """

    limit: Name
    kind: LimitKind
    unit: LimitUnit = "commands"
    amount: Annotated[int, Field(ge=1, le=10**12)]
    period_seconds: Annotated[int, Field(ge=1, le=366 * 86_400)]
    burst: Annotated[int, Field(ge=1, le=10**12)] | None = None
    per: LimitScope = "principal"
    principal: Name | None = None
    group: Name | None = None
    key_id: KeyId | None = None
    verbs: Annotated[list[VerbName], Field(max_length=50)] = Field(default_factory=list)


class LimitArguments(Frozen):
    limit: Name


class CreateGrantArguments(Frozen):
    """What the grantee may do with the key, until when and how often. The grant's id is the command's id.

    `encryption_context_equals` is the one context that is allowed, `encryption_context_subset` pairs that every context
    must have. A `delegable` grant lets its grantee grant parts of it further, naming it as `parent`.
    """

    grantee: Name
    verbs: Annotated[list[GrantVerb], Field(min_length=1, max_length=20)]
    expires_at: Instant
    encryption_context_equals: Context | None = None
    encryption_context_subset: Context | None = None
    algorithms: Annotated[list[GrantAlgorithm], Field(min_length=1, max_length=20)] | None = None
    max_operations: Annotated[int, Field(ge=1, le=2**53)] | None = None
    max_items: Annotated[int, Field(ge=1, le=2**53)] | None = None
    delegable: bool = False
    retiring_principal: Name | None = None
    parent: Uuid | None = None


class GrantArguments(Frozen):
    grant: Uuid


class ProposeCommandArguments(Frozen):
    """A command that needs approvals: verb and arguments of a control verb, or the bounds of one data-plane command.

    The proposal's id is the command's id, its digest SHA-256 of the command's exact bytes. `contexts`, `items` and
    `bytes` are given for data-plane verbs: the command that is sent once it is approved has these contexts, and at
    most that many items and bytes.
    """

    verb: VerbName
    arguments: dict[str, Any] = Field(default_factory=dict)
    expires_at: Instant
    contexts: Annotated[list[Context], Field(min_length=1, max_length=MAX_ITEMS)] | None = None
    items: Annotated[int, Field(ge=1, le=MAX_ITEMS)] | None = None
    bytes: Annotated[int, Field(ge=0)] | None = None


class DecideProposalArguments(Frozen):
    """`digest` is what was read and agreed to: the proposal's."""

    proposal: Uuid
    digest: Fingerprint


class ProposalArguments(Frozen):
    proposal: Uuid


class EpochEvidence(Frozen):
    """Where a partition says that it has turned: an event's place on the events topic."""

    partition: Annotated[int, Field(ge=0, le=10_000)]
    offset: Annotated[int, Field(ge=0)]


class EndStorageEpochArguments(Frozen):
    """The old epoch, and the place of each partition's `StorageEpochTurned`."""

    epoch: Annotated[int, Field(ge=1, le=2**32 - 1)]
    evidence: Annotated[list[EpochEvidence], Field(min_length=1, max_length=10_000)]


class SealingKeyArguments(Frozen):
    sealing_key: Uuid
