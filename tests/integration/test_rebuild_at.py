"""The projections as of a moment of the past: filled from a bus in memory into a schema of its own in Postgres."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.unit.projections import folding
from tests.unit.projections.deployment import Deployment
from tests.unit.projections.histories import DEPLOYMENT, PARTITIONS, seeded, simulated

from keyfold.cli.rebuild_at.command import filled
from keyfold.cli.rebuild_at.filling import Filling, fill
from keyfold.events import facts
from keyfold.events.entities import Key
from keyfold.events.errors import AlreadyExists, InvalidCommand, NotFound
from keyfold.events.key_states import state_of
from keyfold.events.streams import partition_of
from keyfold.events.times import to_milliseconds
from keyfold.log import TrustKeeper
from keyfold.projections.errors import SchemaClosed
from keyfold.projections.store import PostgresQueries, PostgresSchemas
from keyfold.projections.store.past import PostgresPast

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

pytestmark = pytest.mark.stack

EVENTS = simulated(seeded(7), 120)
MOMENT = EVENTS[len(EVENTS) // 2].time
NAME = "keyfold_at_test"
SEARCH = f"-c search_path={NAME}"


def prefixes(events: Sequence[facts.Event], moment: str) -> list[facts.Event]:
    """What belongs to the moment: of each partition, everything before the first event that is later."""
    over: set[int] = set()
    found = []
    for event in events:
        partition = partition_of(event.subject, PARTITIONS)
        if event.time > moment:
            over.add(partition)
        if partition not in over:
            found.append(event)
    return found


@pytest.fixture
async def deployment(postgres_database: "PostgresDatabase") -> AsyncIterator[Deployment]:
    """A log, and live projections that have all of it."""
    queries = PostgresQueries(postgres_database.reader_dsn)
    made = Deployment(lambda: PostgresSchemas(postgres_database.dsn), queries)
    schemas = made.schemas()
    await schemas.prepare(PARTITIONS)
    store = schemas.partition_store("blue")
    await folding.feed_all(store, EVENTS, seeded(2))
    await made.write(*made.log.transactions(EVENTS, seeded(1)))
    yield made
    for part in (store, schemas, queries):
        await part.close()


@pytest.fixture
async def past(postgres_database: "PostgresDatabase", deployment: Deployment) -> AsyncIterator[PostgresPast]:
    made = PostgresPast(postgres_database.dsn)
    yield made
    await made.close()


async def rebuilt(deployment: Deployment, past: PostgresPast, moment: str = MOMENT, name: str = NAME) -> int:
    return await filled(
        deployment.bus, past, DEPLOYMENT, PARTITIONS, name=name, as_of=moment, told=lambda _events: None
    )


async def test_it_is_the_prefix_of_each_partition(
    deployment: Deployment, past: PostgresPast, postgres_database: "PostgresDatabase"
) -> None:
    """Entities and audit are those of the prefixes; auditors read them, with states as of then; live is untouched."""
    before = await deployment.queries.progress()
    expected = prefixes(EVENTS, MOMENT)
    assert await rebuilt(deployment, past) == len(expected)
    assert 0 < len(expected) < len(EVENTS)
    store, truth = past.partition_store(NAME), folding.evolved(expected)
    assert await store.load(truth) == truth
    later = folding.evolved(EVENTS).keys() - truth.keys()
    assert await store.load(later) == dict.fromkeys(later)
    await store.close()
    assert await deployment.queries.progress() == before
    with psycopg.connect(postgres_database.reader_dsn, autocommit=True, options=SEARCH) as auditor:
        values = auditor.execute("SELECT value FROM audit").fetchall()
        assert sorted(value for (value,) in values) == sorted(event.to_value() for event in expected)
        states: dict[str, str] = dict(auditor.execute("SELECT key_id::text, state FROM key_states").fetchall())
        now_ms = to_milliseconds(MOMENT)
        assert states == {key.key_id: state_of(key, now_ms) for key in truth.values() if isinstance(key, Key)}
        for view in (b"denials", b"administrator_actions", b"key_users", b"last_uses", b"keys_not_rotated(0)"):
            auditor.execute(b"SELECT * FROM " + view)
        for statement in ("DELETE FROM audit", f"DROP SCHEMA {NAME}", f"CREATE TABLE {NAME}.mine ()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                auditor.execute(statement.encode())


async def test_before_and_after_everything(deployment: Deployment, past: PostgresPast) -> None:
    """Before genesis there is nothing; after the last event it is what the live schema has."""
    assert await rebuilt(deployment, past, "2020-01-01T00:00:00.000Z", "before_all") == 0
    assert await rebuilt(deployment, past, "2090-01-01T00:00:00.000Z", "after_all") == len(EVENTS)
    store, truth = past.partition_store("after_all"), folding.evolved(EVENTS)
    assert await store.load(truth) == truth
    await store.close()


async def test_interrupted_anywhere_it_goes_on(deployment: Deployment, past: PostgresPast) -> None:
    """Cut off after every few records, in every partition, the same command ends with the same schema."""
    await past.begin(NAME, MOMENT, PARTITIONS)
    keeper = TrustKeeper(deployment.bus, DEPLOYMENT, PARTITIONS)
    trust = await keeper.catch_up()
    for partition in range(PARTITIONS):
        store = past.partition_store(NAME)
        filling = Filling(trust, store, PARTITIONS, await store.offsets(partition), MOMENT)
        with pytest.raises(asyncio.CancelledError):
            await fill(deployment.bus, filling, partition, _interrupt, batch=3)
        await store.close()
    await keeper.stop()
    (begun,) = await past.all()
    assert (begun.name, begun.as_of, begun.completed_at) == (NAME, MOMENT, None)
    assert await rebuilt(deployment, past) == len(prefixes(EVENTS, MOMENT))
    (done,) = await past.all()
    assert done.completed_at is not None
    assert done.current


def _interrupt(_events: int) -> None:
    raise asyncio.CancelledError


async def test_a_schema_that_is_complete_is_not_written_again(deployment: Deployment, past: PostgresPast) -> None:
    """It is closed; neither the same moment nor another one may have its name until it is dropped."""
    await rebuilt(deployment, past)
    for moment in (MOMENT, "2020-01-01T00:00:00.000Z"):
        with pytest.raises(AlreadyExists, match="drop"):
            await rebuilt(deployment, past, moment)
    store = past.partition_store(NAME)
    with pytest.raises(SchemaClosed):
        await store.offsets(1)
    await store.close()
    await past.drop(NAME)
    assert await past.all() == ()
    assert await rebuilt(deployment, past, "2020-01-01T00:00:00.000Z") == 0


@pytest.mark.parametrize("name", ["user", "select", "table"])
async def test_a_word_of_sql_may_name_a_schema_of_the_past(
    deployment: Deployment, past: PostgresPast, name: str
) -> None:
    """Names are quoted, from the schema's making to its end."""
    expected = prefixes(EVENTS, MOMENT)
    assert await rebuilt(deployment, past, name=name) == len(expected)
    store, truth = past.partition_store(name), folding.evolved(expected)
    assert await store.load(truth) == truth
    await store.close()
    await past.drop(name)
    assert await past.all() == ()


