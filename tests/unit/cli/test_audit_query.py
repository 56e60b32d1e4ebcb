"""`keyfold audit query`: filters, pages and formats, against projections in memory."""

import asyncio
import csv
import io
import json
from typing import Any

import pytest
from tests.unit.cli.conftest import Ran, Terminal
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, seeded, simulated

from keyfold.events import facts
from keyfold.projections.memory import MemoryQueries, MemorySchemas
from keyfold.projections.ports import AuditFilter
from keyfold.projections.rows import AuditRow
from keyfold.projections.store import VIEWS, ViewFilter, ViewRows

EVENTS = simulated(seeded(7), 150)


async def _projected() -> tuple[MemoryQueries, tuple[AuditRow, ...]]:
    schemas = MemorySchemas()
    await schemas.prepare(PARTITIONS)
    await folding.feed_all(schemas.partition_store("blue"), EVENTS, seeded(1))
    queries = MemoryQueries(schemas)
    return queries, (await queries.audit(AuditFilter(), limit=10_000)).rows


@pytest.fixture
def rows(terminal: Terminal) -> tuple[AuditRow, ...]:
    """All rows of the projections that the terminal reads."""
    queries, found = asyncio.run(_projected())
    terminal.projected = queries  # type: ignore[assignment]
    return found


def places(ran: Ran) -> list[tuple[int, int]]:
    return [(row["partition"], row["position"]) for row in map(json.loads, ran.out.splitlines())]


def test_all_filters_together(terminal: Terminal, rows: tuple[AuditRow, ...]) -> None:
    """Each option narrows; what is shown passes all of them, newest first."""
    used = next(row for row in rows if row.outcome == "authorized" and row.verb == "Encrypt")
    expected = [
        (row.partition, row.position)
        for row in rows
        if row.key_id == used.key_id and row.principal == "alice" and row.verb == "Encrypt"
        and row.outcome == "authorized" and '"blue"' in (row.contexts or "") and row.time >= used.time
    ]  # fmt: skip
    words = ("--principal", "alice", "--verb", "Encrypt", "--context", "tenant=blue", "--outcome", "authorized")
    more = ("--type", "command.authorized", "--since", used.time, "--until", "2100-01-01T00:00:00.000Z")
    ran = terminal.done("--json", "audit", "query", "--key", used.key_id or "", *words, *more)
    assert places(ran) == expected != []


def test_denials_administrators_and_codes(terminal: Terminal, rows: tuple[AuditRow, ...]) -> None:
    """The flags select what their names say."""
    denied = [(r.partition, r.position) for r in rows if r.outcome == "denied" and r.code == "AccessDenied"]
    assert places(terminal.done("--json", "audit", "query", "--denied", "--code", "AccessDenied")) == denied[:50]
    wanted = [(row.partition, row.position) for row in rows if row.administrative]
    assert places(terminal.done("--json", "audit", "query", "--administrators", "-n", "5000")) == wanted


def test_pages_go_on_behind_the_cursor(terminal: Terminal, rows: tuple[AuditRow, ...]) -> None:
    """The cursor is told on standard error; with it nothing is shown twice and nothing is left out."""
    seen: list[tuple[int, int]] = []
    after: tuple[str, ...] = ()
    while True:
        ran = terminal.done("--json", "audit", "query", "--oldest-first", "--limit", "60", *after)
        seen += places(ran)
        if "--after" not in ran.err:
            break
        after = ("--after", ran.err.split("--after ")[1].strip())
    assert seen == [(row.partition, row.position) for row in reversed(rows)]


def test_csv_has_a_header_line_and_every_column(terminal: Terminal, rows: tuple[AuditRow, ...]) -> None:
    """A CSV reader gets back what the rows say, whatever text is in them; the signed bytes are left to JSON."""
    ran = terminal.done("audit", "query", "--format", "csv", "--limit", "10000")
    found = list(csv.DictReader(io.StringIO(ran.out)))
    assert len(found) == len(rows)
    for line, row in zip(found, rows, strict=True):
        assert line["time"] == row.time
        assert line["reason"] == (row.reason or "")
        assert json.loads(line["contexts"] or "null") == json.loads(row.contexts or "null")
        assert json.loads(line["policies"] or "null") == (None if row.policies is None else list(row.policies))
        assert "value" not in line


