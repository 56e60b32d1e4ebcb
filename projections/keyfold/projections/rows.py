"""Rows of the tables that are no entities, as frozen values: what a batch writes and what readers get back.

Instants are text as in events. Entities (keys, principals, aliases, …) are the models of `keyfold.events.entities`.
"""

from dataclasses import dataclass
from typing import Literal

from keyfold.events.arguments import RotationCause
from keyfold.events.storage import KeyErased

Outcome = Literal["authorized", "denied", "dry-run", "completed", "failed", "recorded"]


@dataclass(slots=True, unsafe_hash=True)
class AuditRow:
    """One event. A value, though not frozen: there is one for each event, and freezing costs more than all else in it.

    `partition` and `position` are its leaf in the log; `value` the exact bytes that were signed.

    `outcome`: policy let a command through (`authorized`), would have (`dry-run`) or did not (`denied`), the worker did
    it (`completed`) or could not (`failed`), or it is a fact without a command (`recorded`). `code` is the error code
    of what was refused or failed. `role`, `signer`, `statement_n` and `statement_leaf` name the signed statement that
    covers it. `reason` is the caller's word for why, `source` the host or instance that it names. `dry_run`: nothing
    was to be executed. `grant_id` is the grant that it is about or that covered it, `proposal_id` the proposal that it
    is about or carries out. `algorithm` is the one by which the command uses a key or wraps. Where an approval carries
    a proposal out, `principal`, `verb`, `contexts`, `reason`, `source` and `algorithm` are the proposed command's, and
    `command_id` is the approval's; its author is in `value`. `administrative`: a decision about anything but the use of
    keys (see `audit.is_administrative`), or an act of root.
    """

    partition: int
    position: int
    kafka_offset: int
    event_id: str
    event_type: str
    time: str
    stream: str
    outcome: Outcome
    code: str | None
    principal: str | None
    verb: str | None
    key_id: str | None
    key_version: int | None
    contexts: str | None
    items: int | None
    payload_bytes: int | None
    policies: tuple[str, ...] | None
    registry_revision: int | None
    command_id: str | None
    command_digest: str | None
    command_offset: int | None
    value: bytes
    role: str
    signer: str
    statement_n: int
    statement_leaf: int
    reason: str | None = None
    source: str | None = None
    dry_run: bool = False
    grant_id: str | None = None
    proposal_id: str | None = None
    algorithm: str | None = None
    administrative: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A record that could not be believed: its place, the SHA-256 of its value, and why."""

    partition: int
    kafka_offset: int
    code: str
    detail: str
    digest: str
    signer: str
    time: str


@dataclass(frozen=True, slots=True)
class DirectoryRecord:
    """What the directory topic must hold under some names: an event, verbatim, with its signature headers.

    `names` are those for which no later event answers.
    """

    names: tuple[str, ...]
    kafka_offset: int
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Exact use of a stream by version, principal and verb; version 0 as described in `usage`."""

    stream: str
    version: int
    principal: str
    verb: str
    commands: int
    items: int
    bytes: int
    failed_items: int
    last_used_at: str


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version of a key, what was done with it, and the worker's evidence of its material.

    `erased_at` is when the worker erased its blob, `certified_at` when no copy of it could be opened any more. See
    `keyfold.events.entities.KeyVersion` for the others.
    """

    key_id: str
    version: int
    status: str
    created_at: str
    command_offset: int
    protected_items: int
    used_items: int
    last_used_at: str | None
    generated_at: str | None
    erased_at: str | None
    reason: str
    changed_at: str | None
    compromised_at: str | None
    occurred_at: str | None
    compromise_reason: str
    material: bool
    imported_at: str | None
    valid_to: str | None
    key_check_value: str | None
    certified_at: str | None


@dataclass(frozen=True, slots=True)
class LastUse:
    """When a version was used last and by whom, and how many items it has served in all."""

    key_id: str
    version: int
    last_used_at: str
    principal: str
    items: int


@dataclass(frozen=True, slots=True)
class PublicKeyRow:
    """The public half of one version: SubjectPublicKeyInfo (DER) in base64, as the worker stated it."""

    key_id: str
    version: int
    key_spec: str
    key_usage: str
    public_key: str


@dataclass(frozen=True, slots=True)
class Erasure:
    """The erasure certificate of one version: what the event of this id says, at `certified_at`."""

    key_id: str
    version: int
    certified_at: str
    event_id: str
    certificate: KeyErased.Data


@dataclass(frozen=True, slots=True)
class EpochTurn:
    """A partition has turned to an epoch; it says so at this offset of the events topic."""

    partition: int
    kafka_offset: int
    turned_at: str
    versions: int


@dataclass(frozen=True, slots=True)
class StorageEpoch:
    """The current storage epoch, and which of all `partitions` have `turned` to it.

    `ended` is the last epoch whose key is destroyed (0: none); if it is not the one before the current, a turn is under
    way. `begun_at` and `begun_by` are None for the first epoch, `destroyed_at` and `answer` (the token's) before the
    first end.
    """

    epoch: int
    ended: int
    partitions: int
    begun_at: str | None
    begun_by: str | None
    destroyed_at: str | None
    answer: str | None
    turned: tuple[EpochTurn, ...]


@dataclass(frozen=True, slots=True)
class KeySummary:
    """One line of a list of keys. `status` is what was decided last, `state` what follows from all and the time."""

    key_id: str
    key_spec: str
    protection: str
    status: str
    description: str
    created_at: str
    created_by: str
    current_version: int
    deletion_date: str | None
    aliases: tuple[str, ...]
    key_usage: str
    origin: str
    state: str


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A Cedar policy on the registry or on a key's stream."""

    stream: str
    policy: str
    text: str
    updated_at: str | None


@dataclass(frozen=True, slots=True)
class DueDeletion:
    """A key whose waiting period is over."""

    key_id: str
    deletion_date: str


@dataclass(frozen=True, slots=True)
class DueRotation:
    """A key whose current version is to be replaced, and why."""

    key_id: str
    version: int
    cause: RotationCause


@dataclass(frozen=True, slots=True)
class DueExpiry:
    """A version whose imported material is over."""

    key_id: str
    version: int
    valid_to: str


@dataclass(frozen=True, slots=True)
class BucketRow:
    """How full a limit is for a principal (and key) in one partition. See `keyfold.events.entities.Bucket`.

    `bucket` is its whole name; the four parts of it are None where it has not the expected form.
    """

    partition: int
    bucket: str
    limit_kind: str | None
    limit_name: str | None
    principal: str | None
    key_id: str | None
    level: int
    updated_at: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition is folded; `halted` says why it stopped, if it did."""

    partition: int
    next: int
    position: int
    published: int
    last_time: str | None
    halted: str | None
    updated_at: str
