"""Entities: the current state of keys, principals, policies, grants, proposals and all else, as frozen values.

An entity has one name (`key/<id>`, `principal/<id>`, `alias/<name>`, `policy/<name>`, `grant/<id>`, …), under which
policy keeps it in its state topic. How events change entities is in `evolve`.
"""

from typing import Final, Literal

from pydantic import Field

from keyfold.events import arguments as args
from keyfold.events.arguments import MAX_PROTECTED_ITEMS, Origin, Protection, Tags
from keyfold.events.incident_entities import Incident, Suppression
from keyfold.events.signatures import SignatureAlgorithm
from keyfold.events.specs import KeySpec, KeyUsage, WrappingAlgorithm
from keyfold.events.storage import Capability
from keyfold.events.streams import AliasName, Fingerprint, KeyId, Name, Stream, Uuid
from keyfold.events.strictjson import Frozen
from keyfold.events.times import to_milliseconds

KeyStatus = Literal["Enabled", "Disabled", "PendingDeletion", "Destroyed", "Failed"]
VersionStatus = Literal["Active", "Disabled", "Destroyed", "Failed"]
PrincipalStatus = Literal["Active", "Suspended", "Revoked"]
ProposalStatus = Literal["Pending", "Approved", "Executed", "Failed", "Denied", "Cancelled"]


class KeyVersion(Frozen):
    """One version of a key's material. `offset` is the command that made it; `protected_items` counts its use.

    `reason` and `changed_at` are those of its present status. A version is compromised beside its status, since
    `occurred_at`, said at `compromised_at`. `material` is False while imported material is awaited, was deleted or was
    never there; `material_offset` is the command that imported or deleted it last, `valid_to` its end.
    """

    version: int
    offset: int
    created_at: str
    status: VersionStatus = "Active"
    protected_items: int = 0
    reason: str = ""
    changed_at: str | None = None
    compromised_at: str | None = None
    occurred_at: str | None = None
    compromise_reason: str = ""
    material: bool = True
    material_offset: int | None = None
    valid_to: str | None = None
    key_check_value: str | None = None
    erased_at: str | None = None

    @property
    def compromised(self) -> bool:
        """Tell whether it is marked as compromised."""
        return self.compromised_at is not None

    def has_material(self, now_ms: int) -> bool:
        """Tell whether there is material that is not over, as far as is known, whatever its status."""
        return self.material and not _over(self.valid_to, now_ms)


class ImportParameters(Frozen):
    """One import that is open. See `facts.ImportParametersIssued`."""

    import_token: Uuid
    version: int
    wrapping_algorithm: WrappingAlgorithm
    expires_at: str


class AttachedPolicy(Frozen):
    """Cedar text under a name, on a key or on the registry."""

    policy: Name
    text: str


class Key(Frozen):
    """A key and its versions; `policy_revision` counts changes of the key's own policies.

    `importing` is the command that imports material and whose outcome is not known yet.
    """

    kind: Literal["key"] = "key"
    key_id: KeyId
    key_spec: KeySpec
    key_usage: KeyUsage = "ENCRYPT_DECRYPT"
    origin: Origin = "KEYFOLD"
    protection: Protection
    description: str
    tags: Tags
    status: KeyStatus
    created_at: str
    created_by: Name
    versions: tuple[KeyVersion, ...]
    current_version: int
    reason: str = ""
    deletion_date: str | None = None
    policies: tuple[AttachedPolicy, ...] = ()
    policy_revision: int = 0
    usage_budget: int = MAX_PROTECTED_ITEMS
    rotate_at_percent: int | None = None
    not_before: str | None = None
    not_after: str | None = None
    rotation_period_seconds: int | None = None
    rotation_enabled_at: str | None = None
    changed_at: str | None = None
    import_parameters: ImportParameters | None = None
    importing: int | None = None

    @property
    def current(self) -> KeyVersion:
        """Return the version that protects."""
        return self.versions[self.current_version - 1]

    def version(self, number: int) -> KeyVersion:
        """Return a version; versions are numbered from 1 without holes. Raises KeyError."""
        if not 1 <= number <= len(self.versions):
            raise KeyError(f"key/{self.key_id} version {number}")
        return self.versions[number - 1]


