"""A snapshot has every row of the live schema as of one moment, in memory and in Postgres alike."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.contract.projection_world import STORES, World, folded, prepared
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, seeded, simulated

from keyfold.projections import tables
from keyfold.projections.errors import StoreUnavailable
from keyfold.projections.fold import Batch
from keyfold.projections.memory import MemorySchemas, MemorySnapshots
from keyfold.projections.rows import AuditRow
from keyfold.projections.snapshots import Snapshot, Snapshots
from keyfold.projections.store import PostgresSnapshots


@dataclass(frozen=True)
class Filled:
    """A store that was filled, and its snapshots."""

    world: World
    snapshots: Snapshots


@pytest.fixture(params=STORES)
async def filled(request: pytest.FixtureRequest) -> AsyncIterator[Filled]:
    async with prepared(request) as world:
        await folded(world, seed=7, steps=150)
        if isinstance(world.schemas, MemorySchemas):
            yield Filled(world, MemorySnapshots(world.schemas))
        else:
            yield Filled(world, PostgresSnapshots(request.getfixturevalue("postgres_database").reader_dsn))


async def expected() -> MemorySchemas:
    """The same history in memory."""
    schemas = MemorySchemas()
    await schemas.prepare(PARTITIONS)
    await folding.feed_all(schemas.partition_store("blue"), simulated(seeded(7), 150), seeded(7))
    return schemas


async def audit_of(snapshot: Snapshot, partition: int) -> list[AuditRow]:
    return [row async for page in snapshot.audit(partition) for row in page]


async def rows_of(snapshot: Snapshot, table: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = [row async for page in snapshot.rows(table) for row in page]
    return {tuple(row[column] for column in tables.PRIMARY_KEYS[table]): row for row in rows}


async def test_every_row_of_every_table_is_there(filled: Filled) -> None:
    """By the same columns and in the same spelling, whichever store it is."""
    schemas = await expected()
    async with filled.snapshots.open() as snapshot, MemorySnapshots(schemas).open() as memory:
        for table in tables.PRIMARY_KEYS:
            found, wanted = await rows_of(snapshot, table), await rows_of(memory, table)
            assert found.keys() == wanted.keys(), table
            for key, row in found.items():
                assert row == {column: wanted[key].get(column) for column in row}, (table, key)
        assert dict(snapshot.offsets) == schemas.schema("blue").offsets


async def test_audit_rows_come_by_position(filled: Filled) -> None:
    """All of a partition, as readers get them."""
    async with filled.snapshots.open() as snapshot:
        for partition in range(PARTITIONS):
            found = await audit_of(snapshot, partition)
            assert [row.position for row in found] == list(range(len(found)))
            assert [row.value for row in found] == [
                row.value for row in await filled.world.queries.audit_log(partition, 0, 100_000)
            ]
        kinds = await snapshot.audit_partitions()
    assert kinds <= set(range(PARTITIONS))
    assert len(kinds) > 1


async def test_a_snapshot_does_not_move(filled: Filled) -> None:
    """What is folded meanwhile is not in it."""
    async with filled.snapshots.open() as snapshot:
        before = {p: len(await audit_of(snapshot, p)) for p in range(PARTITIONS)}
        offsets = dict(snapshot.offsets)
        one = next(row for row in await filled.world.queries.audit_log(1, 0, 1))
        store = filled.world.blue
        batch = Batch(offsets[1], replace(offsets[1], next=offsets[1].next + 5, position=10_000),
                              audit=(replace(one, position=9_999),))  # fmt: skip
        await store.apply(batch)
        assert {p: len(await audit_of(snapshot, p)) for p in range(PARTITIONS)} == before
        assert dict(snapshot.offsets) == offsets
    async with filled.snapshots.open() as snapshot:
        assert len(await audit_of(snapshot, 1)) == before[1] + 1


async def test_a_store_that_is_not_there_is_unavailable() -> None:
    """Within its deadline, by a typed error without details of the connection."""
    snapshots = PostgresSnapshots("host=127.0.0.1 port=1 user=x password=secret dbname=x")
    with pytest.raises(StoreUnavailable) as caught:
        async with asyncio.timeout(30), snapshots.open():
            pass
    assert "secret" not in str(caught.value)
