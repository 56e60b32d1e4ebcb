"""What only a real Postgres can show: concurrent owners, months, older layouts, equality with memory."""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import HISTORIES, PARTITIONS, START_MS, seeded, simulated

from keyfold.events import facts
from keyfold.events.times import to_text
from keyfold.projections.errors import ProjectionsAbsent, StoreRefused, StoreUnavailable
from keyfold.projections.memory import MemoryQueries, MemorySchemas
from keyfold.projections.ports import Queries
from keyfold.projections.store import PostgresPartitionStore, PostgresQueries, PostgresSchemas

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

DAY_MS = 86_400_000

pytestmark = pytest.mark.stack


async def test_reading_before_the_projector_ever_ran(postgres_database: "PostgresDatabase") -> None:
    """An empty database: the error says who makes the projections, and is another than that of one that is away."""
    queries = PostgresQueries(postgres_database.dsn)
    with pytest.raises(ProjectionsAbsent, match="the projector makes them"):
        await queries.list_keys()
    await queries.close()
    nowhere = PostgresQueries(psycopg.conninfo.make_conninfo(postgres_database.dsn, host="127.0.0.1", port=1))
    with pytest.raises(StoreUnavailable) as away:
        await nowhere.list_keys()
    assert not isinstance(away.value, ProjectionsAbsent)
    await nowhere.close()


async def test_a_value_that_no_column_takes_is_refused_for_good(store: PostgresPartitionStore) -> None:
    """What the database refuses for what it is, is not retriable, and nothing of the batch is there."""
    used = next(event for event in simulated(seeded(3), 150) if isinstance(event, facts.KeyUsed))
    huge = used.model_copy(update={"data": used.data.model_copy(update={"bytes": 10**30})})
    before = await store.offsets(1)
    batch = await folding.fold_batch(store, before, [folding.leaf(huge, 0)])
    with pytest.raises(StoreRefused) as caught:
        await store.apply(batch)
    assert not caught.value.retriable
    assert await store.offsets(1) == before


async def test_concurrent_preparations_wait_for_each_other(postgres_database: "PostgresDatabase") -> None:
    """Several projectors that start at once make one set of schemas."""
    several = [PostgresSchemas(postgres_database.dsn) for _ in range(4)]
    statuses = await asyncio.gather(*(schemas.prepare(PARTITIONS) for schemas in several))
    assert len(set(statuses)) == 1
    for schemas in several:
        await schemas.close()


async def test_partitions_attach_the_same_months_at_once(schemas: PostgresSchemas) -> None:
    """Owners of different partitions that meet new months together neither fail nor wait for each other for ever."""
    events = simulated(seeded(9), 120)
    leaves = folding.by_partition(events)
    stores = {partition: schemas.partition_store("blue") for partition in leaves}
    await asyncio.gather(
        *(folding.feed(stores[partition], leaves[partition], seeded(partition), partition) for partition in leaves)
    )
    for partition, store in stores.items():
        assert (await store.offsets(partition)).position == len(leaves[partition])
        await store.close()


async def test_months_have_tables_of_their_own(
    postgres_database: "PostgresDatabase", store: PostgresPartitionStore
) -> None:
    """One partition per month that has events, created on demand; the default time ranges stay empty."""
    events = simulated(seeded(9), 60)
    await folding.feed_all(store, events, seeded(1))
    with psycopg.connect(postgres_database.dsn) as connection:
        rows = connection.execute(
            "SELECT tableoid::regclass::text, to_char(min(time) AT TIME ZONE 'UTC', 'YYYY_MM'), "
            "to_char(max(time) AT TIME ZONE 'UTC', 'YYYY_MM') FROM keyfold_blue.audit GROUP BY 1"
        ).fetchall()
    assert len(rows) == len({event.time[:7] for event in events}) > 2
    for table, first, last in rows:
        assert table == f"keyfold_blue.audit_{first}" == f"keyfold_blue.audit_{last}"


@pytest.mark.parametrize("generator", ["simulated", "living"])
@pytest.mark.parametrize("seed", range(6))
async def test_postgres_holds_what_memory_holds(
    postgres_database: "PostgresDatabase",
    schemas: PostgresSchemas,
    store: PostgresPartitionStore,
    seed: int,
    generator: str,
) -> None:
    """The same history, cut differently: every table has the same rows in both stores, and readers the same answers."""
    events = HISTORIES[generator](seeded(seed), 160)
    memory = MemorySchemas()
    await memory.prepare(PARTITIONS)
    await folding.feed_all(memory.partition_store("blue"), events, seeded(seed))
    await folding.feed_all(store, events, seeded(seed + 100))
    mine, theirs = PostgresQueries(postgres_database.dsn), MemoryQueries(memory)
    for partition in range(PARTITIONS):
        assert await mine.audit_log(partition, limit=10_000) == await theirs.audit_log(partition, limit=10_000)
        assert await store.offsets(partition) == await memory.partition_store("blue").offsets(partition)
    assert await mine.usage() == await theirs.usage()
    for now in (START_MS, START_MS + 30 * DAY_MS, START_MS + 4000 * DAY_MS):
        assert await _answers(mine, to_text(now), events) == await _answers(theirs, to_text(now), events)
    await mine.close()
    with psycopg.connect(postgres_database.dsn) as connection:
        for table, rows in memory.schemas["blue"].rows.items():
            name = psycopg.sql.Identifier(table)
            found = connection.execute(
                psycopg.sql.SQL("SELECT row_to_json(t)::text FROM keyfold_blue.{} t").format(name)
            ).fetchall()
            expected = sorted(_plain(row) for row in rows.values())
            assert sorted(_plain(json.loads(document)) for (document,) in found) == expected, table


