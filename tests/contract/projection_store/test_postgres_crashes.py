"""Batches in a real Postgres that fails: crashes at every statement, lost connections and commits, deadlines."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import seeded, simulated

from keyfold.projections import tables
from keyfold.projections.errors import OwnedElsewhere, StoreUnavailable
from keyfold.projections.store import PostgresPartitionStore, PostgresQueries
from keyfold.projections.store.session import Session, Statements

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

pytestmark = pytest.mark.stack


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
