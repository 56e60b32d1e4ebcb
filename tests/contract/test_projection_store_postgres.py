"""What only a real Postgres can show: roles, crash points, lost commits, deadlines, months, equality with memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import HISTORIES, PARTITIONS, START_MS, seeded, simulated
from tests.unit.projections.living import living

from keyfold.events import facts
from keyfold.events.entities import Key
from keyfold.events.key_states import state_of
from keyfold.events.times import to_text
from keyfold.projections import tables
from keyfold.projections.errors import OwnedElsewhere, StoreRefused, StoreUnavailable
from keyfold.projections.memory import MemoryQueries, MemorySchemas
from keyfold.projections.ports import Queries
from keyfold.projections.store import PostgresPartitionStore, PostgresQueries, PostgresSchemas
from keyfold.projections.store.session import Session, Statements

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

DAY_MS = 86_400_000

pytestmark = pytest.mark.stack


@pytest.fixture
async def schemas(postgres_database: "PostgresDatabase") -> AsyncIterator[PostgresSchemas]:
    made = PostgresSchemas(postgres_database.dsn)
    await made.prepare(PARTITIONS)
    yield made
    await made.close()


@pytest.fixture
async def store(schemas: PostgresSchemas) -> AsyncIterator[PostgresPartitionStore]:
    made = schemas.partition_store("blue")
    yield made
    await made.close()


@pytest.fixture
def auditor(postgres_database: "PostgresDatabase", schemas: PostgresSchemas) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_database.reader_dsn, autocommit=True) as connection:
        yield connection


async def test_an_auditor_reads_everything(auditor: psycopg.Connection[Any], store: PostgresPartitionStore) -> None:
    """`keyfold_auditor` may SELECT from every view of the schema `keyfold`."""
    await folding.feed_all(store, simulated(seeded(1), 20), seeded(1))
    views = [name for (name,) in auditor.execute("SELECT viewname FROM pg_views WHERE schemaname = 'keyfold'")]
    assert {"audit", *tables.PRIMARY_KEYS} <= set(views)
    for view in views:
        auditor.execute(psycopg.sql.SQL("SELECT * FROM keyfold.{}").format(psycopg.sql.Identifier(view)))
    count = auditor.execute("SELECT count(*) FROM keyfold.audit").fetchone()
    assert count is not None
    assert count[0] > 20


QUESTIONS = {
    "grants by key": (
        "grants_key_id",
        "SELECT * FROM keyfold.grants WHERE key_id = '0193f3a0-7c00-7000-8000-00000000000a'",
    ),
    "grants by grantee": ("grants_grantee", "SELECT * FROM keyfold.grants WHERE grantee = 'bob'"),
    "grants taken from another": (
        "grants_parent",
        "SELECT * FROM keyfold.grants WHERE parent = '0193f3a0-7c00-7000-8000-00000000000a'",
    ),
    "open proposals": (
        "proposals_open",
        "SELECT * FROM keyfold.proposals WHERE status IN ('Pending', 'Approved') ORDER BY created_at",
    ),
    "proposals of a stream": ("proposals_stream", "SELECT * FROM keyfold.proposals WHERE stream = 'registry'"),
    "proposals by author": ("proposals_proposer", "SELECT * FROM keyfold.proposals WHERE proposer = 'bob'"),
    "principals by group": ("principals_groups", "SELECT * FROM keyfold.principals WHERE groups @> '[\"readers\"]'"),
    "principals of an issuer": ("principals_issuer", "SELECT * FROM keyfold.principals WHERE issuer = 'ci'"),
    "who holds a key": ("signing_keys_signing_key", "SELECT * FROM keyfold.signing_keys WHERE signing_key = 'ab'"),
    "levels of a principal": ("buckets_principal", "SELECT * FROM keyfold.buckets WHERE principal = 'alice'"),
    "audit of a grant": (
        "grant_id_time_idx",
        "SELECT * FROM keyfold.audit WHERE grant_id = '0193f3a0-7c00-7000-8000-00000000000a'",
    ),
    "compromised versions": (
        "key_versions_compromised",
        "SELECT * FROM keyfold.key_versions WHERE compromised_at IS NOT NULL",
    ),
    "material that is over": (
        "key_versions_valid_to",
        "SELECT * FROM keyfold.key_versions WHERE valid_to <= '2026-06-01T00:00:00Z'",
    ),
    "audit of a proposal": (
        "proposal_id_time_idx",
        "SELECT * FROM keyfold.audit WHERE proposal_id = '0193f3a0-7c00-7000-8000-00000000000a'",
    ),
}


async def test_questions_of_auditors_are_answered_from_an_index(
    auditor: psycopg.Connection[Any], store: PostgresPartitionStore
) -> None:
    """Who may do what with which key, and who waits for whom: no need to read a whole table."""
    await folding.feed_all(store, simulated(seeded(1), 20), seeded(1))
    auditor.execute("SET enable_seqscan = off")  # tables of a test are too small for the planner to care
    for question, (index, statement) in QUESTIONS.items():
        plan = "\n".join(line for (line,) in auditor.execute(b"EXPLAIN " + statement.encode()))
        assert index in plan, question
        assert "Seq Scan" not in plan, question


async def test_an_auditor_sees_the_state_of_every_key(
    auditor: psycopg.Connection[Any], store: PostgresPartitionStore
) -> None:
    """As of now, in SQL alone; the same as policy would say."""
    events = living(seeded(4), 200)
    await folding.feed_all(store, events, seeded(1))
    keys = [entity for entity in folding.evolved(events).values() if isinstance(entity, Key)]
    rows = auditor.execute(
        "SELECT key_id::text, state, (extract(epoch FROM now()) * 1000)::bigint FROM keyfold.key_states"
    )
    found = {key_id: (state, now_ms) for key_id, state, now_ms in rows}
    assert found.keys() == {key.key_id for key in keys}
    for key in keys:
        state, now_ms = found[key.key_id]
        assert state == state_of(key, now_ms)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO keyfold.audit SELECT * FROM keyfold.audit",
        "UPDATE keyfold.audit SET outcome = 'authorized'",
        "DELETE FROM keyfold.audit",
        "UPDATE keyfold.control SET requested = true",
        "UPDATE keyfold_blue.audit SET outcome = 'authorized'",
        "DELETE FROM keyfold_blue.audit",
        "SELECT * FROM keyfold_blue.audit",
        "TRUNCATE keyfold_blue.audit",
        "UPDATE keyfold.offsets SET next = 0",
        "DROP VIEW keyfold.audit",
        "CREATE TABLE keyfold.mine ()",
    ],
)
async def test_an_auditor_changes_nothing(auditor: psycopg.Connection[Any], statement: str) -> None:
    """Every other right is refused: on the views, and on the tables behind them."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        auditor.execute(statement.encode())


