"""Least privilege in a real Postgres: what each role of `keyfold.projections.access` can do, and what it cannot."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, seeded, simulated

from keyfold.config import write_private
from keyfold.projections.access import (
    ANALYTICS,
    AUDITOR,
    DATABASE_GRANTS,
    OPERATOR,
    OWNER,
    PROJECTOR,
    ROLES,
    SCHEDULER,
    SCHEMA_GRANTS,
)
from keyfold.projections.errors import MigrationsNeeded, SchemaNewer, StoreRefused
from keyfold.projections.responses import ResponseRow
from keyfold.projections.store import PostgresAlertStore, PostgresQueries, PostgresSchemas
from keyfold.projections.store.access import PostgresAccess, scram_verifier, statements
from keyfold.projections.store.migrating import PostgresMigrations
from keyfold.projections.store.past import PostgresPast
from keyfold.projections.store.responses import PostgresResponses
from keyfold.projections.store.schemas import LAYOUT

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

pytestmark = pytest.mark.stack


class Database:
    """A database with the roles, and how each connects: by a password file."""

    def __init__(self, database: "PostgresDatabase", home: Path) -> None:
        self.admin_dsn, self._auditor_dsn, self._home = database.admin_dsn, database.reader_dsn, home
        # The auditor is there already, and its password is every other test's.
        self._passwords = {role: secrets.token_hex(16) for role in ROLES if role != AUDITOR}
        self.verifiers = {role: scram_verifier(word, secrets.token_bytes(16)) for role, word in self._passwords.items()}
        for role, word in self._passwords.items():
            write_private(home / f"{role}.pgpass", f"*:*:*:{role}:{word}\n")

    def dsn(self, role: str) -> str:
        """How a role connects."""
        if role == AUDITOR:
            return self._auditor_dsn
        place = psycopg.conninfo.conninfo_to_dict(self.admin_dsn)
        place |= {"user": role, "passfile": str(self._home / f"{role}.pgpass")}
        return psycopg.conninfo.make_conninfo(**place)

    def connect(self, role: str) -> psycopg.Connection[Any]:
        """A connection as a role."""
        return psycopg.connect(self.dsn(role), autocommit=True)

    def admin(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
async def apart(postgres_database: "PostgresDatabase", tmp_path: Path) -> Database:
    """A database whose roles are made, and nothing else."""
    database = Database(postgres_database, tmp_path)
    # The fixture's database has an owner of its own, as after `CREATE DATABASE` by another administrator.
    access = PostgresAccess(database.admin_dsn)
    assert await access.apply(database.verifiers) == await access.apply(database.verifiers)
    await access.close()
    return database


@pytest.fixture
async def schemas(apart: Database) -> AsyncIterator[PostgresSchemas]:
    """A database that the owner has migrated and the projector has prepared."""
    migrations = PostgresMigrations(apart.dsn(OWNER))
    assert len(await migrations.run()) >= 6
    assert await migrations.run() == []
    await migrations.close()
    made = PostgresSchemas(apart.dsn(PROJECTOR))
    await made.prepare(PARTITIONS)
    yield made
    await made.close()


async def test_roles_are_set_again_before_anything_was_folded(apart: Database) -> None:
    """After the migrations and before the first projector there are no views yet: who repeats the steps goes on."""
    migrations, access = PostgresMigrations(apart.dsn(OWNER)), PostgresAccess(apart.admin_dsn)
    await migrations.run()
    assert await access.apply(apart.verifiers) == len(DATABASE_GRANTS) + len(SCHEMA_GRANTS)
    await migrations.close()
    await access.close()


async def test_the_projector_does_its_work_with_its_role(apart: Database, schemas: PostgresSchemas) -> None:
    """It folds, attaches months, rebuilds and swaps, as the owner of nothing but its two schemas and the views."""
    events = simulated(seeded(9), 60)
    store = schemas.partition_store("blue")
    await folding.feed_all(store, events, seeded(1))
    await store.close()
    await schemas.request_rebuild()
    await schemas.begin_rebuild()
    green = schemas.partition_store("green")
    await folding.feed_all(green, events, seeded(2))
    await green.close()
    await schemas.complete_building()
    await schemas.close_live()
    assert await schemas.swap()
    await schemas.drop_idle()
    with apart.connect(AUDITOR) as auditor:
        assert auditor.execute("SELECT count(*) FROM keyfold.audit").fetchone() == (len(events),)
        assert auditor.execute("SELECT count(*) FROM keyfold.keys_not_rotated(0)").fetchone() is not None
    owners = dict(
        apart.admin("SELECT nspname, pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname LIKE 'keyfold%'")
    )
    assert owners == {"keyfold": OWNER, "keyfold_alerts": OWNER, "keyfold_green": PROJECTOR}


async def test_the_scheduler_finds_its_duties(apart: Database, schemas: PostgresSchemas) -> None:
    """Every question that the scheduler asks is answered, also after a swap has made the views anew."""
    await _swapped(schemas)
    queries = PostgresQueries(apart.dsn(SCHEDULER))
    now = "2026-01-01T00:00:00.000Z"
    assert await queries.due_deletions(now, 10) == await queries.due_rotations(now, 10) == ()
    assert await queries.due_material_expiries(now, 10) == await queries.issuers() == ()
    await queries.storage_epoch()
    await queries.deployment()
    await queries.close()


async def test_analytics_writes_alerts_and_responses(apart: Database, schemas: PostgresSchemas) -> None:
    """Responses are recorded and found again; alerts are read for revising them."""
    assert schemas
    responses = PostgresResponses(apart.dsn(ANALYTICS))
    incident, moment = "0193f3a0-7c00-7000-8000-00000000000a", "2026-01-01T00:00:00.000Z"
    row = ResponseRow(incident, "DisableKey", "key/1", "proposed", moment, None, None, 1)
    await responses.record(row)
    assert await responses.of_incident(incident) == (row,)
    await responses.close()
    store = PostgresAlertStore(apart.dsn(ANALYTICS))
    await store.write(())
    await store.close()


async def test_the_operator_asks_for_a_rebuild(apart: Database, schemas: PostgresSchemas) -> None:
    """That is what it may change, and it sees how it goes."""
    operator = PostgresSchemas(apart.dsn(OPERATOR))
    await operator.request_rebuild()
    assert (await operator.status()).requested
    assert (await schemas.status()).requested
    with pytest.raises(StoreRefused):
        await operator.begin_rebuild()
    await operator.close()
    queries = PostgresQueries(apart.dsn(OPERATOR))
    assert len(await queries.progress()) == PARTITIONS
    await queries.reports()
    await queries.close()


async def test_the_owner_makes_schemas_of_the_past(apart: Database, schemas: PostgresSchemas) -> None:
    """They are beside the projections, and auditors read them."""
    assert schemas
    past = PostgresPast(apart.dsn(OWNER))
    await past.begin("keyfold_then", "2026-01-01T00:00:00.000Z", PARTITIONS)
    await past.finish("keyfold_then")
    await past.close()
    with apart.connect(AUDITOR) as auditor:
        assert auditor.execute("SELECT count(*) FROM keyfold_then.audit").fetchone() == (0,)


_CANNOT = {
    PROJECTOR: (
        "INSERT INTO keyfold.migrations (name) VALUES ('x')",
        "UPDATE keyfold.past_schemas SET as_of = now()",
        "INSERT INTO keyfold_alerts.acts SELECT * FROM keyfold_alerts.acts",
        "SELECT * FROM keyfold_alerts.findings",
        "CREATE OR REPLACE FUNCTION keyfold.instant(timestamptz) RETURNS text LANGUAGE sql STABLE RETURN 'never'",
        "DROP TABLE keyfold.control",
        "DROP SCHEMA keyfold CASCADE",
        "CREATE ROLE mallory",
        "CREATE TABLE public.mine ()",
    ),
    SCHEDULER: (
        "SELECT * FROM keyfold.audit",
        "SELECT * FROM keyfold.principals",
        "SELECT * FROM keyfold.grants",
        "SELECT * FROM keyfold_blue.keys",
        "SELECT * FROM keyfold_alerts.incidents",
        "UPDATE keyfold.keys SET status = 'Enabled'",
        "UPDATE keyfold.control SET requested = true",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE SCHEMA mine",
    ),
    ANALYTICS: (
        "SELECT * FROM keyfold.audit",
        "SELECT * FROM keyfold.keys",
        "SELECT * FROM keyfold.control",
        "SELECT * FROM keyfold_blue.audit",
        "DELETE FROM keyfold_alerts.findings",
        "TRUNCATE keyfold_alerts.responses",
        "DROP TABLE keyfold_alerts.acts",
        "CREATE TABLE keyfold_alerts.mine ()",
        "CREATE SCHEMA mine",
    ),
    OPERATOR: (
        "SELECT * FROM keyfold.audit",
        "UPDATE keyfold.control SET live = 'green'",
        "UPDATE keyfold.control SET partitions = 9",
        "INSERT INTO keyfold.migrations (name) VALUES ('x')",
        "UPDATE keyfold_blue.offsets SET next = 0",
        "SELECT * FROM keyfold_alerts.acts",
        "CREATE SCHEMA mine",
    ),
    AUDITOR: (
        "UPDATE keyfold.control SET requested = true",
        "SELECT * FROM keyfold_blue.audit",
        "DELETE FROM keyfold_alerts.acts",
        "INSERT INTO keyfold.past_schemas (name, as_of, layout) VALUES ('x', now(), 1)",
        "CREATE TABLE keyfold.mine ()",
        "CREATE TEMPORARY TABLE mine ()",
    ),
    OWNER: (
        "SELECT * FROM keyfold_blue.audit",
        "UPDATE keyfold_blue.offsets SET next = 0",
        "DROP VIEW keyfold_blue.key_states",
        "CREATE ROLE mallory",
    ),
}  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
async def test_what_a_role_cannot_do(apart: Database, schemas: PostgresSchemas, role: str) -> None:
    """Whatever is another role's business is refused by the server itself."""
    assert schemas
    with apart.connect(role) as connection:
        for statement in _CANNOT[role]:
            try:
                connection.execute(statement.encode())
            except psycopg.errors.InsufficientPrivilege:
                continue
            pytest.fail(f"{role} may: {statement}")


