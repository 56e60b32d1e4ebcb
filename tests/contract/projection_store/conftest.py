"""The stores of projections as most tests of them need one: prepared and empty."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from tests.contract.projection_world import STORES, World, prepared
from tests.unit.projections.histories import PARTITIONS, seeded
from tests.unit.projections.living import Living

from keyfold.projections.store import PostgresPartitionStore, PostgresSchemas

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase


@pytest.fixture(params=STORES)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Every store in turn."""
    async with prepared(request) as made:
        yield made


@pytest.fixture
def life() -> Living:
    """A history that has just begun."""
    return Living(seeded(1), longest_pause_ms=1000)


@pytest.fixture
async def schemas(postgres_database: "PostgresDatabase") -> AsyncIterator[PostgresSchemas]:
    """Postgres alone."""
    made = PostgresSchemas(postgres_database.dsn)
    await made.prepare(PARTITIONS)
    yield made
    await made.close()


@pytest.fixture
async def store(schemas: PostgresSchemas) -> AsyncIterator[PostgresPartitionStore]:
    """Its live schema."""
    made = schemas.partition_store("blue")
    yield made
    await made.close()