async def test_an_auditor_reads_on_through_a_swap(
    auditor: psycopg.Connection[Any], schemas: PostgresSchemas, store: PostgresPartitionStore
) -> None:
    """A reader in a transaction of its own delays the swap, and is never broken by it."""
    events = simulated(seeded(1), 20)
    await folding.feed_all(store, events, seeded(1))
    await schemas.begin_rebuild()
    green = schemas.partition_store("green")
    await folding.feed_all(green, events, seeded(2))
    await green.close()
    await schemas.close_live()
    with auditor.transaction():
        auditor.execute("SELECT count(*) FROM keyfold.audit")
        with pytest.raises(StoreUnavailable):  # gives way at once instead of blocking other readers behind it
            await schemas.swap()
        count = auditor.execute("SELECT count(*) FROM keyfold.audit").fetchone()
        assert count == (len(events),)
    assert await schemas.swap()
    assert auditor.execute("SELECT count(*) FROM keyfold.audit").fetchone() == (len(events),)


class Crash(Exception):
    """Injected."""


async def test_a_crash_at_any_statement_leaves_nothing(
    postgres_database: "PostgresDatabase", store: PostgresPartitionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception before or after each statement of a batch: no row of it is there, and it can be applied anew."""
    events = simulated(seeded(7), 150, longest_pause_ms=43_200_000)
    leaves = folding.by_partition(events)[0]
    crashed_at: list[str] = []
    point = 0
    while True:
        batch = await folding.fold_batch(store, await store.offsets(0), leaves)
        with monkeypatch.context() as patch:
            reached = _crash_at(patch, point)
            try:
                await store.apply(batch)
                break
            except Crash:
                crashed_at += reached
        assert await _rows(postgres_database) == {}
        point += 1
    assert len(crashed_at) > 20
    parts = ("COPY audit", "COPY staging", "UPDATE offsets", "ATTACH PARTITION", "INSERT INTO aliases")
    for part in (*parts, "INSERT INTO signing_keys", "INSERT INTO proposals", "DELETE FROM limits"):
        assert any(part in statement for statement in crashed_at), part
    assert (await _rows(postgres_database))["audit"] == len(leaves)


def _crash_at(patch: pytest.MonkeyPatch, point: int) -> list[str]:
    """Let the n-th moment (before and after every statement) raise; returns what was reached."""
    reached: list[str] = []
    moments = iter(range(1_000_000))

    def around(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def run(self: Statements, statement: str, *rest: Any) -> Any:
            if next(moments) == point:
                reached.append(statement)
                raise Crash
            answer = await original(self, statement, *rest)
            if next(moments) == point:
                reached.append(statement)
                raise Crash
            return answer

        return run

    for name in ("fetch", "execute", "copy"):
        patch.setattr(Statements, name, around(getattr(Statements, name)))
    return reached


async def _rows(database: "PostgresDatabase") -> dict[str, int]:
    """How many rows each table of the live schema has, offsets that were moved included; empty ones are left out."""
    async with await psycopg.AsyncConnection.connect(database.dsn) as connection:
        counts = {}
        for table in ("audit", *tables.PRIMARY_KEYS):
            name = psycopg.sql.Identifier(table)
            cursor = await connection.execute(psycopg.sql.SQL("SELECT count(*) FROM keyfold_blue.{}").format(name))
            counts[table] = (await cursor.fetchall())[0][0]
        cursor = await connection.execute("SELECT count(*) FROM keyfold_blue.offsets WHERE next > 0 OR places <> '{}'")
        counts["offsets"] = (await cursor.fetchall())[0][0]
    return {table: count for table, count in counts.items() if count}


async def test_a_killed_connection_is_replaced(
    postgres_database: "PostgresDatabase", store: PostgresPartitionStore
) -> None:
    """The server ends our session: the next call says so or succeeds, and the one after it works."""
    leaves = folding.by_partition(simulated(seeded(5), 50))[1]
    batch = await folding.fold_batch(store, await store.offsets(1), leaves)
    _terminate(postgres_database)
    with pytest.raises(StoreUnavailable):
        await store.apply(batch)
    assert await store.offsets(1) == batch.before
    await store.apply(batch)
    assert (await store.offsets(1)).next == batch.after.next


def _terminate(database: "PostgresDatabase") -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
            "pg_backend_pid()"
        )


async def test_a_commit_that_landed_but_was_reported_lost_is_not_doubled(
    postgres_database: "PostgresDatabase", store: PostgresPartitionStore
) -> None:
    """The caller cannot know: it reads the offsets, and applying the same batch again is refused."""
    leaves = folding.by_partition(simulated(seeded(5), 50))[1]
    batch = await folding.fold_batch(store, await store.offsets(1), leaves)
    await store.apply(batch)
    _terminate(postgres_database)
    with pytest.raises(StoreUnavailable):
        await store.offsets(1)
    with pytest.raises(OwnedElsewhere):
        await store.apply(batch)
    assert (await _rows(postgres_database))["audit"] == len(leaves)


async def test_a_server_that_does_not_answer_costs_the_deadline(postgres_database: "PostgresDatabase") -> None:
    """A statement that hangs is given up in time, and the session is usable again."""
    session = Session(postgres_database.dsn, settings={}, deadline_s=0.3)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(StoreUnavailable):
        await session.run(lambda tx: tx.fetch("SELECT pg_sleep(30)"))
    assert loop.time() - begun < 2
    assert await session.run(lambda tx: tx.fetch("SELECT 1")) == [(1,)]
    await session.close()


async def test_a_cancelled_transaction_ends_at_once(postgres_database: "PostgresDatabase") -> None:
    """Stopping a process does not wait for the database."""
    session = Session(postgres_database.dsn, settings={}, deadline_s=30)
    task = asyncio.create_task(session.run(lambda tx: tx.fetch("SELECT pg_sleep(30)")))
    await asyncio.sleep(0.3)
    begun = asyncio.get_running_loop().time()
    task.cancel()
    await asyncio.wait({task})
    assert asyncio.get_running_loop().time() - begun < 1
    await session.close()


async def test_nobody_listening_is_unavailable() -> None:
    """No server at all: a typed, retriable error without the connection string."""
    queries = PostgresQueries("host=127.0.0.1 port=1 user=u password=secret dbname=d", deadline_s=3)
    with pytest.raises(StoreUnavailable) as caught:
        await queries.progress()
    assert "secret" not in str(caught.value)
    assert caught.value.retriable


async def test_reading_before_the_projector_ever_ran(postgres_database: "PostgresDatabase") -> None:
    """An empty database: the error says who makes the projections."""
    queries = PostgresQueries(postgres_database.dsn)
    with pytest.raises(StoreUnavailable, match="the projector makes them"):
        await queries.list_keys()
    await queries.close()


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
    auditor: psycopg.Connection[Any], postgres_database: "PostgresDatabase", store: PostgresPartitionStore
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
