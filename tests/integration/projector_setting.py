"""Shared by the tests of the projector: a deployment whose projections are in memory or in Postgres, and its events."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from tests.unit.projections import folding
from tests.unit.projections.deployment import Deployment
from tests.unit.projections.histories import START_MS, genesis_events

from keyfold.events import facts
from keyfold.events.times import to_text
from keyfold.projections.memory import MemoryQueries, MemorySchemas
from keyfold.projections.ports import Colour
from keyfold.projections.store import PostgresQueries, PostgresSchemas

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

SEALING_KEY = "0193f3a0-7c00-7000-8000-00000000000b"
BACKENDS = ["memory", pytest.param("postgres", marks=pytest.mark.stack)]


@contextlib.asynccontextmanager
async def set_up(request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    """A deployment with the projections that the request's parameter names."""
    if request.param == "memory":
        memory = MemorySchemas()
        yield Deployment(lambda: memory, MemoryQueries(memory))
        return
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    queries = PostgresQueries(database.reader_dsn)
    yield Deployment(lambda: PostgresSchemas(database.dsn), queries)
    await queries.close()


def published(identifier: str = SEALING_KEY) -> facts.Event:
    """A sealing key is published."""
    pair = {"sealing_key": identifier, "public_key": "ab" * 1216, "blob_digest": "0" * 64}
    return facts.SealingKeyPublished.new(f"published/{identifier}", "registry", to_text(START_MS), **pair)


async def begin(deployment: Deployment) -> None:
    """A fresh deployment: genesis and certificates."""
    await deployment.write(deployment.log.sign(genesis_events()))


async def same(deployment: Deployment, colour: Colour, events: list[facts.Event]) -> None:
    """What a schema holds is what `evolve` says of these events."""
    schemas = deployment.schemas()
    store = schemas.partition_store(colour)
    truth = folding.evolved(events)
    assert await store.load(truth) == truth
    await store.close()
    await schemas.close()