async def test_nobody_else_gets_in(apart: Database, schemas: PostgresSchemas) -> None:
    """A role of the server that is none of ours may not even connect to the database."""
    assert schemas
    name, word = f"stranger_{secrets.token_hex(4)}", secrets.token_hex(8)
    apart.admin(f"CREATE ROLE {name} LOGIN PASSWORD '{word}'")
    try:
        dsn = psycopg.conninfo.make_conninfo(apart.admin_dsn, user=name, password=word, passfile="none")
        with pytest.raises(psycopg.OperationalError, match="CONNECT privilege"):
            psycopg.connect(dsn)
    finally:
        apart.admin(f"DROP ROLE {name}")


async def test_migrations_are_the_owners(apart: Database) -> None:
    """The projector neither makes the owner's schema nor migrates it; it says whose business that is."""
    projector = PostgresSchemas(apart.dsn(PROJECTOR))
    with pytest.raises(MigrationsNeeded, match=rf"{OWNER}.*keyfold database migrate"):
        await projector.prepare(PARTITIONS)
    migrations = PostgresMigrations(apart.dsn(OWNER))
    await migrations.run()
    apart.admin("DELETE FROM keyfold.migrations WHERE name = '0006_building_layout'")
    with pytest.raises(MigrationsNeeded, match="0006_building_layout"):
        await projector.prepare(PARTITIONS)
    apart.admin("ALTER TABLE keyfold.control DROP COLUMN building_layout")
    assert await migrations.run() == ["0006_building_layout"]
    await projector.prepare(PARTITIONS)
    await projector.close()
    await migrations.close()