class PrincipalKey(Frozen):
    """A signing key of a principal; `public_key` is raw bytes, hex. What was revoked stays, to be told apart."""

    signing_key: Fingerprint
    public_key: args.PublicKey
    algorithm: SignatureAlgorithm
    status: Literal["Active", "Revoked"] = "Active"
    added_at: str
    expires_at: str | None = None

    def usable(self, now_ms: int) -> bool:
        """Tell whether what it signs is accepted at this time."""
        return self.status == "Active" and not _over(self.expires_at, now_ms)


class Principal(Frozen):
    """Who may sign commands. A revoked principal stays, so that its name is not used again.

    A `federated` principal is an issuer's: `issuer` and `token_subject` say whose, and its keys live as long as tokens.
    """

    kind: Literal["principal"] = "principal"
    principal: Name
    principal_type: args.PrincipalType | Literal["federated"] = "workload"
    keys: tuple[PrincipalKey, ...]
    groups: tuple[Name, ...] = ()
    tags: Tags = Field(default_factory=dict)
    status: PrincipalStatus = "Active"
    reason: str = ""
    registered_at: str
    expires_at: str | None = None
    issuer: Name | None = None
    token_subject: str | None = None

    def key(self, signing_key: str) -> PrincipalKey | None:
        """Return the key with this fingerprint."""
        return next((key for key in self.keys if key.signing_key == signing_key), None)

    def usable_keys(self, now_ms: int) -> tuple[PrincipalKey, ...]:
        """Return the keys whose signatures are accepted at this time."""
        return tuple(key for key in self.keys if key.usable(now_ms))

    def expired(self, now_ms: int) -> bool:
        """Tell whether the principal's time is over."""
        return _over(self.expires_at, now_ms)

    def may_act(self, now_ms: int) -> bool:
        """Tell whether anything that it signs can be decided in its favour at this time."""
        return self.status == "Active" and not self.expired(now_ms) and any(k.usable(now_ms) for k in self.keys)


class SigningKey(Frozen):
    """Index from a signing key's fingerprint to its principal."""

    kind: Literal["signing-key"] = "signing-key"
    principal: Name


class Alias(Frozen):
    kind: Literal["alias"] = "alias"
    alias: AliasName
    key_id: KeyId
    updated_at: str


class RegistryPolicy(Frozen):
    kind: Literal["policy"] = "policy"
    policy: Name
    text: str
    updated_at: str


class Issuer(Frozen):
    """An OpenID Connect issuer, with its keys as they were put last. See `arguments.PutIssuerArguments`."""

    kind: Literal["issuer"] = "issuer"
    issuer: Name
    url: str
    audience: str
    algorithms: tuple[args.JwsAlgorithm, ...]
    jwks_source: str | None
    keys_lifetime_seconds: int
    max_token_seconds: int
    groups_claim: str | None
    groups: dict[str, Name]
    tags: dict[str, str]
    base_groups: tuple[Name, ...]
    updated_at: str
    jwks: str | None = None
    keys_expire_at: str | None = None


class Limit(Frozen):
    """A rate limit or quota. See `arguments.PutLimitArguments`."""

    kind: Literal["limit"] = "limit"
    limit: Name
    limit_kind: args.LimitKind
    unit: args.LimitUnit
    amount: int
    period_seconds: int
    burst: int
    per: args.LimitScope
    principal: Name | None
    group: Name | None
    key_id: KeyId | None
    verbs: tuple[str, ...]
    updated_at: str


class Bucket(Frozen):
    """How full a limit is for one principal (and key), after the last command that was charged to it.

    Of a rate: thousandths of a token that are left; of a quota: what was used in the window of `updated_at`.
    """

    kind: Literal["bucket"] = "bucket"
    level: int
    updated_at: str


class Grant(Frozen):
    """What one principal may do with one key beyond what policies permit. See `arguments.CreateGrantArguments`."""

    kind: Literal["grant"] = "grant"
    grant: Uuid
    key_id: KeyId
    grantee: Name
    verbs: tuple[args.GrantVerb, ...]
    expires_at: str
    encryption_context_equals: args.Context | None
    encryption_context_subset: args.Context | None
    algorithms: tuple[args.GrantAlgorithm, ...] | None
    max_operations: int | None
    max_items: int | None
    delegable: bool
    retiring_principal: Name | None
    parent: Uuid | None
    created_by: Name
    created_at: str
    status: Literal["Active", "Retired", "Revoked"] = "Active"
    used_operations: int = 0
    used_items: int = 0

    def live(self, now_ms: int) -> bool:
        """Tell whether the grant itself holds at this time; its parents are not asked."""
        return self.status == "Active" and not _over(self.expires_at, now_ms)


