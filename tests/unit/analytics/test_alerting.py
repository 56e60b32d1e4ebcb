"""The third stage with its topics, its table and its store in memory: what it tells, and what it remembers."""

from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.analytics.found import ALICE, BOB, KEY, act, found
from tests.unit.analytics.stages import FakeInbox, Sending, Steps, Table, message, parts

from keyfold.analytics import alerting as module
from keyfold.analytics import incident_rows
from keyfold.analytics.acts import Act
from keyfold.analytics.alerting import Alerting
from keyfold.analytics.alerts import AlertAuthor, alert_of
from keyfold.analytics.findings import Finding
from keyfold.analytics.incident_rows import JOURNAL
from keyfold.analytics.incidents import Changed, Incident
from keyfold.analytics.packing import pack_act, pack_findings
from keyfold.analytics.sending import Message, NotSent
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.events import topics
from keyfold.events.alerts import parse_alert

BATCHES: list[list[Finding | Act]] = [
    [found(), found("denials", BOB, severity="low"), act("acknowledge", "unknown")],
    [found("denials", minute=1), found("fan-out", KEY, minute=2, severity="high"), found("first-use", BOB, minute=2)],
    [found("replays", minute=3), found("usage-rate", "principal/carol", minute=90)],
]


class World:
    """The stage, begun anew as often as a test likes; what it tells is kept."""

    def __init__(self) -> None:
        self.steps = FakeInbox.steps = Steps()
        self.sending, self.table = Sending(self.steps), Table(self.steps)
        self.changes: list[Changed] = []
        self.stored: set[str] = set()
        self.acted: list[Incident] = []
        self.restart()

    def restart(self) -> None:
        """Only what was written is left."""
        author, settings = AlertAuthor("ab" * 32, "cd" * 32, lambda _content: b"s" * 64), AnalyticsSettings()
        table: Any = self.table
        self.stage = Alerting(parts(self.sending, settings, 4), table, author, self, self)
        self.stage.begin(frozenset({(topics.ANALYTICS_FINDINGS, 0)}))

    async def write(self, changes: Sequence[Changed], _acts: Sequence[Act]) -> None:
        self.steps.take("stored")
        self.changes += changes
        self.stored |= {alert_of(each).id for each in changes}

    async def act(self, incident: Incident) -> None:
        self.steps.take("acted", incident.id)
        self.acted.append(incident)

    async def take(self, *given: Finding | Act, first: int = 0) -> list[Changed]:
        """Let findings and acts come in one batch; return what changed."""
        contents = [pack_act(each) if isinstance(each, Act) else next(pack_findings([each])) for each in given]
        incidents = self.stage._incidents
        assert incidents is not None
        before = len(self.changes)
        topic = topics.ANALYTICS_FINDINGS
        messages: list[Message] = [message(topic, first + number, each) for number, each in enumerate(contents)]
        await self.stage._work(incidents, messages)
        return self.changes[before:]

    async def take_batch(self, number: int) -> None:
        """Let what was not acknowledged of a batch come."""
        first = 10 * number
        left = sum(("done", 0, first + each) not in self.steps.done for each in range(len(BATCHES[number])))
        await self.take(*BATCHES[number][len(BATCHES[number]) - left :], first=first + len(BATCHES[number]) - left)

    @property
    def groups(self) -> dict[str, Incident]:
        assert self.stage._incidents is not None
        return self.stage._incidents.groups

    @property
    def published(self) -> set[str]:
        """The ids of the alerts on the topic."""
        return {parse_alert(each[3] or b"").id for each in self.sending.sent if each[0] == topics.ALERTS}

    def known(self) -> dict[str, Any]:
        """All that it remembers, as it would be restored."""
        self.restart()
        assert self.stage._incidents is not None
        return self.stage._incidents.documents()


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Inbox", FakeInbox)


