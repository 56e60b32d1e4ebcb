"""The role `keyfold_auditor` in a real Postgres: it reads every view, from an index, and changes nothing."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import seeded, simulated
from tests.unit.projections.living import living

from keyfold.events.entities import Key
from keyfold.events.key_states import state_of
from keyfold.projections import tables
from keyfold.projections.errors import StoreUnavailable
from keyfold.projections.store import PostgresPartitionStore, PostgresSchemas

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

pytestmark = pytest.mark.stack


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
