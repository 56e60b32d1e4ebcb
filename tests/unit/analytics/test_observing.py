"""The first stage, with the consumer's notes as its thread makes them, topics and table in memory, and no broker."""

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from tests.support.honest_log import HonestLog
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS
from tests.unit.analytics.stages import NOW_MS, FakeInbox, Sending, Steps, Table, parts
from tests.unit.analytics.test_sources import letter, records_of, trust_of

from keyfold.analytics import observing as module
from keyfold.analytics import packing
from keyfold.analytics.acts import Act
from keyfold.analytics.observations import Ref
from keyfold.analytics.observing import ROW, Observing
from keyfold.analytics.packing import targets, unpack, unpack_found
from keyfold.analytics.sending import Message, NotSent
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.analytics.transport import CommittedThread, Reach
from keyfold.bus import Inbound
from keyfold.events import topics
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.log.root_chain import RootChain

LETTERS = TP(topics.DEAD_LETTERS, 0)
SOURCE = 4


class Consumer:
    """aiokafka's consumer of the dead letters, as far as its places are looked at."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(has_valid_position=True, position=0, highwater=0, lso=0, timestamp=NOW_MS)
        assignment = SimpleNamespace(state_value=lambda _tp: self.state)
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))

    def assignment(self) -> set[TP]:
        return {LETTERS}

    async def seek_to_beginning(self, *_: TP) -> None:
        self.state.position = 0

    def seek(self, _tp: TP, offset: int) -> None:
        self.state.position = offset


class World:
    """The first stage, and the thread that notes where its consumer stands."""

    def __init__(self) -> None:
        self.app: Any = SimpleNamespace(reached=Reach(), watched=frozenset({topics.DEAD_LETTERS}), era=1)
        self.consumer = Consumer()
        self.thread: Any = object.__new__(CommittedThread)
        self.thread.app = self.app
        self.thread._consumer = self.consumer
        table: Any = Table(Steps())
        keeper: Any = None
        shared = parts(Sending(Steps()), AnalyticsSettings(), SOURCE, self.app)
        self.observing = Observing(shared, keeper, table, dict)

    def fetch(self, offset: int | None = None) -> None:
        """Fetch a dead letter, or nothing."""
        if offset is not None:
            self.app.reached.last[LETTERS] = offset
            self.consumer.state.position = self.consumer.state.highwater = self.consumer.state.lso = offset + 1
        self.thread._note(self.consumer)

    async def assigned(self) -> None:
        """Partitions move, and the dead letters come again; the group has committed all that was fetched."""
        self.observing.release()
        self.observing.begin(frozenset({(topics.DEAD_LETTERS, 0)}))
        self.app.era += 1
        await self.thread.stand(self.app.era, {}, frozenset(), frozenset({LETTERS}))


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Inbox", FakeInbox)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_dead_letter_of_before_holds_nothing_after_a_rebalance(world: World) -> None:
    """It was acknowledged, and does not come again: the watermark of the dead letters goes on with the clock."""
    await world.assigned()
    world.fetch(0)
    letter = Inbound(topics.DEAD_LETTERS, 0, 0, NOW_MS, None, b"{}", ())
    world.observing._read_letters([letter])
    world.observing._rise_at_ends()
    assert SOURCE in world.observing._marks()
    await world.assigned()
    world.fetch()
    world.observing._rise_at_ends()
    assert SOURCE in world.observing._marks()


async def test_a_dead_letter_that_is_fetched_and_not_read_holds_the_watermark(world: World) -> None:
    """Also after a rebalance."""
    await world.assigned()
    await world.assigned()
    world.fetch(0)
    world.observing._rise_at_ends()
    assert SOURCE not in world.observing._marks()


ALL = frozenset({(topics.DEAD_LETTERS, 0), *((topics.EVENTS, partition) for partition in range(PARTITIONS))})
LETTERS_OF = [letter(offset, b'{"code":"Expired","principal":"late"}') for offset in range(3)]


class Reading:
    """The stage over a log and some dead letters; begun anew, it stands where its rows say."""

    def __init__(self, log: HonestLog, settings: AnalyticsSettings | None = None) -> None:
        self.log, self.settings = log, settings or AnalyticsSettings(heartbeat_s=1e9)
        self.steps = FakeInbox.steps = Steps()
        self.sending, self.table = Sending(self.steps), Table(self.steps)
        self.keeper: Any = SimpleNamespace(trust=trust_of(log), catch_up=self.catch_up)
        self.caught_up = 0
        self.restart()

    async def catch_up(self) -> Any:
        self.caught_up += 1
        return trust_of(self.log)

    def restart(self) -> None:
        """Only what was written is left, and dead letters that were not acknowledged."""
        consumer = SimpleNamespace(on_buffer_full=lambda _tp: None, on_buffer_drop=lambda _tp: None)
        app = SimpleNamespace(reached=Reach(), consumer=consumer)
        table: Any = self.table
        self.stage = Observing(parts(self.sending, self.settings, PARTITIONS, app), self.keeper, table, dict)
        starts = self.stage.begin(ALL)
        self.waiting = [
            Message(record, None)
            for partition in range(PARTITIONS)
            for record in records_of(self.log, partition)
            if record.offset >= starts[topics.EVENTS, partition]
        ]
        acknowledged = {step[2] for step in self.steps.done if step[0] == "done"}
        self.letters = [Message(each, None) for each in LETTERS_OF if each.offset not in acknowledged]

    async def work(self, most: int) -> bool:
        """Work on some of what comes; tell whether there is more."""
        taken, self.waiting = self.waiting[:most], self.waiting[most:]
        letters, self.letters = self.letters[:1], self.letters[1:]
        await self.stage._work(taken, letters)
        return bool(self.waiting or self.letters or any(self.stage._chosen()))

    async def until_done(self, most: int = 5) -> None:
        while True:
            try:
                if not await self.work(most):
                    return
            except NotSent:
                self.steps.left = None
                self.restart()

    def observed(self) -> list[set[Ref]]:
        """What each partition of entities was told of."""
        found: list[set[Ref]] = [set() for _ in range(PARTITIONS)]
        for partition, refs in enumerate(found):
            for content in self.sending.on(topics.ANALYTICS_OBSERVATIONS, partition):
                for seen in unpack(content).observations:
                    assert partition in targets(seen, PARTITIONS)
                    refs.add(seen.ref)
        return found

    def acts(self) -> set[str]:
        """The acts that were told."""
        found = [unpack_found(each) for each in self.sending.on(topics.ANALYTICS_FINDINGS)]
        return {each.event_id for each in found if isinstance(each, Act)}


def lived() -> HonestLog:
    """A key, its uses, and what an operator did about an incident."""
    log = HonestLog()
    log.create_key()
    for _ in range(4):
        log.use_key("Decrypt")
    batch = {"suppression": "batch", "detector": "denials", "until": to_text(START_MS + 3_600_000)}
    log.decide(log.command("PutSuppression", REGISTRY, arguments=batch))
    return log


async def test_observations_are_sent_then_places_are_written_then_letters_acknowledged() -> None:
    """Each observation goes to the partitions of its entities, an act to the findings."""
    reading = Reading(lived())
    await reading.work(1_000)
    assert reading.steps.kinds() == [topics.ANALYTICS_OBSERVATIONS, topics.ANALYTICS_FINDINGS, "row", "done"]
    assert {step[2] for step in reading.steps.done if step[0] == "row"} == {ROW}
    await reading.until_done()
    assert {ref.partition for refs in reading.observed() for ref in refs} == {0, 2, PARTITIONS}
    assert len(reading.acts()) == 1


async def test_a_crash_after_any_step_loses_nothing() -> None:
    """What is sent again is the same: its place tells so."""
    log = lived()
    straight = Reading(log)
    await straight.until_done()
    wanted, rows = straight.observed(), straight.table.kept
    assert sum(map(len, wanted)) > 10
    for steps in range(len(straight.steps.done)):
        reading = Reading(log)
        reading.steps.left = steps
        await reading.until_done()
        assert reading.observed() == wanted, steps
        assert reading.acts() == straight.acts()
        assert reading.table.kept == rows
        assert {step[2] for step in reading.steps.done if step[0] == "done"} == {0, 1, 2}


async def test_watermarks_come_behind_all_that_they_speak_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records it takes: whoever has a watermark has all that was before it."""
    monkeypatch.setattr(packing, "MAX_BYTES", 300)
    reading = Reading(lived())
    await reading.work(1_000)
    packed = [unpack(each) for each in reading.sending.on(topics.ANALYTICS_OBSERVATIONS, 2)]
    sources = {seen.ref.partition for each in packed for seen in each.observations}
    assert len(packed) > 2
    assert [bool(each.marks) for each in packed] == [False] * (len(packed) - 1) + [True]
    assert sources <= packed[-1].marks.keys()


async def test_where_nothing_comes_watermarks_are_told_to_all() -> None:
    """After a pause, to each partition of entities; and to none before it."""
    reading = Reading(lived(), AnalyticsSettings(heartbeat_s=1e-9))
    await reading.until_done()
    told = len(reading.sending.sent)
    await reading.stage._work([], [])
    sent = reading.sending.sent[told:]
    assert [(each[0], each[1]) for each in sent] == [(topics.ANALYTICS_OBSERVATIONS, n) for n in range(PARTITIONS)]
    quiet = Reading(lived())
    quiet.stage._told_s = 1e12
    await quiet.stage._work([], [])
    assert quiet.sending.sent == []


async def test_what_is_not_believed_is_read_again_once_root_has_said_more() -> None:
    """Whoever writes was certified before, though perhaps since this was looked up."""
    log = lived()
    reading = Reading(log)
    first = RootChain(DEPLOYMENT, PARTITIONS)
    first.accept(records_of(log, 0)[0])
    reading.keeper.trust = first.trust
    await reading.until_done(1_000)
    assert reading.caught_up > 0
    assert sum(map(len, reading.observed())) > 10
