"""Two schemas in memory and how they are written. See `keyfold.projections.ports`."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keyfold.events.entities import Bucket, Entity
from keyfold.projections import tables
from keyfold.projections.errors import OwnedElsewhere, SchemaClosed, StoreRefused, StoreUnavailable
from keyfold.projections.evidence import IN_PARTS
from keyfold.projections.fold import Batch
from keyfold.projections.ports import Colour, SchemaStatus
from keyfold.projections.positions import Offsets
from keyfold.projections.rows import AuditRow, DirectoryRecord
from keyfold.projections.tables import Staged

Table = dict[tuple[Any, ...], dict[str, Any]]

_OTHER: Final[dict[Colour, Colour]] = {"blue": "green", "green": "blue"}
_ADDED: Final = frozenset({"commands", "items", "bytes", "failed_items"})
EPOCH: Final = "1970-01-01T00:00:00.000Z"


@dataclass(slots=True)
class Schema:
    """One schema's tables."""

    partitions: int
    open: bool = True
    rows: dict[str, Table] = field(default_factory=lambda: {name: {} for name in tables.PRIMARY_KEYS})
    audit: list[AuditRow] = field(default_factory=list)
    entities: dict[str, Entity] = field(default_factory=dict)
    directory: dict[str, tuple[int, DirectoryRecord]] = field(default_factory=dict)
    offsets: dict[int, Offsets] = field(default_factory=dict)
    halted: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.offsets = {partition: Offsets(partition) for partition in range(self.partitions)}

    def write(self, batch: Batch) -> None:
        """Apply a batch that is known to fit."""
        self.offsets[batch.before.partition] = batch.after
        self.halted.pop(batch.before.partition, None)
        self.audit.extend(batch.audit)
        for row in batch.rows:
            _merge(self.rows[row.table], row)
        for name, entity in batch.entities.items():
            if isinstance(entity, Bucket):  # one partition's own under a name that others use too: a row, no entity
                continue
            if entity is None:
                self.entities.pop(name, None)
            else:
                self.entities[name] = entity
        for record in batch.directory:
            for name in record.names:
                self.directory[name] = (batch.before.partition, replace(record, names=(name,)))


class MemorySchemas:
    """See `keyfold.projections.ports.Schemas`. `down` makes everything unavailable."""

    def __init__(self) -> None:
        self.down = False
        self.schemas: dict[Colour, Schema] = {}
        self._status = SchemaStatus("blue", None, "steady", False, 0, True, EPOCH)

    def schema(self, colour: Colour) -> Schema:
        """Return a schema that exists."""
        self.require_up()
        if colour not in self.schemas:
            raise StoreUnavailable(f"there is no schema {colour}")
        return self.schemas[colour]

    def require_up(self) -> None:
        """Raise while the store is down."""
        if self.down:
            raise StoreUnavailable("the store is down")

    async def prepare(self, partitions: int) -> SchemaStatus:
        """Make the live schema."""
        await self._moment()
        live = self.schemas.setdefault(self._status.live, Schema(partitions))
        if live.partitions != partitions:
            raise StoreRefused(f"the projections were made for {live.partitions} partitions")
        return self._status

    async def status(self) -> SchemaStatus:
        """Return the state of things."""
        await self._moment()
        return self._status

    async def request_rebuild(self) -> None:
        """Ask for a rebuild."""
        await self._moment()
        if self._status.phase == "steady":
            self._status = replace(self._status, requested=True)

    async def begin_rebuild(self) -> SchemaStatus:
        """Make the idle schema anew."""
        await self._moment()
        if self._status.building is None:
            building = _OTHER[self._status.live]
            self.schemas[building] = Schema(self.schema(self._status.live).partitions)
            self._status = replace(self._status, building=building, phase="building", requested=False)
        return self._status

    async def remaining(self) -> int | None:
        """Return how far the building schema is behind."""
        await self._moment()
        return None if self._status.building is None else self._remaining(self._status.building)

    async def complete_building(self) -> None:
        """Nothing is missing here."""
        await self._moment()

    async def close_live(self) -> SchemaStatus:
        """Close the live schema for writing."""
        await self._moment()
        if self._status.phase == "building":
            self.schema(self._status.live).open = False
            self._status = replace(self._status, phase="swapping")
        return self._status

    async def reopen_live(self) -> SchemaStatus:
        """Open it again."""
        await self._moment()
        if self._status.phase == "swapping":
            self.schema(self._status.live).open = True
            self._status = replace(self._status, phase="building")
        return self._status

    async def swap(self) -> bool:
        """Make the building schema the live one."""
        await self._moment()
        building = self._status.building
        if building is None or self._status.phase != "swapping" or self._remaining(building):
            return False
        generation = self._status.generation + 1
        self._status = SchemaStatus(building, None, "steady", False, generation, True, EPOCH)
        return True

    async def cancel_rebuild(self) -> SchemaStatus:
        """Forget the building schema."""
        await self._moment()
        if self._status.building is not None:
            self.schema(self._status.building).open = False
            self.schema(self._status.live).open = True
            self._status = replace(self._status, building=None, phase="steady", requested=False)
        return self._status

    async def drop_idle(self) -> None:
        """Remove the schema that nobody needs."""
        await self._moment()
        if self._status.building is None:
            self.schemas.pop(_OTHER[self._status.live], None)

    def partition_store(self, colour: Colour) -> "MemoryPartitionStore":
        """Return a writer of one schema."""
        return MemoryPartitionStore(self, colour)

    async def close(self) -> None:
        """Nothing to release."""

    def _remaining(self, building: Colour) -> int:
        live, filled = self.schema(self._status.live).offsets, self.schema(building).offsets
        return sum(max(0, live[partition].next - filled[partition].next) for partition in live)

    async def _moment(self) -> None:
        await asyncio.sleep(0)
        self.require_up()