class Grants(Frozen):
    """Index from a key and a grantee to the grants between them, oldest first, kept under `grants/<key>/<grantee>`."""

    kind: Literal["grants"] = "grants"
    grants: tuple[Uuid, ...]


class Approval(Frozen):
    """One principal's agreement to a proposal, by the command with this id."""

    principal: Name
    command_id: Uuid
    time: str


class Proposal(Frozen):
    """A command that waits for approvals, as its author signed it. `digest` is SHA-256 of `command`.

    `Approved` is a data-plane command that its proposer may send now. An open proposal whose time is over is expired;
    there is no event for that.
    """

    kind: Literal["proposal"] = "proposal"
    proposal: Uuid
    stream: Stream
    digest: Fingerprint
    command: str
    body_digest: Fingerprint
    signature: str
    verb: str
    proposer: Name
    created_at: str
    expires_at: str
    approvals: tuple[Approval, ...] = ()
    status: ProposalStatus = "Pending"
    closed_at: str | None = None
    closed_by: Name | None = None
    code: str | None = None

    @property
    def open(self) -> bool:
        """Tell whether it can still be approved, executed, denied or cancelled, if its time is not over."""
        return self.status in {"Pending", "Approved"}

    def expired(self, now_ms: int) -> bool:
        """Tell whether it waits in vain."""
        return self.open and _over(self.expires_at, now_ms)


class SealingKey(Frozen):
    """`retired_at` is set when a newer key was published."""

    kind: Literal["sealing-key"] = "sealing-key"
    sealing_key: Uuid
    public_key: str
    published_at: str
    retired_at: str | None = None
    erased_at: str | None = None


class Capabilities(Frozen):
    """What keys can be made here. See `facts.TokenCapabilitiesFound`."""

    kind: Literal["capabilities"] = "capabilities"
    module: str
    capabilities: tuple[Capability, ...]
    imports: dict[str, str]
    found_at: str

    def offer(self, spec: str, usage: str, protection: str) -> Capability | None:
        """Return what is offered for this kind of key, or None."""
        wanted = (spec, usage, protection)
        return next((c for c in self.capabilities if (c.key_spec, c.key_usage, c.protection) == wanted), None)


class Deployment(Frozen):
    """What Genesis fixed, the registry revision (accepted policy records on partition 0), the names of all limits.

    `storage_epoch` is the current one, `storage_epoch_ended` the last whose key is destroyed (by the event
    `storage_epoch_end`). In between a turn is under way.
    """

    kind: Literal["deployment"] = "deployment"
    root_public_key: Fingerprint
    partitions: int
    development: bool
    revision: int = 0
    policies_revision: int = 0
    current_sealing_key: Uuid | None = None
    limits: tuple[Name, ...] = ()
    storage_epoch: int = 1
    storage_epoch_ended: int = 0
    storage_epoch_end: str | None = None


Entity = (
    Key
    | Principal
    | SigningKey
    | Alias
    | RegistryPolicy
    | Issuer
    | Limit
    | Bucket
    | Grant
    | Grants
    | Proposal
    | Incident
    | Suppression
    | SealingKey
    | Capabilities
    | Deployment
)
DEPLOYMENT: Final = "deployment"
CAPABILITIES: Final = "capabilities"


def grants_name(key_id: str, grantee: str) -> str:
    """Return the name of the index of grants between a key and a principal."""
    return f"grants/{key_id}/{grantee}"


def bucket_name(limit: Limit, principal: str, key_id: str) -> str:
    """Return the name of a limit's level for a principal, or for a principal and key where it counts so."""
    name = f"bucket/{limit.limit_kind}/{limit.limit}/{principal}"
    return f"{name}/{key_id}" if limit.per == "key" else name


def _over(expires_at: str | None, now_ms: int) -> bool:
    return expires_at is not None and to_milliseconds(expires_at) <= now_ms
