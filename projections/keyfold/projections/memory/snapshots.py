"""A snapshot of the live schema in memory. See `keyfold.projections.snapshots`."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from keyfold.projections.memory.schemas import MemorySchemas, Schema
from keyfold.projections.positions import Offsets
from keyfold.projections.rows import AuditRow
from keyfold.projections.snapshots import Document


class MemorySnapshot:
    """A copy of one schema."""

    def __init__(self, schema: Schema) -> None:
        self.offsets: Mapping[int, Offsets] = dict(schema.offsets)
        self._audit = sorted(schema.audit, key=lambda row: (row.partition, row.position))
        self._rows = {table: json.dumps(list(rows.values())) for table, rows in schema.rows.items()}

    async def audit(self, partition: int) -> AsyncIterator[Sequence[AuditRow]]:
        """Yield the audit rows of a partition."""
        await asyncio.sleep(0)
        yield [row for row in self._audit if row.partition == partition]

    async def rows(self, table: str) -> AsyncIterator[Sequence[Document]]:
        """Yield the rows of a table."""
        await asyncio.sleep(0)
        yield json.loads(self._rows[table])

    async def audit_partitions(self) -> frozenset[int]:
        """Return the partitions of the audit rows."""
        await asyncio.sleep(0)
        return frozenset(row.partition for row in self._audit)


class MemorySnapshots:
    """See `keyfold.projections.snapshots.Snapshots`."""

    def __init__(self, schemas: MemorySchemas) -> None:
        self._schemas = schemas

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemorySnapshot]:
        """Copy the live schema."""
        yield MemorySnapshot(self._schemas.schema((await self._schemas.status()).live))