async def test_what_one_role_had_made_is_handed_over(postgres_database: "PostgresDatabase", tmp_path: Path) -> None:
    """A deployment that began with one role goes on with several: same rows, new owners."""
    events = simulated(seeded(9), 40)
    alone = PostgresSchemas(postgres_database.dsn)
    await alone.prepare(PARTITIONS)
    store = alone.partition_store("blue")
    await folding.feed_all(store, events, seeded(1))
    await store.close()
    await alone.close()
    database = Database(postgres_database, tmp_path)
    access = PostgresAccess(database.admin_dsn)
    await access.apply(database.verifiers)
    await access.close()
    projector = PostgresSchemas(database.dsn(PROJECTOR))
    await projector.prepare(PARTITIONS)
    store = projector.partition_store("blue")
    assert (await store.offsets(0)).next > 0
    await store.close()
    await projector.begin_rebuild()
    await projector.cancel_rebuild()
    await projector.drop_idle()
    await projector.close()
    left = database.admin("SELECT relname FROM pg_class WHERE pg_get_userbyid(relowner) = 'keyfold'")
    assert left == []


def test_the_printed_sql_is_what_is_run(apart: Database) -> None:
    """What `--commands` prints sets the same rights, by an administrator's own tools."""
    name = psycopg.conninfo.conninfo_to_dict(apart.admin_dsn)["dbname"]
    with psycopg.connect(apart.admin_dsn, autocommit=True) as connection:
        for statement in statements(f'"{name}"')[: len(ROLES) + 2]:
            connection.execute(statement.encode())


