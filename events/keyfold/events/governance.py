"""Events about who may do what: principals and their keys, policies, issuers, limits, grants, proposals.

All are policy's decisions, except `PolicyReset`, which root writes in a ceremony.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from keyfold.events import arguments as args
from keyfold.events.event import Code, Count, DecisionData, Event, PolicyEvent, Role
from keyfold.events.signatures import SignatureAlgorithm
from keyfold.events.streams import Fingerprint, KeyId, Name, Uuid
from keyfold.events.strictjson import Frozen
from keyfold.events.times import Instant


class PrincipalData(DecisionData):
    principal: Name


class SigningKeyData(PrincipalData):
    public_key: args.PublicKey
    algorithm: SignatureAlgorithm
    expires_at: Instant | None = None


class PrincipalRegistered(PolicyEvent):
    class Data(PrincipalData):
        public_key: args.PublicKey
        algorithm: SignatureAlgorithm
        groups: list[Name]
        tags: args.Tags
        principal_type: args.PrincipalType = "workload"
        expires_at: Instant | None = None

    type_name = "keyfold.principal.registered.v1"
    data: Data


class PrincipalUpdated(PolicyEvent):
    """What holds of the principal from now on, all of it."""

    class Data(PrincipalData):
        groups: list[Name]
        tags: args.Tags
        expires_at: Instant | None

    type_name = "keyfold.principal.updated.v1"
    data: Data


class PrincipalSuspended(PolicyEvent):
    class Data(PrincipalData):
        reason: str

    type_name = "keyfold.principal.suspended.v1"
    data: Data


class PrincipalResumed(PolicyEvent):
    class Data(PrincipalData):
        pass

    type_name = "keyfold.principal.resumed.v1"
    data: Data


class PrincipalRevoked(PolicyEvent):
    class Data(PrincipalData):
        pass

    type_name = "keyfold.principal.revoked.v1"
    data: Data


class SigningKeyAdded(PolicyEvent):
    class Data(SigningKeyData):
        pass

    type_name = "keyfold.signing-key.added.v1"
    data: Data


class SigningKeyRotated(PolicyEvent):
    """The key took the place of `replaces`, which is revoked."""

    class Data(SigningKeyData):
        replaces: Fingerprint

    type_name = "keyfold.signing-key.rotated.v1"
    data: Data


class SigningKeyRevoked(PolicyEvent):
    class Data(PrincipalData):
        signing_key: Fingerprint

    type_name = "keyfold.signing-key.revoked.v1"
    data: Data


class PrincipalAuthenticated(PolicyEvent):
    """A principal of an issuer proved who it is with a token that binds this key, until the token expires.

    The first one registers the principal. `token_id` is the token's `jti`; groups and tags are what its claims map to.
    """

    class Data(SigningKeyData):
        issuer: Name
        token_subject: str
        token_id: str | None
        groups: list[Name]
        tags: args.Tags
        expires_at: Instant

    type_name = "keyfold.principal.authenticated.v1"
    data: Data


class IssuerPut(PolicyEvent):
    class Data(DecisionData):
        issuer: Name
        url: str
        audience: str
        algorithms: list[args.JwsAlgorithm]
        jwks_source: str | None
        keys_lifetime_seconds: Count
        max_token_seconds: Count
        groups_claim: str | None
        groups: dict[str, Name]
        tags: dict[str, str]
        base_groups: list[Name]

    type_name = "keyfold.issuer.put.v1"
    data: Data


class IssuerDeleted(PolicyEvent):
    class Data(DecisionData):
        issuer: Name

    type_name = "keyfold.issuer.deleted.v1"
    data: Data


class IssuerKeysPut(PolicyEvent):
    class Data(DecisionData):
        issuer: Name
        jwks: args.Jwks
        expires_at: Instant

    type_name = "keyfold.issuer.keys-put.v1"
    data: Data


class PolicyPut(PolicyEvent):
    """A Cedar policy was put on the event's stream: the registry, or one key."""

    class Data(DecisionData):
        policy: Name
        text: str

    type_name = "keyfold.policy.put.v1"
    data: Data