@pytest.mark.parametrize("name", ["keyfold", "keyfold_blue", "public", "pg_catalog", "a;b", "A", "", "x" * 41])
async def test_names_that_no_schema_of_the_past_may_have(past: PostgresPast, name: str) -> None:
    """The live projections cannot be overwritten or dropped by a name."""
    with pytest.raises(InvalidCommand):
        await past.begin(name, MOMENT, PARTITIONS)
    with pytest.raises(NotFound):
        await past.drop(name)


async def test_a_schema_of_somebody_else_is_left_alone(
    past: PostgresPast, postgres_database: "PostgresDatabase", deployment: Deployment
) -> None:
    """A schema that is there and not registered is neither filled nor dropped."""
    with psycopg.connect(postgres_database.dsn, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA mine")
    with pytest.raises(AlreadyExists, match="another name"):
        await rebuilt(deployment, past, name="mine")
    with pytest.raises(NotFound):
        await past.drop("mine")


async def test_records_that_are_not_authentic_are_reported_as_ever(
    deployment: Deployment, past: PostgresPast, postgres_database: "PostgresDatabase"
) -> None:
    """What is believed is what the projector believes: a stranger's record is a report, and no state."""
    await deployment.raw(1, b"key/0193f3a0-7c00-7000-8000-00000000000a", b"{}")
    assert await rebuilt(deployment, past, "2090-01-01T00:00:00.000Z") == len(EVENTS)
    with psycopg.connect(postgres_database.reader_dsn, autocommit=True, options=SEARCH) as auditor:
        (code,) = auditor.execute("SELECT code FROM reports").fetchone() or ("",)
    assert code == "UntrustedRecord"
