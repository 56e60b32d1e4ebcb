"""`keyfold alerts`: only what analytics signed is shown, lists and details, and acts as commands."""

import asyncio
import json
from typing import Any

import pytest
from tests.support.honest_log import HonestLog
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS, certificate, signer
from tests.unit.analytics.found import ALICE, KEY, KEY_ID, act, found
from tests.unit.cli.conftest import ORDERS, Terminal

from keyfold.analytics.alerts import AlertAuthor, act_row, alert_of
from keyfold.analytics.incidents import Incidents
from keyfold.bus import MemoryBus, MemoryCluster, Outbound
from keyfold.cli.alerts import app, listing
from keyfold.cli.alerts.tail import MAX_KNOWN, Wanted
from keyfold.cli.lazy import Lazy
from keyfold.cli.session import Session
from keyfold.config import CONFIG_FILE, load_config, save_config
from keyfold.events import topics
from keyfold.events.alerts import Alert
from keyfold.events.incident_entities import Suppression
from keyfold.events.times import to_text
from keyfold.projections.memory import MemoryAlerts

INCIDENT = "01890a5d-ac96-874b-bcce-b302099a8057"
TABLE: tuple[Lazy, ...] = app.info.cls.table  # type: ignore[union-attr]


def story() -> list[Any]:
    """An incident about alice and a key, with a suppressed finding before it; and what was done about it."""
    incidents = Incidents()
    changes = incidents.take(found("usage-rate", severity="high", key_id=KEY_ID))
    changes += incidents.take(found("first-use", "principal/bob", minute=1, severity="low"))
    return changes + incidents.take(found("denials", minute=2))


class Cluster:
    """A log that says who analytics is, and a topic of alerts."""

    def __init__(self, *, certified: bool = True) -> None:
        log = HonestLog()
        if certified:
            log.write("root", topics.EVENTS, [certificate("analytics")])
        self.bus = MemoryBus(MemoryCluster(PARTITIONS, clock_ms=lambda: START_MS))
        records = [
            Outbound(record.topic, record.partition, record.key, record.value, record.headers)
            for (topic, _), kept in log.records.items()
            for record, _ in kept
            if topic == topics.EVENTS
        ]
        asyncio.run(self._write(records))

    def publish(self, *records: Outbound) -> None:
        asyncio.run(self._send(records))

    async def _write(self, records: list[Outbound]) -> None:
        writer = self.bus.writer("test")
        await writer.start()
        await writer.commit(records)
        await writer.stop()

    async def _send(self, records: tuple[Outbound, ...]) -> None:
        sender = self.bus.sender()
        await sender.start()
        for record in records:
            await (await sender.send(record))
        await sender.stop()


def signed(changes: list[Any], by: str = "analytics") -> list[Outbound]:
    author = AlertAuthor(DEPLOYMENT, signer(by).fingerprint, signer(by).sign)
    return [Outbound(topics.ALERTS, 0, each.key, each.value, each.headers) for each in author.records(changes)]


