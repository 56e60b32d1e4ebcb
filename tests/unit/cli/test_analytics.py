"""`keyfold analytics`: detectors, and history seen through them, from the log or from an archive."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.support.honest_log import HonestLog
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS
from tests.unit.auditing.archived import Log
from tests.unit.cli.conftest import Terminal

from keyfold.analytics.detectors import all_detectors
from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.findings import Signal
from keyfold.analytics.ticks import Tick
from keyfold.bus import MemoryBus, MemoryCluster, Outbound
from keyfold.cli import analytics
from keyfold.cli.analytics import app, running
from keyfold.cli.exits import UNAVAILABLE, NotReady, exit_code
from keyfold.cli.lazy import Lazy
from keyfold.cli.session import Session
from keyfold.config import CONFIG_FILE, load_config, save_config
from keyfold.events import topics
from keyfold.events.times import HOUR_MS, to_text

TABLE: tuple[Lazy, ...] = app.info.cls.table  # type: ignore[union-attr]
BEFORE, AFTER = to_text(START_MS - HOUR_MS), to_text(START_MS + HOUR_MS)


class Loud:
    """Says something of every tick."""

    name = "loud"
    scopes: frozenset[Scope] = frozenset({"principal", "key"})

    def begin(self) -> list[int]:
        return []

    def look(self, entity: str, tick: Tick, memory: list[int]) -> Iterable[Signal]:
        yield Signal("medium", tick.start_ms, tick.end_ms, 1, 0, "ticks", f"did {sorted(tick.commands)[0].verb}")

    def dump(self, memory: list[int]) -> Any:
        return memory

    def load(self, document: Any) -> list[int]:
        return list(document)


@pytest.fixture(autouse=True)
def loud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "all_detectors", lambda: [Loud()])


@pytest.fixture
def deployed(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A log in which a key was made and used, and a dead letter."""
    bus = MemoryBus(MemoryCluster(PARTITIONS, clock_ms=lambda: START_MS))
    asyncio.run(fill(bus))
    monkeypatch.setattr(Session, "bus", lambda _session, _config: bus)
    settings = terminal.data / CONFIG_FILE
    save_config(load_config(settings).model_copy(update={"deployment": DEPLOYMENT, "partitions": PARTITIONS}))
    return terminal


async def fill(bus: MemoryBus) -> None:
    writer, sender = bus.writer("test"), bus.sender()
    await writer.start()
    await writer.commit([
        Outbound(record.topic, record.partition, record.key, record.value, record.headers)
        for (topic, _), kept in HonestLog().tell().records.items()
        for record, _ in kept
        if topic == topics.EVENTS
    ])  # fmt: skip
    await writer.stop()
    await sender.start()
    letter = json.dumps({"principal": "mallory", "code": "Expired"}).encode()
    await (await sender.send(Outbound(topics.DEAD_LETTERS, 0, b"", letter)))
    await sender.stop()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_table_says_what_the_commands_say(row: Lazy) -> None:
    """The line of help is the first sentence of the real help."""
    assert (row.load().help or "").split("\n\n")[0].strip() == row.help


def test_detectors_are_listed_with_their_parameters(terminal: Terminal) -> None:
    """Each has a name, what it looks at, and every number with its default and meaning."""
    document = terminal.done("--json", "analytics", "detectors").document
    assert [each["detector"] for each in document] == [each.name for each in all_detectors()]
    for each in document:
        assert each["scopes"]
        assert each["parameters"]
        assert all(parameter["description"] for parameter in each["parameters"])
    assert "usage-rate" in terminal.done("analytics", "detectors").out


def test_history_is_told_as_alerts_are(deployed: Terminal) -> None:
    """Findings and incidents by event time, with the dead letters; what was read is told beside."""
    ran = deployed.done("--json", "analytics", "backtest")
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert {each["subject"].partition("/")[0] for each in told} == {"principal", "key"}
    assert "principal/mallory" in {each["subject"] for each in told}
    assert {each["type"] for each in told} >= {"keyfold.finding.detected.v1", "keyfold.incident.opened.v1"}
    assert "observations of" in ran.err
    assert deployed.done("--json", "analytics", "backtest").out == ran.out


def test_only_what_is_asked_for_is_told(deployed: Terminal) -> None:
    """From a time on, before a time, by severity, and incidents only."""
    whole = deployed.done("analytics", "backtest").out
    assert deployed.done("analytics", "backtest", "--since", BEFORE).out == whole
    assert deployed.done("analytics", "backtest", "--since", AFTER).out == ""
    assert deployed.done("analytics", "backtest", "--until", BEFORE).out == ""
    assert deployed.done("analytics", "backtest", "--severity", "critical").out == ""
    incidents = deployed.done("analytics", "backtest", "--incidents").out.splitlines()
    assert all(" incident" in line for line in incidents)
    assert 0 < len(incidents) < len(whole.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        ("backtest", "--since", "tomorrow"),
        ("backtest", "--since", "1h", "--until", "2h"),
        ("backtest", "--severity", "dire"),
        ("report",),
    ],
)
def test_wrong_words_are_refused(deployed: Terminal, words: tuple[str, ...]) -> None:
    """Exit code 2."""
    assert deployed("analytics", *words).code == 2


def test_an_archive_tells_what_the_log_tells(deployed: Terminal, tmp_path: Path) -> None:
    """Without a deployment; but for the dead letters, which no archive has. Findings have the same ids."""
    log = Log()
    notes = [log.note(partition) for partition in range(PARTITIONS) if log.kept[partition]]
    asyncio.run(log.export(tmp_path / "archive", *notes))
    ran = deployed.done("--json", "analytics", "backtest", "--archive", str(tmp_path / "archive"))
    archived = {json.loads(line)["id"] for line in ran.out.splitlines() if "finding.detected" in line}
    live = [json.loads(line) for line in deployed.done("--json", "analytics", "backtest").out.splitlines()]
    expected = {
        each["id"] for each in live if "finding.detected" in each["type"] and each["subject"] != "principal/mallory"
    }
    assert archived == expected
    assert DEPLOYMENT in ran.err


def test_a_report_is_one_file(deployed: Terminal, tmp_path: Path) -> None:
    """With what was seen and found in it."""
    out = tmp_path / "usage.html"
    ran = deployed.done("--json", "analytics", "report", "--out", str(out))
    assert ran.document["file"] == str(out)
    assert ran.document["observations"] > 0
    text = out.read_text("utf-8")
    assert "principal/alice did" in text
    assert "mallory" in text
    later = deployed.done("--json", "analytics", "report", "--out", str(out), "--since", AFTER)
    assert later.document["observations"] == 0


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("detectors", ["river"]),
        ("backtest", ["river"]),
        ("report", ["plotly"]),
        ("report", ["river", "plotly"]),
    ],
)
def test_a_missing_extra_is_named(name: str, packages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is imported or read: what is missing, what to install, and exit code 3."""
    real = analytics.find_spec
    monkeypatch.setattr(analytics, "find_spec", lambda wanted: None if wanted in packages else real(wanted))
    with pytest.raises(NotReady, match=rf"needs {', '.join(packages)}: install keyfold\[analytics\]") as caught:
        next(row for row in TABLE if row.name == name).load()
    assert exit_code(caught.value) == UNAVAILABLE