def test_json_is_one_document_a_line_with_the_event(terminal: Terminal, rows: tuple[AuditRow, ...]) -> None:
    """Each line has the event that was signed."""
    ran = terminal.done("audit", "query", "--format", "json", "--type", "genesis")
    (document,) = map(json.loads, ran.out.splitlines())
    assert document["event"]["type"] == facts.Genesis.type_name


def test_a_table_for_people(terminal: Terminal, rows: tuple[AuditRow, ...]) -> None:
    """One line for each event; nothing at all is said in words."""
    assert len(terminal.done("audit", "query", "--limit", "7").out.splitlines()) == 7
    assert terminal.done("audit", "query", "--code", "NoSuchCode").out == "no such events\n"


@pytest.mark.parametrize(
    "words",
    [
        ("--outcome", "perhaps"), ("--type", "key.stolen"), ("--since", "yesterday"), ("--context", "tenant"),
        ("--command", "1"), ("--after", "nowhere"), ("--days", "3"), ("--format", "xml"), ("--view", "secrets"),
        ("--view", "denials", "--days", "3"), ("--view", "denials", "--code", "AccessDenied"),
        ("--view", "denials", "--after", "x"), ("--view", "denials", "--oldest-first"), ("--limit", "0"),
        ("--key", "not-an-id"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_a_usage_error(
    terminal: Terminal, rows: tuple[AuditRow, ...], words: tuple[str, ...]
) -> None:
    """Exit code 2, before anything is asked."""
    ran = terminal("audit", "query", *words)
    assert ran.code == 2, ran.err
    assert ran.out == ""


class FakeViews:
    """A view with one row, as Postgres would give it; remembers what it was asked."""

    asked: list[tuple[str, ViewFilter, int]]

    def __init__(self, _dsn: str) -> None: ...

    async def rows(self, view: str, wanted: ViewFilter, *, limit: int) -> ViewRows:
        self.asked.append((view, wanted, limit))
        return ViewRows(("key_id", "policies", "age_days"), (("k, \n1", ["a", "b"], 400), (None, None, 3)))

    async def close(self) -> None: ...


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> type[FakeViews]:
    monkeypatch.setattr("keyfold.cli.audit.query.PostgresAuditViews", FakeViews)
    FakeViews.asked = []
    return FakeViews


def test_views_by_name(terminal: Terminal, rows: tuple[AuditRow, ...], views: Any) -> None:
    """Every view can be named; the filters that a view has are passed on."""
    for view in VIEWS:
        terminal.done("audit", "query", "--view", view.replace("_", "-"))
    assert [view for view, _, _ in views.asked] == list(VIEWS)
    terminal.done("audit", "query", "--view", "keys-not-rotated", "--days", "365", "--principal", "alice", "-n", "9")
    assert views.asked[-1] == ("keys_not_rotated", ViewFilter(principal="alice", days=365), 9)


def test_a_view_in_every_format(terminal: Terminal, rows: tuple[AuditRow, ...], views: Any) -> None:
    """Columns by name, lists as JSON in CSV, nothing as an empty cell."""
    words = ("audit", "query", "--view", "denials", "--format")
    found = list(csv.reader(io.StringIO(terminal.done(*words, "csv").out)))
    assert found == [["key_id", "policies", "age_days"], ["k, \n1", '["a", "b"]', "400"], ["", "", "3"]]
    documents = [json.loads(line) for line in terminal.done(*words, "json").out.splitlines()]
    assert documents[0] == {"key_id": "k, \n1", "policies": ["a", "b"], "age_days": 400}
    assert terminal.done(*words, "table").out.startswith("KEY_ID")