@pytest.fixture
def cluster(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(Session, "bus", lambda _session, _config: made.bus)
    settings = terminal.data / CONFIG_FILE
    save_config(load_config(settings).model_copy(update={"deployment": DEPLOYMENT, "partitions": PARTITIONS}))
    return made


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> MemoryAlerts:
    made = MemoryAlerts()
    monkeypatch.setattr(listing, "PostgresAlertQueries", lambda _dsn: made)
    return made


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_table_says_what_the_commands_say(row: Lazy) -> None:
    """The line of help is the first sentence of the real help."""
    assert (row.load().help or "").split("\n\n")[0].strip() == row.help


# tail


def test_alerts_are_shown_when_they_are_verified(terminal: Terminal, cluster: Cluster) -> None:
    """In their order, each once, with what a person needs."""
    records = signed(story())
    cluster.publish(*records, *records)
    ran = terminal.done("alerts", "tail", "--from-beginning", "--no-follow")
    lines = ran.out.splitlines()
    assert [line.split()[1:3] for line in lines] == [
        ["high", "finding"], ["high", "incident"], ["low", "finding"], ["medium", "finding"], ["high", "incident"],
    ]  # fmt: skip
    assert "principal/alice decrypted 4,120 items in 10 minutes, where about 35 are usual" in lines[0]
    assert "incident #2" in lines[-1]
    documents = terminal.done("--json", "alerts", "tail", "--from-beginning", "--no-follow").out.splitlines()
    assert [json.loads(line)["id"] for line in documents] == [alert_of(each).id for each in story()]


def test_only_what_is_asked_for_is_shown(terminal: Terminal, cluster: Cluster) -> None:
    """By severity, and incidents only; from now on unless told otherwise."""
    cluster.publish(*signed(story()))
    all_of_it = ("alerts", "tail", "--from-beginning", "--no-follow")
    assert len(terminal.done(*all_of_it, "--severity", "high").out.splitlines()) == 3
    assert len(terminal.done(*all_of_it, "--incidents").out.splitlines()) == 2
    assert terminal.done("alerts", "tail", "--no-follow").out == ""
    assert terminal("alerts", "tail", "--severity", "dire").code == 2


def test_what_analytics_did_not_sign_is_not_shown(terminal: Terminal, cluster: Cluster) -> None:
    """It is counted: whoever may write to the topic cannot invent alerts."""
    forged, later = signed(story(), by="policy"), signed(story())[0]
    value = (later.value or b"").replace(b"detected.v1", b"detected.v9")
    cluster.publish(*forged, Outbound(topics.ALERTS, 0, later.key, value, later.headers), later)
    ran = terminal.done("alerts", "tail", "--from-beginning", "--no-follow")
    assert len(ran.out.splitlines()) == 1
    assert f"{len(forged) + 1} records are not signed by analytics" in ran.err


def test_without_a_certificate_nothing_is_shown(
    terminal: Terminal, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root says who analytics is."""
    other = Cluster(certified=False)
    other.publish(*signed(story()))
    monkeypatch.setattr(Session, "bus", lambda _session, _config: other.bus)
    assert terminal.done("alerts", "tail", "--from-beginning", "--no-follow").out == ""


def test_shown_alerts_are_remembered_within_bounds() -> None:
    """The oldest are forgotten first."""
    wanted = Wanted(0, incidents=False)
    first = alert_of(story()[0])
    assert wanted.takes(first)
    assert not wanted.takes(first)
    for number in range(MAX_KNOWN):
        assert wanted.takes(first.model_copy(update={"id": f"{number}"}))
    assert len(wanted._known) == MAX_KNOWN
    assert wanted.takes(first)


# list, show


def write(stored: MemoryAlerts, changes: list[Any], *acts: Any) -> list[Alert]:
    alerts = [alert_of(each) for each in changes]
    asyncio.run(stored.write(alerts, [act_row(each) for each in acts]))
    return alerts


def test_incidents_and_findings_are_listed(terminal: Terminal, stored: MemoryAlerts) -> None:
    """As tables, and as data; filtered; a key may be named by its alias."""
    alerts = write(stored, story())
    name = alerts[1].data.incident
    assert name in terminal.done("alerts", "list").out
    assert terminal.done("--json", "alerts", "list", "--state", "open").document[0]["incident"] == name
    assert terminal.done("--json", "alerts", "list", "--state", "closed").document == []
    assert "no such incidents" in terminal.done("alerts", "list", "--entity", "principal/bob").out
    assert len(terminal.done("--json", "alerts", "list", "--entity", ORDERS).document) == 1
    findings = terminal.done("--json", "alerts", "list", "--findings").document
    assert [each["detector"] for each in findings] == ["denials", "first-use", "usage-rate"]
    assert len(terminal.done("--json", "alerts", "list", "--findings", "--severity", "high").document) == 1
    assert len(terminal.done("--json", "alerts", "list", "--findings", "-n", "2").document) == 2
    assert "first-use" in terminal.done("alerts", "list", "--findings", "--detector", "first-use").out


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--findings", "--state", "open"),
        ("list", "--state", "new"),
        ("list", "--severity", "dire"),
        ("list", "--entity", "alice"),
        ("list", "--entity", "key/7"),
        ("list", "--since", "yesterday"),
        ("show", "7"),
        ("close", INCIDENT, "--resolution", "SHRUG"),
        ("ack", "7"),
        ("suppress", "quiet", "--until", "1h"),
        ("suppress", "quiet", "--until", "soon", "--detector", "denials"),
    ],
)
def test_wrong_words_are_refused(terminal: Terminal, stored: MemoryAlerts, words: tuple[str, ...]) -> None:
    """Exit code 2, and nothing is sent."""
    ran = terminal("alerts", *words)
    assert (ran.code, ran.received) == (2, [])


def test_an_incident_is_shown_with_all_that_is_known(terminal: Terminal, stored: MemoryAlerts) -> None:
    """Findings with evidence, and acts."""
    changes = story()
    name = changes[1].incident.id
    write(stored, changes, act("acknowledge", name, 3, comment="calling the owner"))
    out = terminal.done("alerts", "show", name).out
    for text in (name, ALICE, KEY, "event-17", "1/17", "4,120 items", "calling the owner", "acknowledged"):
        assert text in out, text
    document = terminal.done("--json", "alerts", "show", name).document
    assert [each["detector"] for each in document["findings"]] == ["denials", "usage-rate"]
    assert document["acts"][0]["kind"] == "acknowledge"


def test_a_finding_is_shown_by_itself(terminal: Terminal, stored: MemoryAlerts) -> None:
    """What is neither is not found."""
    alerts = write(stored, story())
    assert "principal/bob" in terminal.done("alerts", "show", alerts[2].data.finding).out
    ran = terminal("alerts", "show", INCIDENT)
    assert (ran.code, "alerts list" in ran.err) == (1, True)


# Acts


@pytest.mark.parametrize(
    ("words", "verb", "expected"),
    [
        (("ack", INCIDENT, "--comment", "mine"), "AcknowledgeIncident", {"incident": INCIDENT, "comment": "mine"}),
        (
            ("close", INCIDENT, "--resolution", "BENIGN", "--comment", "planned"),
            "CloseIncident",
            {"incident": INCIDENT, "resolution": "BENIGN", "comment": "planned"},
        ),
        (
            ("suppress", "move", "--until", "2999-01-01", "--entity", ORDERS, "--detector", "denials"),
            "PutSuppression",
            {"suppression": "move", "until": "2999-01-01T00:00:00.000Z", "entity": KEY, "detector": "denials"},
        ),
        (("unsuppress", "move"), "DeleteSuppression", {"suppression": "move"}),
    ],
)
def test_acts_are_commands(terminal: Terminal, words: tuple[str, ...], verb: str, expected: dict[str, Any]) -> None:
    """Signed as who acts, with a reason if one is given."""
    ran = terminal.done("alerts", *words, "--reason", "ticket 7")
    (received,) = ran.received
    assert received.command.verb == verb
    arguments = received.command.data.arguments.model_dump()
    assert {name: arguments[name] for name in expected} == expected
    assert received.command.data.reason == "ticket 7"


def test_suppressions_are_listed(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the projections have them."""
    row = Suppression(
        suppression="move", detector=None, entity=KEY, until=to_text(START_MS), comment="moving", put_by="bob",
        updated_at=to_text(0),
    )  # fmt: skip

    async def suppressions(_projected: Any) -> tuple[Suppression, ...]:
        return (row,)

    monkeypatch.setattr(type(terminal.projected), "suppressions", suppressions, raising=False)
    out = terminal.done("alerts", "suppressions").out
    assert all(text in out for text in ("move", KEY, "bob", "moving"))
    assert terminal.done("--json", "alerts", "suppressions").document[0]["suppression"] == "move"
