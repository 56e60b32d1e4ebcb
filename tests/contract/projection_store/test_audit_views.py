"""The auditors' views in a real Postgres: what they say, who may read them, that an index or one month answers them."""

import asyncio
import datetime
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, seeded, simulated

from keyfold.events import facts
from keyfold.events.entities import Key
from keyfold.events.times import to_milliseconds
from keyfold.projections.ports import AuditFilter
from keyfold.projections.rows import AuditRow
from keyfold.projections.store import VIEWS, PostgresAuditViews, PostgresQueries, PostgresSchemas, ViewFilter
from keyfold.projections.usage import usage_of

if TYPE_CHECKING:
    from tests.conftest import Postgres, PostgresDatabase

pytestmark = pytest.mark.stack

EVENTS = simulated(seeded(7), 150)
Auditor = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def database(postgres: "Postgres") -> "PostgresDatabase":
    """Projections of the history, for tests that only read."""
    made = postgres.database()
    asyncio.run(_folded(made))
    return made


async def _folded(database: "PostgresDatabase") -> None:
    schemas = PostgresSchemas(database.dsn)
    await schemas.prepare(PARTITIONS)
    store = schemas.partition_store("blue")
    await folding.feed_all(store, EVENTS, seeded(1))
    await store.close()
    await schemas.close()


