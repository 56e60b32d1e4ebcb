"""Writing one schema in Postgres, as the owner of a partition: a batch is one transaction.

The steps of `apply`, all in that transaction:
 1. months of the audit table that are missing are attached;
 2. the offsets are moved, if they are where the batch began: this is the proof of ownership, and it comes before any
    other write, so that two owners never wait for each other's rows;
 3. audit rows are copied; other rows are copied into a staging table and merged by one statement per table;
 4. commit. If we crash before it, nothing happened; after it, everything did. The commit does not wait for the disk:
    what a crash of Postgres takes back, it takes back with its offsets, and it is folded again from the log.
"""

import json
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field, TypeAdapter

from keyfold.events.entities import Entity
from keyfold.projections import sqlfiles
from keyfold.projections.errors import OwnedElsewhere, SchemaClosed
from keyfold.projections.fold import Batch
from keyfold.projections.months import month_of, month_range
from keyfold.projections.naming import arguments_of
from keyfold.projections.positions import Offsets, dump_places, load_places
from keyfold.projections.rows import DirectoryRecord
from keyfold.projections.store import copying
from keyfold.projections.store.session import Session, Statements
from keyfold.projections.tables import Staged

_SQL: Final = sqlfiles.statements("apply")
_ENTITY: Final[TypeAdapter[Entity]] = TypeAdapter(Annotated[Entity, Field(discriminator="kind")])


class PostgresPartitionStore:
    """See `keyfold.projections.ports.PartitionStore`. `schema` is a name of a schema, as `schemas` makes them."""

    def __init__(self, dsn: str, schema: str, *, deadline_s: float = 10.0) -> None:
        self.schema = schema
        settings = {
            "search_path": f"{schema}, pg_catalog",
            "synchronous_commit": "off",
            "lock_timeout": str(int(deadline_s * 500)),
        }
        self._session = Session(dsn, settings=settings, deadline_s=deadline_s, prepare=(_SQL["staging"],))
        self._months: set[str] = set()

    async def offsets(self, partition: int) -> Offsets:
        """Return how far the partition is folded."""
        rows = await self._session.run(lambda tx: tx.fetch(_SQL["offsets"], {"partition": partition}))
        if not rows:
            raise SchemaClosed(f"{self.schema} gives no partition {partition} away: it is closed, or has none")
        next_offset, position, published, places, signers, last_time = rows[0]
        return Offsets(
            partition,
            next_offset,
            position,
            published,
            load_places(places),
            MappingProxyType(json.loads(signers)),
            last_time,
        )

    async def load(self, names: Iterable[str]) -> dict[str, Entity | None]:
        """Return entities by name; None for those that do not exist."""
        found: dict[str, Entity | None] = dict.fromkeys(names)
        if found:
            rows = await self._session.run(lambda tx: tx.fetch(_SQL["load"], arguments_of(found)))
            found.update({name: _ENTITY.validate_json(document) for name, document in rows})
        return found

    async def apply(self, batch: Batch) -> None:
        """Write a whole batch, or nothing."""
        months = {month_of(row.time) for row in batch.audit} - self._months
        await self._session.run(lambda tx: self._apply(tx, batch, months))
        self._months |= months

    async def unpublished(self, partition: int, since: int, limit: int) -> Sequence[DirectoryRecord]:
        """Return directory records in the order of the partition."""
        parameters = {"partition": partition, "since": since, "limit": limit}
        rows = await self._session.run(lambda tx: tx.fetch(_SQL["unpublished"], parameters))
        return [
            DirectoryRecord(tuple(names), offset, value, _headers(headers)) for names, offset, value, headers in rows
        ]

    async def halt(self, offsets: Offsets, reason: str) -> None:
        """Note why the partition stopped."""
        parameters = {"partition": offsets.partition, "expected": offsets.next, "reason": reason}
        await self._session.run(lambda tx: tx.execute(_SQL["halt"], parameters))

    async def close(self) -> None:
        """Release the connection."""
        await self._session.close()

    async def _apply(self, tx: Statements, batch: Batch, months: set[str]) -> None:
        for month in sorted(months):
            await _attach(tx, month)
        await self._move(tx, batch)
        if batch.audit:
            await tx.copy(_SQL["copy_audit"], copying.audit(batch.audit))
        if batch.rows:
            await tx.copy(_SQL["copy_staging"], copying.staged(batch.rows))
            for statement in _merges(batch.rows):
                await tx.execute(_SQL[statement])

    async def _move(self, tx: Statements, batch: Batch) -> None:
        before, after = batch.before, batch.after
        parameters = {
            "partition": before.partition,
            "expected": before.next,
            "expected_position": before.position,
            "next": after.next,
            "position": after.position,
            "published": after.published,
            "places": dump_places(after.places),
            "signers": json.dumps(dict(after.signers)),
            "last_time": after.last_time,
        }
        if await tx.fetch(_SQL["guard"], parameters):
            return
        rows = await tx.fetch(_SQL["why_not"], parameters)
        if rows and rows[0][1]:
            raise OwnedElsewhere(before.partition, before.next)
        raise SchemaClosed(f"{self.schema} takes no writes any more; a rebuilt schema takes over")


async def _attach(tx: Statements, month: str) -> None:
    """Create a month's table and attach it, unless it is there; others that do the same wait."""
    table = f"audit_{month}"
    if (await tx.fetch(_SQL["month_known"], {"table": table}))[0][0]:
        return
    await tx.fetch(_SQL["month_lock"])
    if (await tx.fetch(_SQL["month_known"], {"table": table}))[0][0]:
        return
    first, last = month_range(month)
    await tx.execute(sqlfiles.with_names(_SQL["month_create"], month=table))
    await tx.execute(sqlfiles.with_names(_SQL["month_attach"], month=table, **{"from": first, "to": last}))


def _headers(text: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, bytes.fromhex(value)) for name, value in json.loads(text))


def _merges(rows: Iterable[Staged]) -> list[str]:
    """Name the statements that the staged rows need; removals first."""
    tables = sorted({row.table for row in rows if not row.removed})
    removals = sorted({row.table for row in rows if row.removed})
    return [*(f"remove_{table}" for table in removals), *tables]