class PolicyDeleted(PolicyEvent):
    class Data(DecisionData):
        policy: Name

    type_name = "keyfold.policy.deleted.v1"
    data: Data


class LimitPut(PolicyEvent):
    class Data(DecisionData):
        limit: Name
        kind: args.LimitKind
        unit: args.LimitUnit
        amount: Count
        period_seconds: Count
        burst: Count
        per: args.LimitScope
        principal: Name | None
        group: Name | None
        key_id: KeyId | None
        verbs: list[args.VerbName]

    type_name = "keyfold.limit.put.v1"
    data: Data


class LimitDeleted(PolicyEvent):
    class Data(DecisionData):
        limit: Name

    type_name = "keyfold.limit.deleted.v1"
    data: Data


class GrantData(DecisionData):
    key_id: KeyId
    grant: Uuid


class GrantCreated(PolicyEvent):
    class Data(GrantData):
        grantee: Name
        verbs: list[args.GrantVerb]
        expires_at: Instant
        encryption_context_equals: args.Context | None
        encryption_context_subset: args.Context | None
        algorithms: list[args.GrantAlgorithm] | None
        max_operations: Count | None
        max_items: Count | None
        delegable: bool
        retiring_principal: Name | None
        parent: Uuid | None
        created_by: Name

    type_name = "keyfold.grant.created.v1"
    data: Data


class GrantRetired(PolicyEvent):
    class Data(GrantData):
        pass

    type_name = "keyfold.grant.retired.v1"
    data: Data


class GrantRevoked(PolicyEvent):
    class Data(GrantData):
        pass

    type_name = "keyfold.grant.revoked.v1"
    data: Data


class ProposalData(DecisionData):
    proposal: Uuid


class ProposalCreated(PolicyEvent):
    """A command waits for approvals. `digest` is SHA-256 of the proposing command, which is in the decision."""

    class Data(ProposalData):
        digest: Fingerprint
        verb: args.VerbName
        proposer: Name
        expires_at: Instant

    type_name = "keyfold.proposal.created.v1"
    data: Data


class ProposalApproved(PolicyEvent):
    """One more approval. Afterwards the proposal is `Pending` still, or `Failed` with the refusal's code.

    A control verb is executed by the approval that completes it, which is not this event but the verb's own fact. A
    data-plane verb is `Approved`: its proposer may send the command now, once.
    """

    class Data(ProposalData):
        digest: Fingerprint
        approver: Name
        approvals: Count
        status: Literal["Pending", "Approved", "Failed"]
        code: Code | None = None

    type_name = "keyfold.proposal.approved.v1"
    data: Data


class ProposalDenied(PolicyEvent):
    class Data(ProposalData):
        approver: Name

    type_name = "keyfold.proposal.denied.v1"
    data: Data


class ProposalCancelled(PolicyEvent):
    class Data(ProposalData):
        pass

    type_name = "keyfold.proposal.cancelled.v1"
    data: Data


class InitialPrincipal(Frozen):
    principal: Name
    public_key: Fingerprint
    groups: list[Name]
    tags: args.Tags = Field(default_factory=dict)


class InitialPolicy(Frozen):
    policy: Name
    text: str


class PolicyReset(Event):
    """Root puts the registry's policies and administrators right, outside Cedar: for when nobody else can.

    `removed` policies are gone, `policies` are put, `administrators` are registered (or active again, with this key
    beside those they have), `revoked` principals are revoked. All in this one event.
    """

    class Data(Frozen):
        reason: Annotated[str, Field(min_length=1, max_length=1024)]
        removed: list[Name]
        policies: Annotated[list[InitialPolicy], Field(min_length=1)]
        administrators: list[InitialPrincipal]
        revoked: list[Name]

    role: ClassVar[Role] = "root"
    type_name = "keyfold.policy.reset.v1"
    data: Data