@pytest.fixture
def auditor(database: "PostgresDatabase") -> Iterator[Auditor]:
    with psycopg.connect(database.reader_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def rows(database: "PostgresDatabase") -> Sequence[AuditRow]:
    queries = PostgresQueries(database.reader_dsn)
    found = (await queries.audit(AuditFilter(), limit=10_000)).rows
    await queries.close()
    return found


@pytest.fixture
async def schemas(postgres_database: "PostgresDatabase") -> AsyncIterator[PostgresSchemas]:
    """Projections of the history, of a test's own."""
    await _folded(postgres_database)
    made = PostgresSchemas(postgres_database.dsn)
    yield made
    await made.close()


@pytest.fixture
def reader(postgres_database: "PostgresDatabase", schemas: PostgresSchemas) -> Iterator[Auditor]:
    with psycopg.connect(postgres_database.reader_dsn, autocommit=True) as connection:
        yield connection


def authorized_uses() -> list[facts.CommandAuthorized]:
    return [e for e in EVENTS if isinstance(e, facts.CommandAuthorized) and e.data.key_id is not None]


def test_who_used_a_key_since_when_with_which_context(auditor: Auditor) -> None:
    """One row for each key, principal, verb and context, with the first and the last time and how often."""
    counted: Counter[tuple[str, str, str, str]] = Counter()
    first: dict[tuple[str, str, str, str], str] = {}
    for event in authorized_uses():
        for context in json.loads(event.data.decision.command)["data"]["contexts"]:
            name = (event.data.key_id or "", event.data.principal, event.data.verb, json.dumps(context, sort_keys=True))
            counted[name] += 1
            first[name] = min(event.time, first.get(name, event.time))
    found = auditor.execute(
        "SELECT key_id::text, principal, verb, context, commands, keyfold.instant(first_used_at) FROM keyfold.key_users"
    ).fetchall()
    assert counted
    shown = {(k, p, v, json.dumps(c, sort_keys=True)): (n, since) for k, p, v, c, n, since in found}
    assert shown == {name: (number, first[name]) for name, number in counted.items()}


def test_each_use_of_a_key_has_its_outcome(auditor: Auditor) -> None:
    """Decision and outcome in one row, joined by the command."""
    found = auditor.execute("SELECT command_id::text, outcome, code, items FROM keyfold.key_uses").fetchall()
    outcomes = {e.data.command_id: e for e in EVENTS if isinstance(e, facts.KeyUsed | facts.OperationFailed)}
    ids = [json.loads(event.data.decision.command)["id"] for event in authorized_uses()]
    assert sorted(row[0] for row in found) == sorted(ids)
    for command_id, outcome, code, items in found:
        event = outcomes[command_id]
        if isinstance(event, facts.KeyUsed):
            assert (outcome, items) == ("completed", event.data.items)
        else:
            assert (outcome, code) == ("failed", event.data.code)


def test_denials_and_actions_of_a_principal(auditor: Auditor, rows: Sequence[AuditRow]) -> None:
    """Every denial, and everything under a principal's name."""
    places = {(row.partition, row.position) for row in rows if row.outcome == "denied"}
    assert set(auditor.execute("SELECT partition, position FROM keyfold.denials").fetchall()) == places
    mine = {(row.partition, row.position) for row in rows if row.principal == "alice"}
    asked = "SELECT partition, position FROM keyfold.principal_actions WHERE principal = 'alice'"
    assert set(auditor.execute(asked).fetchall()) == mine


def test_administrator_actions_say_who_and_why(auditor: Auditor, rows: Sequence[AuditRow]) -> None:
    """All decisions that are no use of a key, with author, reason and the signed arguments; root's acts have none."""
    asked = "SELECT partition, position, author, reason, arguments FROM keyfold.administrator_actions"
    found = auditor.execute(asked).fetchall()
    wanted = {(row.partition, row.position): row for row in rows if row.administrative}
    assert {row[:2] for row in found} == wanted.keys()
    for partition, position, author, reason, arguments in found:
        row = wanted[partition, position]
        decided = json.loads(row.value)["data"].get("decision")
        command = json.loads(decided["command"])["data"] if decided else {"principal": "root", "arguments": None}
        assert (author, reason, arguments) == (command["principal"], row.reason, command["arguments"])


def test_usage_is_exact_and_says_whose_key(auditor: Auditor) -> None:
    """Counts by key, version, principal and verb equal what the outcomes said."""
    items: Counter[tuple[str, int, str, str]] = Counter()
    for event in EVENTS:
        for use in usage_of(event):
            items[use.stream, use.version, use.principal, use.verb] += use.items
    found = auditor.execute("SELECT key_id::text, stream, version, principal, verb, items FROM keyfold.key_usage")
    for key_id, stream, version, principal, verb, count in found.fetchall():
        assert items.pop((stream, version, principal, verb)) == count
        assert key_id == (stream.removeprefix("key/") if stream.startswith("key/") else None)
    assert not items


def test_last_uses(auditor: Auditor) -> None:
    """The last time that a version served an item."""
    last: dict[tuple[str, int], str] = {}
    for event in EVENTS:
        for use in usage_of(event):
            if use.items and use.stream.startswith("key/"):
                last[use.stream.removeprefix("key/"), use.version] = use.last_used_at
    found = auditor.execute("SELECT key_id::text, version, keyfold.instant(last_used_at) FROM keyfold.last_uses")
    assert {(key_id, version): at for key_id, version, at in found.fetchall()} == last


def test_keys_that_were_not_rotated(auditor: Auditor) -> None:
    """By the age of the current version in whole days, oldest first; destroyed keys have none."""
    now_ms = int(datetime.datetime.now(datetime.UTC).timestamp() * 1000)
    keys = [entity for entity in folding.evolved(EVENTS).values() if isinstance(entity, Key)]
    ages = {
        key.key_id: (now_ms - to_milliseconds(key.current.created_at)) // 86_400_000
        for key in keys
        if key.status not in {"Destroyed", "Failed"}
    }
    middle = sorted(ages.values())[len(ages) // 2]
    asked = "SELECT key_id::text, age_days FROM keyfold.keys_not_rotated(%s)"
    found = auditor.execute(asked, (middle,)).fetchall()
    assert dict(found) == {key_id: age for key_id, age in ages.items() if age >= middle}
    assert [age for _, age in found] == sorted((age for _, age in found), reverse=True)


def test_a_command_that_cannot_be_read_is_an_empty_column(auditor: Auditor) -> None:
    """A forged event never breaks the view for what is around it."""
    for value in (
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"data":{"decision":{"command":"{"}}}',
        b'{"a":"\\u0000"}',
        b"[" * 100_000,
    ):
        assert auditor.execute("SELECT keyfold.signed_command(%s)", (value,)).fetchone() == (None,)


def test_views_and_columns_have_comments(auditor: Auditor) -> None:
    """Everything that an auditor sees first says in words what it is; every column of the audit trail, too."""
    found = auditor.execute(
        "SELECT c.relname, obj_description(c.oid), array_agg(a.attname::text) FILTER (WHERE "
        "col_description(c.oid, a.attnum) IS NULL) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "WHERE c.relnamespace = 'keyfold'::regnamespace AND c.relkind = 'v' AND a.attnum > 0 GROUP BY c.oid, c.relname"
    ).fetchall()
    described = {name: (words, bare) for name, words, bare in found}
    assert described["audit"] == (
        "The audit trail: one row for each authentic event of the log, partitioned by month.",
        None,
    )
    for view in (*VIEWS[:-1], "key_rotations"):
        assert described[view][0]
    for view in ("principal_actions", "denials", "administrator_actions", "key_uses"):
        assert described[view][1] is None
    assert [
        name for name, (words, _) in described.items() if not words and not name.endswith(("_entities", "_index"))
    ] == []


async def test_every_view_can_be_asked(database: "PostgresDatabase") -> None:
    """Each view answers with all its filters given, and with none; the limit holds."""
    views = PostgresAuditViews(database.reader_dsn)
    key_id = authorized_uses()[0].data.key_id
    for view in VIEWS:
        whole = await views.rows(view, ViewFilter(), limit=1000)
        assert whole.rows
        assert len(set(whole.columns)) == len(whole.columns) == len(whole.rows[0])
        assert (await views.rows(view, ViewFilter(), limit=1)).rows == whole.rows[:1]
        one = ViewFilter(key_id, "alice", "2000-01-01T00:00:00.000Z", "2100-01-01T00:00:00.000Z", 0)
        assert all(row in whole.rows for row in (await views.rows(view, one, limit=1000)).rows)
        none = ViewFilter(key_id, "alice", "2100-01-01T00:00:00.000Z", "2100-01-01T00:00:00.000Z", 0)
        assert (await views.rows(view, none, limit=1000)).rows == ()
    await views.close()


async def test_views_survive_a_swap(reader: Auditor, schemas: PostgresSchemas) -> None:
    """After a rebuild the same views, with comments, rights and indexes, show the other schema."""
    asked = "SELECT count(*) FROM keyfold.administrator_actions"
    before = reader.execute(asked).fetchone()
    await schemas.begin_rebuild()
    green = schemas.partition_store("green")
    await folding.feed_all(green, EVENTS, seeded(2))
    await green.close()
    assert reader.execute(INDEXES, ("keyfold_green",)).fetchone() == (0,)
    await schemas.complete_building()
    await schemas.complete_building()
    await schemas.close_live()
    assert await schemas.swap()
    await schemas.drop_idle()
    assert reader.execute(asked).fetchone() == before
    assert reader.execute("SELECT count(*) FROM keyfold.keys_not_rotated(0)").fetchone() != (0,)
    assert reader.execute(INDEXES, ("keyfold_green",)).fetchone() != (0,)
    test_views_and_columns_have_comments(reader)


async def test_a_swap_makes_indexes_that_nobody_made(reader: Auditor, schemas: PostgresSchemas) -> None:
    """A live schema always has them."""
    await schemas.begin_rebuild()
    green = schemas.partition_store("green")
    await folding.feed_all(green, EVENTS, seeded(2))
    await green.close()
    await schemas.close_live()
    assert await schemas.swap()
    assert reader.execute(INDEXES, ("keyfold_green",)).fetchone() != (0,)


INDEXES = "SELECT count(*) FROM pg_indexes WHERE schemaname = %s AND indexdef LIKE '%%command_id%%'"

FORBIDDEN = [
    "DELETE FROM keyfold.denials",
    "DELETE FROM keyfold.principal_actions",
    "DELETE FROM keyfold.key_rotations",
    "DELETE FROM keyfold.past_schemas",
    "UPDATE keyfold.denials SET code = 'none'",
    "INSERT INTO keyfold.key_usage DEFAULT VALUES",
    "DROP FUNCTION keyfold.keys_not_rotated(integer)",
    "COMMENT ON VIEW keyfold.audit IS 'mine'",
    "SELECT * FROM keyfold_blue.denials",
    "SELECT * FROM keyfold_blue.keys_not_rotated(0)",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_an_auditor_may_only_read(auditor: Auditor, statement: str) -> None:
    """SELECT on the schema `keyfold`, and nothing else: neither to change it nor to look behind it."""
    refused = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
    with pytest.raises(refused):
        auditor.execute(statement.encode())


FILL = """
INSERT INTO keyfold_blue.audit
SELECT 3, 1000000 + n, n, 'x', 'keyfold.command.authorized.v1', '2031-03-01Z'::timestamptz + n * interval '1 minute',
    'key/' || md5((n % 997)::text)::uuid, CASE WHEN n % 500 = 0 THEN 'denied' ELSE 'authorized' END,
    CASE WHEN n % 500 = 0 THEN 'AccessDenied' END, 'p' || n % 50, 'Encrypt', md5((n % 997)::text)::uuid, 1,
    jsonb_build_array(jsonb_build_object('tenant', 't' || n % 300)), 1, 1, NULL, 1, md5(n::text)::uuid, NULL, n, '',
    'policy', '', 1, 0, NULL, NULL, false, NULL, NULL, NULL, n % 400 = 0
FROM generate_series(1, 40000) n
"""
MARCH = "time >= '2031-03-05Z' AND time < '2031-03-06Z'"
QUESTIONS = {
    "who used a key": ("key_id_time_idx", "SELECT * FROM keyfold.key_users WHERE key_id = '{key}'"),
    "uses of a key": ("key_id_time_idx", "SELECT * FROM keyfold.key_uses WHERE key_id = '{key}'"),
    "what a principal did": (
        "principal_time_idx",
        "SELECT * FROM keyfold.principal_actions WHERE principal = 'p7' ORDER BY time DESC LIMIT 50",
    ),
    "denials": (
        "_time_partition_position_idx",
        "SELECT * FROM keyfold.denials ORDER BY time DESC, partition DESC, position DESC LIMIT 50",
    ),
    "denials by code": ("code_time_idx", "SELECT * FROM keyfold.audit WHERE code = 'AccessDenied' LIMIT 50"),
    "administrators": (
        "_time_partition_position_idx",
        "SELECT time, verb FROM keyfold.administrator_actions ORDER BY time DESC LIMIT 9",
    ),
    "by context": ("contexts_idx", """SELECT * FROM keyfold.audit WHERE contexts @> '[{{"tenant": "t42"}}]'"""),
    "by command": ("command_id_idx", "SELECT * FROM keyfold.audit WHERE command_id = '{key}'"),
    "usage of a key": ("usage_key", "SELECT * FROM keyfold.key_usage WHERE key_id = '{key}'"),
    "last uses of a key": ("usage_key", "SELECT * FROM keyfold.last_uses WHERE key_id = '{key}'"),
    "usage of a principal": ("usage_principal", "SELECT * FROM keyfold.key_usage WHERE principal = 'alice'"),
    "a span of time": ("audit_2031_03", f"SELECT * FROM keyfold.audit WHERE {MARCH}"),  # noqa: S608
}


@pytest.fixture
def filled(postgres_database: "PostgresDatabase", reader: Auditor) -> Auditor:
    """March, with forty thousand uses."""
    with psycopg.connect(postgres_database.dsn, autocommit=True) as owner:
        owner.execute("SET search_path = keyfold_blue")
        owner.execute("CREATE TABLE audit_2031_03 (LIKE audit INCLUDING ALL)")
        owner.execute(
            "ALTER TABLE audit ATTACH PARTITION audit_2031_03 FOR VALUES FROM ('2031-03-01Z') TO ('2031-04-01Z')"
        )
        owner.execute(FILL)
        owner.execute("ANALYZE audit_2031_03")
    return reader


def test_questions_are_answered_from_an_index_or_one_month(filled: Auditor) -> None:
    """The planner reads no whole month for any of them, and no month that cannot have an answer."""
    filled.execute("SET enable_seqscan = off")  # the other months and `usage` have a few rows only
    key = "ec5decca-5ed3-4d8f-8cf3-07e3f4f0f0a2"
    for question, (index, statement) in QUESTIONS.items():
        plan = "\n".join(line for (line,) in filled.execute(b"EXPLAIN " + statement.format(key=key).encode()))
        assert index in plan, (question, plan)
        assert "Seq Scan" not in plan, (question, plan)
    for month in ("2025_12", "2026_01", "2031_04"):
        assert f"audit_{month}" not in plan  # the last question is about a span of time
