"""A store of projections as processes see it: what is guaranteed, in prose. Postgres and memory pass one suite.

Two schemas exist, `blue` and `green`. One is live: it is what readers see. During a rebuild the other is filled from
the start of the log, by the same folds, and then takes over. Each has its own offsets, so an owner of a partition
owns it in one schema.

No method waits for ever: each has a deadline and then raises `StoreUnavailable`; nothing of it is half done then, but
whether a write happened is unknown. So after any error an owner forgets what it knows and starts with `offsets`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from keyfold.events.entities import (
    Alias,
    Capabilities,
    Deployment,
    Entity,
    Grant,
    Issuer,
    Key,
    Limit,
    Principal,
    Proposal,
    SealingKey,
)
from keyfold.events.incident_entities import Suppression
from keyfold.projections.fold import Batch
from keyfold.projections.positions import Offsets
from keyfold.projections.rows import (
    AuditRow,
    BucketRow,
    DirectoryRecord,
    DueDeletion,
    DueExpiry,
    DueRotation,
    Erasure,
    KeySummary,
    LastUse,
    PolicyRow,
    Progress,
    PublicKeyRow,
    Report,
    StorageEpoch,
    Usage,
    VersionRow,
)

Colour = Literal["blue", "green"]
Phase = Literal["steady", "building", "swapping"]
Layout = Literal["older", "ours", "newer"]


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Which schema is live, and whether another one is being filled.

    `requested`: a rebuild was asked for and has not begun. `generation` counts the swaps. `current` is False where
    the live schema has the layout of another release: it serves readers, but only a rebuild can move it on.
    `building_is` says whose layout the schema has that is being filled: a release fills and shows its own only.
    """

    live: Colour
    building: Colour | None
    phase: Phase
    requested: bool
    generation: int
    current: bool
    changed_at: str
    building_is: Layout = "ours"

    @property
    def active(self) -> tuple[Colour, ...]:
        """The schemas that this release writes now."""
        live: tuple[Colour, ...] = (self.live,) if self.current else ()
        return (*live, self.building) if self.building and self.building_is == "ours" else live


class PartitionStore(Protocol):
    """One schema, as the owner of one partition writes it."""

    async def offsets(self, partition: int) -> Offsets:
        """Return how far the partition is folded, to go on from there. `SchemaClosed` where nobody may."""

    async def load(self, names: Iterable[str]) -> dict[str, Entity | None]:
        """Return entities by name; None for those that do not exist, and for levels of limits.

        A level (`Bucket`) is one partition's own: it is written with each batch, and no fold looks at it.
        """

    async def apply(self, batch: Batch) -> None:
        """Write a whole batch and move the partition's offsets on, in one transaction, or write nothing.

        `OwnedElsewhere` where the offsets are not `batch.before`'s, `SchemaClosed` where the schema takes no writes.
        """

    async def unpublished(self, partition: int, since: int, limit: int) -> Sequence[DirectoryRecord]:
        """Return the directory records of a partition from a Kafka offset on, in its order; one for each offset."""

    async def halt(self, offsets: Offsets, reason: str) -> None:
        """Note why the partition stopped, for the operator; the next batch clears it."""

    async def close(self) -> None:
        """Release the connection. May be called at any time, and again."""


class Schemas(Protocol):
    """Which schema is live, and the steps of a rebuild. Each is one transaction and does nothing twice.

    request → begin → (the owners fill the building schema) → close_live → (they reach what live had) → swap
    """

    async def prepare(self, partitions: int) -> SchemaStatus:
        """Create or migrate what is missing, under a lock. Waits for others that do the same.

        `SchemaNewer` where a newer release has taken over, `MigrationsNeeded` where another role runs migrations.
        """

    async def status(self) -> SchemaStatus:
        """Return the state of things. `SchemaNewer` where the live schema is of a newer release."""

    async def request_rebuild(self) -> None:
        """Ask whoever runs the projector for a rebuild."""

    async def begin_rebuild(self) -> SchemaStatus:
        """Empty the idle schema and open it for writing from the start of the log; nothing where one is under way."""

    async def remaining(self) -> int | None:
        """Return how many offsets the building schema is behind the live one; None where none is building."""

    async def complete_building(self) -> None:
        """Give the building schema what only readers need (indexes); writes to it wait meanwhile, readers do not.

        It takes as long as there are rows. Doing it again costs nothing; a swap does it where nobody did before.
        """

    async def close_live(self) -> SchemaStatus:
        """Stop all writes to the live schema, so that the building one can reach it."""

    async def reopen_live(self) -> SchemaStatus:
        """Let writes to the live schema go on: the building one did not reach it in time."""

    async def swap(self) -> bool:
        """Let readers see the building schema, if it has reached the closed live one; say whether it did."""

    async def cancel_rebuild(self) -> SchemaStatus:
        """Give the building schema up and go on with the live one."""

    async def drop_idle(self) -> None:
        """Remove the schema that is neither live nor building, if there is one."""

    def partition_store(self, colour: Colour) -> PartitionStore:
        """Return a writer of one schema, with a connection of its own."""

    async def close(self) -> None:
        """Release the connection."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which audit rows are wanted; None, False and no contexts mean: any. `since` is inclusive, `until` exclusive.

    `contexts` are names and values that one and the same encryption context of the command must have. `administrators`
    asks for what `AuditRow.administrative` marks.
    """

    key_id: str | None = None
    principal: str | None = None
    verb: str | None = None
    event_type: str | None = None
    stream: str | None = None
    command_id: str | None = None
    grant_id: str | None = None
    proposal_id: str | None = None
    algorithm: str | None = None
    outcome: str | None = None
    code: str | None = None
    contexts: tuple[tuple[str, str], ...] = ()
    since: str | None = None
    until: str | None = None
    denied_only: bool = False
    administrators: bool = False


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Audit rows; `next` continues after the last one, None at the end."""

    rows: tuple[AuditRow, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Keys by id; `next` continues after the last one, None at the end."""

    keys: tuple[KeySummary, ...]
    next: str | None


