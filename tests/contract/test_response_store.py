"""What was done about incidents is stored alike in memory and in Postgres: what became of a target stands."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.unit.projections.histories import PARTITIONS

from keyfold.projections.memory.responses import MemoryResponses
from keyfold.projections.responses import ResponseRow, Responses
from keyfold.projections.store import PostgresSchemas
from keyfold.projections.store.responses import PostgresResponses

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

ONE, OTHER, COMMAND = (f"00000000-0000-8000-8000-{number:012}" for number in range(3))
NOON, LATER = "2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00.001Z"
PROPOSED = ResponseRow(ONE, "SuspendPrincipal", "principal/bob", "proposed", LATER, COMMAND, None, 1)
REFUSED = ResponseRow(ONE, "DisableKey", f"key/{COMMAND}", "refused", NOON, COMMAND, "AccessDenied", 2)
WITHHELD = ResponseRow(OTHER, "SuspendPrincipal", "principal/bob", "withheld", LATER)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.stack)])
async def responses(request: pytest.FixtureRequest) -> AsyncIterator[Responses]:
    if request.param == "memory":
        yield MemoryResponses()
        return
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    schemas = PostgresSchemas(database.dsn)
    await schemas.prepare(PARTITIONS)
    made = PostgresResponses(database.dsn)
    yield made
    await made.close()
    await schemas.close()


async def test_what_is_recorded_is_read_as_it_was(responses: Responses) -> None:
    """Of one incident, in the order of time."""
    assert await responses.of_incident(ONE) == ()
    for row in (PROPOSED, REFUSED, WITHHELD):
        await responses.record(row)
    assert await responses.of_incident(ONE) == (REFUSED, PROPOSED)
    assert await responses.of_incident(OTHER) == (WITHHELD,)


async def test_the_first_record_stands(responses: Responses) -> None:
    """Of the same incident, verb and target."""
    await responses.record(PROPOSED)
    await responses.record(ResponseRow(ONE, "SuspendPrincipal", "principal/bob", "failed", NOON))
    assert await responses.of_incident(ONE) == (PROPOSED,)


async def test_what_is_being_sent_gives_way_to_what_became_of_it(responses: Responses) -> None:
    """And never comes back."""
    sending = replace(PROPOSED, outcome="sending", attempts=0)
    for row in (sending, replace(sending, at=NOON), PROPOSED, sending, replace(PROPOSED, outcome="failed")):
        await responses.record(row)
    assert await responses.of_incident(ONE) == (PROPOSED,)


async def test_what_was_sent_is_counted(responses: Responses) -> None:
    """Since a time, inclusive; what was withheld was not sent, and what is being sent may have been."""
    for row in (replace(PROPOSED, outcome="sending"), REFUSED, WITHHELD):
        await responses.record(row)
    assert [await responses.sent_since(time) for time in (NOON, LATER, "2026-01-31T12:00:00.002Z")] == [2, 1, 0]
