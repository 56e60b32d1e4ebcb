"""`keyfold topics apply` and what `up` does of it: the topics of an earlier release become those of this one."""

import asyncio
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Terminal

from keyfold.bus import MemoryBus, MemoryCluster, Outbound
from keyfold.bus.topic_plan import Plan, plan
from keyfold.cli import system
from keyfold.cli.session import Session
from keyfold.config import Config
from keyfold.events import topics

CLOCK = "message.timestamp.type"
NEW = [row.name for row in topics.TOPICS if row.internal]


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> MemoryCluster:
    """The topics of before analytics: none of its own, and alerts by their writers' clock."""
    cluster = MemoryCluster(topics=())
    for row in plan(4, [row for row in topics.TOPICS if not row.internal], (), 1):
        clock = {CLOCK: "CreateTime"} if row.name == topics.ALERTS else {}
        cluster.create(Plan(row.name, row.partitions, {**row.configs, **clock}))
    monkeypatch.setattr(Session, "bus", lambda _session, _config: MemoryBus(cluster))
    return cluster


def test_an_older_cluster_becomes_one_of_this_release(terminal: Terminal, older: MemoryCluster) -> None:
    """What is missing is created, what may be altered is; a second time there is nothing to do."""
    done = terminal.done("--json", "topics", "apply").document
    assert done["created"] == NEW
    assert done["altered"] == [f"{topics.ALERTS} has {CLOCK}=LogAppendTime now, not CreateTime"]
    assert older.plans[topics.ALERTS].configs[CLOCK] == "LogAppendTime"
    assert terminal.done("--json", "topics", "apply").document == {"created": [], "altered": []}
    assert terminal.done("topics", "apply").out == "all topics are as they must be\n"


def test_what_was_done_is_told_in_words(terminal: Terminal, older: MemoryCluster) -> None:
    """One line for what was created, one for each alteration."""
    lines = terminal.done("topics", "apply").out.splitlines()
    assert lines[0] == f"created {', '.join(NEW)}"
    assert lines[1:] == [f"{topics.ALERTS} has {CLOCK}=LogAppendTime now, not CreateTime"]


def written(cluster: MemoryCluster) -> None:
    async def write() -> None:
        sender = MemoryBus(cluster).sender()
        await sender.start()
        await (await sender.send(Outbound(topics.ALERTS, 0, b"key", b"value")))

    asyncio.run(write())


def test_what_may_not_be_altered_is_refused_with_the_reason(terminal: Terminal, older: MemoryCluster) -> None:
    """Alerts that have their writers' times keep their topic as it is."""
    written(older)
    ran = terminal("topics", "apply")
    assert (ran.code, "TopicMismatch" in ran.err, "times that their writers chose" in ran.err) == (3, True, True)
    assert older.plans[topics.ALERTS].configs[CLOCK] == "CreateTime"


class Started:
    """A stack that was initialised long ago."""

    def __init__(self, config: Config) -> None:
        self.config, self.services = config, 0

    def start_infrastructure(self) -> Config:
        return self.config

    def start_services(self) -> None:
        self.services += 1


@pytest.mark.parametrize("refused", [True, False])
def test_up_brings_the_topics_and_goes_on(
    terminal: Terminal, older: MemoryCluster, refused: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether or not all of it may be: what may not is told, and the services start."""
    if refused:
        written(older)
    session = Session(terminal.data)
    stack = Started(session.config)
    system.bring_up(session, stack)  # type: ignore[arg-type]
    assert stack.services == 1
    assert set(NEW) <= older.plans.keys()
    told = capsys.readouterr().err
    assert ("writers chose" in told) == refused
    assert ("LogAppendTime now" in told) == (not refused)


def test_a_deployment_that_begins_is_not_looked_at_again(
    terminal: Terminal, older: MemoryCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its ceremony has just made the topics."""
    monkeypatch.setattr(system, "ensure_initialised", lambda _session, _stack: object())
    session = Session(terminal.data)
    system.bring_up(session, Started(session.config))  # type: ignore[arg-type]
    assert not set(NEW) & older.plans.keys()
