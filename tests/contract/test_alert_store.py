"""Alerts are stored alike in memory and in Postgres: at least once written is once there, and readers only read."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.analytics.found import ALICE, BOB, KEY, KEY_ID, act, found
from tests.unit.projections.histories import PARTITIONS

from keyfold.analytics.alerts import act_row, alert_of
from keyfold.analytics.incidents import Incidents
from keyfold.events.alerts import Alert
from keyfold.events.times import to_text
from keyfold.projections.alerts import ActRow, AlertFilter, AlertQueries, AlertStore, IncidentRow
from keyfold.projections.errors import StoreRefused, StoreUnavailable
from keyfold.projections.memory import MemoryAlerts
from keyfold.projections.store import PostgresAlertQueries, PostgresAlertStore, PostgresSchemas

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

NOBODY = "01890a5d-ac96-774b-bcce-000000000000"


@dataclass(frozen=True)
class Office:
    """A store and a reader of it, and incidents that are written as they come."""

    store: AlertStore
    queries: AlertQueries
    incidents: Incidents

    async def take(self, **finding: Any) -> list[Alert]:
        """Take a finding in and write what follows."""
        alerts = [alert_of(each) for each in self.incidents.take(found(**finding))]
        await self.store.write(alerts)
        return alerts

    async def only(self, **wanted: Any) -> IncidentRow:
        (row,) = await self.queries.incidents(AlertFilter(**wanted))
        return row


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.stack)])
async def office(request: pytest.FixtureRequest) -> AsyncIterator[Office]:
    if request.param == "memory":
        memory = MemoryAlerts()
        yield Office(memory, memory, Incidents())
        return
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    schemas = PostgresSchemas(database.dsn)
    await schemas.prepare(PARTITIONS)
    made = Office(PostgresAlertStore(database.dsn), PostgresAlertQueries(database.reader_dsn), Incidents())
    yield made
    for part in (made.store, made.queries, schemas):
        await part.close()


async def test_nothing_is_there_at_first(office: Office) -> None:
    """And asking for what is not there gives nothing."""
    assert await office.queries.incidents() == ()
    assert await office.queries.findings() == ()
    assert await office.queries.incident(NOBODY) is None
    assert await office.queries.finding(NOBODY) is None
    await office.store.write([])


async def test_what_is_written_is_read_as_it_was(office: Office) -> None:
    """Every field of a finding and of its incident, with evidence."""
    detected, opened = await office.take(key_id=KEY_ID, principal="alice", aspect="Decrypt")
    row = await office.only()
    told = opened.data
    assert (row.incident, row.revision, row.state, row.severity) == (told.incident, 1, "open", "medium")
    assert (row.opened, row.since, row.until) == (told.opened, told.since, told.until)
    assert (row.entities, row.detectors, row.sentence) == ((ALICE, KEY), ("usage-rate",), told.sentence)
    assert (row.findings, row.acted_at, row.by, row.comment, row.resolution) == (1, None, None, "", None)
    (finding,) = await office.queries.findings()
    data = detected.data
    assert finding.entity == ALICE
    assert list(finding.evidence) == data.evidence
    for name in type(finding).__slots__:
        if name not in {"entity", "evidence"}:
            assert getattr(finding, name) == getattr(data, name), name
    assert await office.queries.finding(data.finding) == finding
    details = await office.queries.incident(told.incident)
    assert details is not None
    assert (details.incident, details.findings, details.acts) == (row, (finding,), ())


async def test_writing_again_changes_nothing(office: Office) -> None:
    """In any order, alone or with others: an older revision or a lesser severity never comes back."""
    first = await office.take()
    second = await office.take(detector="denials", severity="high")
    third = await office.take(detector="denials", severity="critical", minute=1)
    before = (await office.queries.incidents(), await office.queries.findings())
    for again in (first, second, third, [*first, *second, *third], [*third, *second, *first]):
        await office.store.write(again)
        assert (await office.queries.incidents(), await office.queries.findings()) == before
    row = await office.only()
    assert (row.revision, row.severity, row.findings) == (3, "critical", 2)


async def test_low_findings_are_linked_when_their_incident_opens(office: Office) -> None:
    """They were told before it was one."""
    for number in range(3):
        await office.take(detector=f"detector-{number}", severity="low", minute=number)
    row = await office.only()
    assert row.findings == 3
    assert {each.incident for each in await office.queries.findings()} == {row.incident}


async def test_acts_change_the_state_once(office: Office) -> None:
    """Also of an incident that analytics has forgotten; what is closed stays closed."""
    await office.take()
    name = (await office.only()).incident
    acknowledge = act_row(act("acknowledge", name, 1, comment="looking"))
    close = act_row(act("close", name, 2, resolution="FALSE_POSITIVE"))
    await office.store.write([], [acknowledge])
    row = await office.only()
    assert (row.state, row.by, row.comment, row.acted_at) == ("acknowledged", "alice", "looking", acknowledge.time)
    await office.store.write([], [close, acknowledge])
    await office.store.write([], [replace(close, event_id="later", resolution="BENIGN")])
    row = await office.only()
    assert (row.state, row.resolution, row.revision) == ("closed", "FALSE_POSITIVE", 1)
    details = await office.queries.incident(name)
    assert details is not None
    assert [each.event_id for each in details.acts] == [acknowledge.event_id, close.event_id, "later"]
    assert details.acts[0] == acknowledge


async def test_an_act_that_analytics_took_in_is_told_by_its_incident_too(office: Office) -> None:
    """Act and incident are written together, and say the same."""
    await office.take()
    name = (await office.only()).incident
    done = act("acknowledge", name, 1, comment="mine")
    await office.store.write([alert_of(each) for each in office.incidents.act(done)], [act_row(done)])
    row = await office.only()
    assert (row.state, row.revision, row.comment) == ("acknowledged", 2, "mine")


async def test_what_rises_after_its_incident_was_closed_is_another_incident(office: Office) -> None:
    """The closed one stays closed; the finding is among those of both."""
    await office.take(minute=1)
    name = (await office.only()).incident
    done = act("close", name, 2, resolution="BENIGN")
    await office.store.write([alert_of(each) for each in office.incidents.act(done)], [act_row(done)])
    await office.take(minute=3, severity="critical")
    opened, closed = await office.only(state="open"), await office.only(state="closed")
    assert (closed.incident, closed.resolution, closed.severity) == (name, "BENIGN", "medium")
    assert (opened.severity, opened.revision, opened.findings) == ("critical", 1, 1)
    details = await office.queries.incident(opened.incident)
    assert details is not None
    assert [each.severity for each in details.findings] == ["critical"]


async def test_acts_about_nothing_known_are_kept(office: Office) -> None:
    """Suppressions, and incidents that were never told here."""
    rows = [
        act_row(act("close", NOBODY, resolution="BENIGN")),
        ActRow("s", to_text(0), "alice", "suppress", suppression="batch", detector="denials", until=to_text(1)),
        ActRow("u", to_text(0), "alice", "unsuppress", suppression="batch"),
    ]
    await office.store.write([], [*rows, *rows])
    assert await office.queries.incidents() == ()


async def test_lists_are_filtered_and_the_latest_come_first(office: Office) -> None:
    """By severity at least, entity, detector, state and time."""
    await office.take()
    await office.take(detector="denials", entity=BOB, minute=60, severity="high", key_id=KEY_ID)
    await office.take(detector="fan-out", entity="principal/carol", minute=120, severity="critical")
    newest, middle, oldest = await office.queries.incidents()
    assert newest.until > middle.until > oldest.until
    queries = office.queries
    for wanted, expected in (
        (AlertFilter(severity="high"), [newest, middle]),
        (AlertFilter(entity=BOB), [middle]),
        (AlertFilter(entity=KEY), [middle]),
        (AlertFilter(detector="usage-rate"), [oldest]),
        (AlertFilter(since=middle.until), [newest, middle]),
        (AlertFilter(until=middle.until), [oldest]),
        (AlertFilter(state="closed"), []),
        (AlertFilter(state="open", severity="critical"), [newest]),
    ):
        assert list(await queries.incidents(wanted)) == expected, wanted
        if wanted.state is None:
            assert [each.incident for each in await queries.findings(wanted)] == [each.incident for each in expected]
    assert list(await queries.incidents(limit=2)) == [newest, middle]


@pytest.mark.stack
async def test_readers_may_only_read(postgres_database: "PostgresDatabase") -> None:
    """The role of auditors cannot write alerts, and before the schema is made both are told so."""
    queries, schemas = PostgresAlertQueries(postgres_database.reader_dsn), PostgresSchemas(postgres_database.dsn)
    store = PostgresAlertStore(postgres_database.reader_dsn)
    with pytest.raises(StoreUnavailable):
        await queries.incidents()
    await schemas.prepare(PARTITIONS)
    assert await queries.incidents() == ()
    with pytest.raises(StoreRefused):
        await store.write([alert_of(each) for each in Incidents().take(found())])
    for part in (queries, schemas, store):
        await part.close()