class MemoryPartitionStore:
    """See `keyfold.projections.ports.PartitionStore`."""

    def __init__(self, schemas: MemorySchemas, colour: Colour) -> None:
        self.colour = colour
        self._schemas = schemas

    async def offsets(self, partition: int) -> Offsets:
        """Return how far the partition is folded."""
        schema = await self._schema()
        if partition not in schema.offsets or not schema.open:
            raise SchemaClosed(f"{self.colour} gives no partition {partition} away: it is closed, or has none")
        return schema.offsets[partition]

    async def load(self, names: Iterable[str]) -> dict[str, Entity | None]:
        """Return entities by name."""
        schema = await self._schema()
        return {name: schema.entities.get(name) for name in names}

    async def apply(self, batch: Batch) -> None:
        """Write a whole batch, or nothing."""
        schema = await self._schema()
        stored = schema.offsets[batch.before.partition]
        if not schema.open:
            raise SchemaClosed(f"{self.colour} takes no writes any more")
        if (stored.next, stored.position) != (batch.before.next, batch.before.position):
            raise OwnedElsewhere(batch.before.partition, batch.before.next)
        schema.write(batch)

    async def unpublished(self, partition: int, since: int, limit: int) -> Sequence[DirectoryRecord]:
        """Return directory records in the order of the partition."""
        schema = await self._schema()
        names: dict[int, list[str]] = {}
        records: dict[int, DirectoryRecord] = {}
        for name, (owner, record) in sorted(schema.directory.items()):
            if owner == partition and record.kafka_offset >= since:
                names.setdefault(record.kafka_offset, []).append(name)
                records[record.kafka_offset] = record
        return [replace(records[at], names=tuple(names[at])) for at in sorted(names)][:limit]

    async def halt(self, offsets: Offsets, reason: str) -> None:
        """Note why the partition stopped."""
        schema = await self._schema()
        if schema.open and schema.offsets[offsets.partition].next == offsets.next:
            schema.halted[offsets.partition] = reason

    async def close(self) -> None:
        """Nothing to release."""

    async def _schema(self) -> Schema:
        await asyncio.sleep(0)
        return self._schemas.schema(self.colour)


def _merge(table: Table, row: Staged) -> None:
    key = row.key()
    if row.removed:
        table.pop(key, None)
    elif row.table == "usage" and key in table:
        known = table[key]
        added = {name: known[name] + row.document[name] for name in _ADDED}
        last = max(known["last_used_at"], row.document["last_used_at"])
        table[key] = {**known, **added, "last_used_at": last}
    elif row.table in IN_PARTS:
        table[key] = {**table.get(key, dict.fromkeys(IN_PARTS[row.table])), **row.document}
    else:
        table[key] = row.document