async def _answers(queries: Queries, now: str, events: Sequence[facts.Event]) -> list[Any]:
    """What readers are told about keys and epochs."""
    found = [
        await queries.list_keys(now=now, limit=1000),
        await queries.due_deletions(now),
        await queries.due_rotations(now),
        await queries.due_material_expiries(now),
        await queries.capabilities(),
        await queries.storage_epoch(),
    ]
    for key_id in {event.data.key_id for event in events if isinstance(event, facts.KeyCreated)}:
        found += [await queries.key_versions(key_id), await queries.last_use(key_id), await queries.erasures(key_id)]
        found += [await queries.public_key(key_id), await queries.public_key(key_id, 1)]
    return found


def _plain(row: dict[str, Any]) -> str:
    """One spelling for both: instants as Postgres writes them in JSON become ours."""
    return json.dumps({name: _instant(value) for name, value in row.items()}, sort_keys=True)


def _instant(value: Any) -> Any:
    if isinstance(value, str) and value.endswith("+00:00"):
        whole, _, fraction = value.removesuffix("+00:00").partition(".")
        return f"{whole}.{fraction:0<3}Z"
    return value


async def test_an_event_with_hostile_text_is_stored(store: PostgresPartitionStore, schemas: PostgresSchemas) -> None:
    """Tabs, quotes, backslashes, COPY's end marker and any plane of Unicode come back as they were."""
    text = "a\tb\nc\\. \\N \r \"'{}; DROP TABLE audit; -- 🔑 \x7f \u2028"
    event = next(e for e in simulated(seeded(3), 1_000) if isinstance(e, facts.KeyDisabled))
    created = facts.KeyCreated.new(
        text,
        event.subject,
        to_text(START_MS),
        decision=event.data.decision.model_copy(update={"policies": [text, "", "NULL", 'a"b,c']}),
        key_id=event.data.key_id,
        key_spec="SYMMETRIC_DEFAULT",
        protection="HSM",
        description=text,
        tags={text: text},
        created_by="alice",
    )
    leaf = folding.leaf(created, 0)
    await store.apply(await folding.fold_batch(store, await store.offsets(1), [leaf]))
    assert await store.load([event.subject]) == folding.evolved([created])
    queries = PostgresQueries(schemas.dsn)
    (row,) = await queries.audit_log(1)
    assert (row.event_id, row.policies) == (text, (text, "", "NULL", 'a"b,c'))
    assert row.value == created.to_value()
    await queries.close()


OLDER = {
    "audit": "SELECT partition, position, time, value FROM keyfold_blue.audit",
    "principal_entities": "SELECT principal, json_build_object('public_key', 'ab')::text AS document "
    "FROM keyfold_blue.principals",
}


async def test_what_an_older_layout_cannot_answer_is_unavailable_until_the_rebuild(
    postgres_database: "PostgresDatabase", schemas: PostgresSchemas, store: PostgresPartitionStore
) -> None:
    """A reader of this release meets views of an earlier one: that passes, so it is told to try again."""
    await folding.feed_all(store, simulated(seeded(1), 10), seeded(1))
    with psycopg.connect(postgres_database.dsn, autocommit=True) as connection:
        for view, query in OLDER.items():
            connection.execute(f"DROP VIEW keyfold.{view}".encode())
            connection.execute(f"CREATE VIEW keyfold.{view} AS {query}".encode())
            connection.execute(f"GRANT SELECT ON keyfold.{view} TO keyfold_auditor".encode())
    queries = PostgresQueries(postgres_database.reader_dsn)
    with pytest.raises(StoreUnavailable, match="the projector makes them"):
        await queries.audit()
    with pytest.raises(StoreUnavailable, match="another release"):
        await queries.principals()
    assert await queries.deployment() is not None
    await queries.close()


async def test_a_layout_of_an_older_release_is_served_and_rebuilt(
    postgres_database: "PostgresDatabase", schemas: PostgresSchemas, store: PostgresPartitionStore
) -> None:
    """After an upgrade the old schema answers readers, nobody writes to it, and a rebuild makes a new one live."""
    events = simulated(seeded(1), 10)
    await folding.feed_all(store, events, seeded(1))
    with psycopg.connect(postgres_database.dsn, autocommit=True) as connection:
        connection.execute("UPDATE keyfold.control SET live_layout = 1")
    status = await schemas.prepare(PARTITIONS)
    assert (status.current, status.active) == (False, ())
    assert (await schemas.begin_rebuild()).active == ("green",)
    queries = PostgresQueries(postgres_database.reader_dsn)
    assert len((await queries.audit(limit=1000)).rows) == len(events)
    green = schemas.partition_store("green")
    await folding.feed_all(green, events, seeded(1))
    await schemas.close_live()
    assert await schemas.swap()
    assert (await schemas.status()).active == ("green",)
    assert len((await queries.audit(limit=1000)).rows) == len(events)
    await green.close()
    await queries.close()
