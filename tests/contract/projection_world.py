"""The stores that the contract suites of projections run against."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, seeded, simulated

from keyfold.events import facts
from keyfold.projections.fold import Batch
from keyfold.projections.memory import MemoryQueries, MemorySchemas
from keyfold.projections.ports import PartitionStore, Queries, Schemas
from keyfold.projections.store import PostgresQueries, PostgresSchemas

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

STORES = ["memory", pytest.param("postgres", marks=pytest.mark.stack)]


@dataclass(frozen=True)
class World:
    """A store that was prepared, and a reader of it."""

    schemas: Schemas
    queries: Queries
    blue: PartitionStore


@contextlib.asynccontextmanager
async def prepared(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """The store that the request's parameter names, prepared and empty."""
    schemas: Schemas
    queries: Queries
    if request.param == "memory":
        memory = MemorySchemas()
        schemas, queries = memory, MemoryQueries(memory)
    else:
        database: PostgresDatabase = request.getfixturevalue("postgres_database")
        schemas, queries = PostgresSchemas(database.dsn), PostgresQueries(database.reader_dsn)
    await schemas.prepare(PARTITIONS)
    store = schemas.partition_store("blue")
    yield World(schemas, queries, store)
    for part in (store, queries, schemas):
        await part.close()


def history(seed: int = 7, steps: int = 60) -> list[facts.Event]:
    """A generated history."""
    return simulated(seeded(seed), steps)


async def folded(world: World, seed: int = 7, steps: int = 60) -> list[facts.Event]:
    """A generated history, folded into the store."""
    events = history(seed, steps)
    await folding.feed_all(world.blue, events, seeded(seed))
    return events


async def first_batch(world: World) -> Batch:
    """The first events of partition 1, ready to be applied."""
    leaves = folding.by_partition(history())[1]
    return await folding.fold_batch(world.blue, await world.blue.offsets(1), leaves[:5])
