"""Rows of the tables that are no entities, as frozen values: what a batch writes and what readers get back.

Instants are text as in events. Entities (keys, principals, aliases, …) are the models of `keyfold.events.entities`.
"""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["authorized", "denied", "dry-run", "completed", "failed", "recorded"]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One event. `partition` and `position` are its leaf in the log; `value` the exact bytes that were signed.

    `outcome`: policy let a command through (`authorized`), would have (`dry-run`) or did not (`denied`), the worker did
    it (`completed`) or could not (`failed`), or it is a fact without a command (`recorded`). `code` is the error code
    of what was refused or failed. `role`, `signer`, `statement_n` and `statement_leaf` name the signed statement that
    covers it. `reason` is the caller's word for why, `source` the host or instance that it names. `dry_run`: nothing
    was to be executed. `grant_id` is the grant that it is about or that covered it, `proposal_id` the proposal that it
    is about or carries out. Where an approval carries a proposal out, `principal`, `verb`, `contexts`, `reason` and
    `source` are the proposed command's, and `command_id` is the approval's; its author is in `value`.
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
    """What the directory topic must hold under a name: an event, verbatim, with its signature headers."""

    name: str
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
    """One version of a key, what was done with it, and the worker's evidence of its material."""

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


@dataclass(frozen=True, slots=True)
class KeySummary:
    """One line of a list of keys."""

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
    """A key whose current version has used as much of its budget as its rotation waits for."""

    key_id: str
    version: int


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