@pytest.mark.parametrize(
    "poison",
    [found(entity="principal/Not A Name"), found(principal="\ud800"), found(detector=""), found(aspect="\ud800")],
)
async def test_a_finding_that_cannot_be_told_costs_itself_only(poison: Finding) -> None:
    """It opens and joins nothing; what came with it is told."""
    world = World()
    changes = await world.take(found(), poison, found("denials", BOB))
    assert [(each.change, each.finding and each.finding.entity) for each in changes] == [
        ("detected", ALICE), ("opened", ALICE), ("detected", BOB), ("opened", BOB)
    ]  # fmt: skip
    assert [group.entities for group in world.groups.values()] == [(ALICE,), (BOB,)]


async def test_it_tells_then_acts_then_remembers_then_acknowledges() -> None:
    """Each incident that opened or grew is acted on once, as it is at last; what is known changes nothing."""
    world = World()
    await world.take_batch(0)
    assert world.steps.kinds() == [topics.ALERTS, "stored", "acted", "row", "done"]
    assert world.steps.done[-3:] == [("done", 0, 0), ("done", 0, 1), ("done", 0, 2)]
    await world.take(found("fan-out", minute=1), found("replays", minute=2, severity="critical"))
    assert [(each.revision, each.severity) for each in world.acted] == [(1, "medium"), (3, "critical")]
    before = len(world.steps.done)
    await world.take(*BATCHES[0])
    assert world.steps.kinds(before) == ["stored", "done"]


async def straight() -> World:
    """Nothing happens to it."""
    world = World()
    for number in range(len(BATCHES)):
        await world.take_batch(number)
    return world


async def until_done(world: World, number: int) -> None:
    """Let a batch come again after each end, as what was not acknowledged does."""
    while True:
        try:
            await world.take_batch(number)
        except NotSent:
            world.steps.left = None
            world.restart()
        else:
            return


@pytest.mark.parametrize("batch", [1, 2])
async def test_a_crash_after_any_step_loses_nothing(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a second one in the batch that follows, before it is written over what the first left."""
    monkeypatch.setattr(incident_rows, "MAX_PART", 400)
    wanted = await straight()
    documents, told = wanted.known(), {alert_of(each).id for each in wanted.changes}
    for first in range(0, len(wanted.steps.done), 2 - batch % 2):
        for second in (None, 1, 5, 8, 12):
            world = World()
            for number in range(len(BATCHES)):
                if number == batch:
                    world.steps.left = first
                if number == batch + 1 and second is not None:
                    world.steps.left = second
                await until_done(world, number)
            world.steps.left = None
            assert world.known() == documents, (first, second)
            assert world.published == told
            assert world.stored == told
            assert {each.id for each in world.acted} == {each.id for each in wanted.acted}


async def test_what_a_crash_left_in_the_journal_is_written_before_the_next() -> None:
    """Two crashes in a row: the incident of the first batch is still known, and its finding opens no other."""
    world = World()
    world.steps.left = 5  # two alerts, the store, the act, and the journal
    with pytest.raises(NotSent):
        await world.take(found())
    assert set(world.table.rows(0)) == {JOURNAL}
    world.restart()
    world.steps.left = None
    assert [group.entities for group in world.groups.values()] == [(ALICE,)]
    await world.take(found("denials", BOB, minute=1), first=1)
    del world.table.rows(0)[JOURNAL]
    world.restart()
    assert [group.entities for group in world.groups.values()] == [(ALICE,), (BOB,)]
    assert await world.take(found()) == []


async def test_rows_that_cannot_be_read_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and alerts go on."""
    said: list[str] = []
    monkeypatch.setattr(module._log, "warning", lambda action, **_: said.append(action), raising=False)
    world = World()
    await world.take_batch(0)
    world.table.rows(0)[b"clock"] = b"{"
    world.restart()
    assert said == ["incidents-begin-anew"]
    assert [each.change for each in await world.take(found())] == ["detected", "opened"]


async def test_nothing_is_done_where_the_findings_are_another_s() -> None:
    """Nor after they were given up."""
    world = World()
    world.stage.begin(frozenset({(topics.ANALYTICS_OBSERVATIONS, 0)}))
    assert world.stage._incidents is None
    world.restart()
    world.stage.release()
    assert world.stage._incidents is None