class Queries(Protocol):
    """What readers may ask, of the live schema. Each answer is one consistent snapshot."""

    async def describe_key(self, key_id: str) -> Key | None: ...

    async def list_keys(
        self,
        *,
        after: str | None = None,
        limit: int = 100,
        status: str | None = None,
        state: str | None = None,
        now: str | None = None,
    ) -> KeyPage:
        """Return keys by id, with their effective states at `now` (default: the store's clock)."""

    async def key_versions(self, key_id: str) -> tuple[VersionRow, ...]: ...

    async def last_use(self, key_id: str) -> tuple[LastUse, ...]:
        """Return for each version that ever served an item when and by whom it was used last."""

    async def public_key(self, key_id: str, version: int | None = None) -> PublicKeyRow | None:
        """Return the public half of a version (default: the current one); None where there is none."""

    async def erasures(self, key_id: str) -> tuple[Erasure, ...]:
        """Return the erasure certificates of a key's versions, by version."""

    async def usage(self, *, stream: str | None = None, principal: str | None = None) -> tuple[Usage, ...]: ...

    async def aliases(self, *, key_id: str | None = None) -> tuple[Alias, ...]: ...

    async def resolve_alias(self, alias: str) -> Alias | None: ...

    async def principals(self) -> tuple[Principal, ...]: ...

    async def principal(self, name: str) -> Principal | None: ...

    async def issuers(self) -> tuple[Issuer, ...]: ...

    async def limits(self) -> tuple[Limit, ...]: ...

    async def suppressions(self) -> tuple[Suppression, ...]:
        """Return all suppressions of findings by name, those that are over too."""

    async def buckets(self, principal: str | None = None) -> tuple[BucketRow, ...]:
        """Return how full limits are, once for each partition that has charged them."""

    async def grants(
        self, *, key_id: str | None = None, grantee: str | None = None, live_at: str | None = None
    ) -> tuple[Grant, ...]:
        """Return grants, oldest first; with `live_at` those that hold at this instant."""

    async def grant(self, grant_id: str) -> Grant | None: ...

    async def proposals(self, *, stream: str | None = None, status: str | None = None) -> tuple[Proposal, ...]:
        """Return proposals, oldest first. Those whose time is over keep the status they had."""

    async def proposal(self, proposal_id: str) -> Proposal | None: ...

    async def policies(self, *, stream: str | None = None) -> tuple[PolicyRow, ...]: ...

    async def sealing_keys(self) -> tuple[SealingKey, ...]: ...

    async def deployment(self) -> Deployment | None: ...

    async def capabilities(self) -> Capabilities | None:
        """Return what the HSM worker found that keys can be made here; None before it looked."""

    async def storage_epoch(self) -> StorageEpoch | None:
        """Return the current storage epoch and how far the turn to it is; None before genesis."""

    async def audit(
        self,
        wanted: AuditFilter = AuditFilter(),
        *,
        limit: int = 100,
        after: str | None = None,
        oldest_first: bool = False,
    ) -> AuditPage: ...

    async def audit_log(self, partition: int, position: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:
        """Return one partition's rows in the order of the log, from a position on."""

    async def due_deletions(self, now: str, limit: int = 100) -> tuple[DueDeletion, ...]: ...

    async def due_rotations(self, now: str, limit: int = 100) -> tuple[DueRotation, ...]:
        """Return keys whose current version is to be replaced, the most urgent first.

        First those that are compromised, then those that have used their share of the budget, by what is left of it,
        then those whose rotation period is over. Only keys that are Enabled or Compromised, and never imported ones:
        nobody here has their next material.
        """

    async def due_material_expiries(self, now: str, limit: int = 100) -> tuple[DueExpiry, ...]:
        """Return versions whose imported material is over, the longest due first.

        Not those of keys that wait for their deletion, as imported material of such a key cannot be deleted alone.
        """

    async def progress(self) -> tuple[Progress, ...]: ...

    async def reports(self, limit: int = 100) -> tuple[Report, ...]: ...

    async def status(self) -> SchemaStatus: ...

    async def close(self) -> None: ...


def lag(progress: Iterable[Progress], end_offsets: Mapping[int, int]) -> dict[int, int]:
    """Return how many offsets each partition is behind its end; one that was never folded counts from 0."""
    next_by_partition = {row.partition: row.next for row in progress}
    return {partition: max(0, end - next_by_partition.get(partition, 0)) for partition, end in end_offsets.items()}