async def test_an_old_projector_refuses_a_newer_layout(schemas: PostgresSchemas, apart: Database) -> None:
    """Readers see tables that this release does not know: it neither writes nor rebuilds them away."""
    apart.admin("UPDATE keyfold.control SET live_layout = live_layout + 1")
    for attempt in (schemas.status, lambda: schemas.prepare(PARTITIONS), schemas.begin_rebuild):
        with pytest.raises(SchemaNewer, match=f"layout {LAYOUT + 1}"):
            await attempt()
    queries = PostgresQueries(apart.dsn(AUDITOR))
    assert not (await queries.status()).current  # readers go on
    await queries.close()


async def test_an_old_projector_keeps_out_of_a_newer_rebuild(schemas: PostgresSchemas, apart: Database) -> None:
    """It goes on with the live schema that is its own, while the newer one fills the other."""
    await schemas.begin_rebuild()
    apart.admin("UPDATE keyfold.control SET building_layout = live_layout + 1")
    status = await schemas.status()
    assert (status.active, status.building_is) == (("blue",), "newer")
    apart.admin("UPDATE keyfold.control SET building_layout = live_layout - 1")
    assert (await schemas.status()).building_is == "older"


async def test_an_old_release_refuses_a_post_migration_that_it_does_not_know(
    schemas: PostgresSchemas, apart: Database
) -> None:
    """What a newer release has added is borne; that it took something away is not."""
    apart.admin("INSERT INTO keyfold.migrations (name) VALUES ('9998_more')")
    await schemas.prepare(PARTITIONS)
    apart.admin("INSERT INTO keyfold.migrations (name) VALUES ('9999_less.post')")
    with pytest.raises(SchemaNewer, match=r"9999_less\.post"):
        await schemas.prepare(PARTITIONS)


async def test_readers_of_this_release_read_the_tables_of_the_last(schemas: PostgresSchemas, apart: Database) -> None:
    """New code may run before the migration: what it does not find yet, it does not need for reading."""
    apart.admin("ALTER TABLE keyfold.control DROP COLUMN building_layout")
    queries = PostgresQueries(apart.dsn(AUDITOR))
    assert (await queries.status()).live == "blue"
    await queries.close()
    assert schemas


async def _swapped(schemas: PostgresSchemas) -> None:
    """An empty rebuild, from begin to swap."""
    await schemas.begin_rebuild()
    await schemas.close_live()
    assert await schemas.swap()
