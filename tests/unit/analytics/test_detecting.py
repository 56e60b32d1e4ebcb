"""The second stage with its table and its topics in memory: what it finds is sent before it forgets it."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.analytics.seen import BASE_MS, Counting, seen
from tests.unit.analytics.stages import FakeInbox, Sending, Steps, Table, message, parts

from keyfold.analytics import detecting as module
from keyfold.analytics import shard as shard_module
from keyfold.analytics.detecting import Detecting
from keyfold.analytics.engine import Engine
from keyfold.analytics.findings import Finding
from keyfold.analytics.observations import Observation
from keyfold.analytics.packing import pack, partition_of_entity, unpack_found, write
from keyfold.analytics.sending import Message, NotSent
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.events import topics

PARTITIONS = 2
NAMES = ("alice", "bob", "carol", "dave")
TOPIC = topics.ANALYTICS_OBSERVATIONS


class World:
    """The stage with both partitions, begun anew as often as a test likes."""

    def __init__(self, **settings: Any) -> None:
        self.settings = AnalyticsSettings(**settings)
        self.steps = FakeInbox.steps = Steps()
        self.sending, self.table = Sending(self.steps), Table(self.steps)
        self.restart()

    def restart(self, *assigned: int) -> None:
        """Only what was written is left."""
        table: Any = self.table
        self.stage = Detecting(parts(self.sending, self.settings, PARTITIONS), table, Engine([Counting()]))
        self.stage.begin(frozenset((TOPIC, partition) for partition in assigned or range(PARTITIONS)))

    async def take(self, messages: Sequence[Message]) -> None:
        """Let those come that were not acknowledged."""
        left = [each for each in messages if ("done", each.record.partition, each.record.offset) not in self.steps.done]
        await self.stage._work(left)

    @property
    def found(self) -> list[Finding]:
        """All that was sent, each as often as it was."""
        made = [unpack_found(each) for each in self.sending.on(topics.ANALYTICS_FINDINGS)]
        return [each for each in made if isinstance(each, Finding)]

    def told(self) -> dict[str, tuple[str, float]]:
        """What was sent, by id: sent again, it says the same."""
        told: dict[str, tuple[str, float]] = {}
        for each in self.found:
            said = each.entity, each.signal.observed
            assert told.setdefault(each.id, said) == said
        return told


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Inbox", FakeInbox)


def to_all(offset: int, *observations: Observation, low: float) -> list[Message]:
    """The records of some observations for each partition, behind which all sources have come to a time."""
    marks = dict.fromkeys(range(PARTITIONS + 1), BASE_MS + int(low * 1000))
    return [
        message(TOPIC, offset, content, partition)
        for partition in range(PARTITIONS)
        for content in pack(map(write, observations), marks)
    ]


def uses(second: int) -> list[Observation]:
    """Everybody does something in each second of a key of their own."""
    return [
        seen(at=second, offset=10 * second + n, principal=name, key=f"k-{name}") for n, name in enumerate(NAMES)
    ]  # fmt: skip


BATCHES = [to_all(step, *uses(7 * step), *uses(7 * step + 3), low=7 * step) for step in range(6)]


async def test_findings_are_sent_then_rows_are_written_then_it_acknowledges() -> None:
    """In each partition the watermarks are the last row."""
    world = World()
    await world.take(BATCHES[0])
    assert world.steps.kinds() == ["row", "done"]
    before = len(world.steps.done)
    await world.take(BATCHES[2])
    assert world.steps.kinds(before) == [topics.ANALYTICS_FINDINGS, "row", "done"]
    for partition in range(PARTITIONS):
        rows = [step[2] for step in world.steps.done[before:] if step[:2] == ("row", partition)]
        assert rows[-1] == shard_module.MARKS
        assert len(rows) > 1


async def test_a_crash_after_any_step_loses_and_doubles_nothing() -> None:
    """What is found again has the same id, and says the same; rows are the same in the end."""
    straight = World()
    for batch in BATCHES:
        await straight.take(batch)
    wanted, rows = straight.told(), straight.table.kept
    assert len(wanted) == 2 * len(NAMES) * 3
    for steps in range(len(straight.steps.done)):
        world = World()
        world.steps.left = steps
        for batch in BATCHES:
            try:
                await world.take(batch)
            except NotSent:
                world.steps.left = None
                world.restart()
                await world.take(batch)
        assert world.told() == wanted, steps
        assert world.table.kept == rows


@pytest.mark.parametrize("limit", ["open_ticks", "row"])
async def test_what_is_closed_early_is_sent_before_its_tick_is_forgotten(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open ticks, or too large a row, close the oldest: what they say is durable before they are forgotten."""
    if limit == "row":
        monkeypatch.setattr(shard_module, "MAX_ROW", 1_500)
    world = World(**{"open_ticks": 3} if limit == "open_ticks" else {})
    crowd = [
        seen(at=10.0 * n, offset=n, principal="alice", key=None, contexts=(f"tenant={'x' * 100}",)) for n in range(12)
    ]  # fmt: skip
    await world.take(to_all(0, *crowd, low=0))
    (row,) = [row for kept in world.table.kept.values() for name, row in kept.items() if name == b"principal/alice"]
    open_ticks = json.loads(row[row.index(b"[") :])[3]
    assert 0 < len(open_ticks) < 12
    assert len(world.found) == 12 - len(open_ticks)
    assert world.steps.kinds() == [topics.ANALYTICS_FINDINGS, "row", "done"]
    world.restart()
    await world.take(to_all(1, low=1_000))
    assert sum(each.signal.observed for each in world.found) == 12


async def test_only_what_was_taken_is_acknowledged() -> None:
    """What is of a partition that is another's is left to it."""
    world = World()
    world.restart(1)
    await world.take(BATCHES[0])
    assert [step for step in world.steps.done if step[0] == "done"] == [("done", 1, 0)]
    names = {name for kept in world.table.kept.values() for name in kept} - {shard_module.MARKS}
    assert names
    assert {partition_of_entity(name.decode(), PARTITIONS) for name in names} == {1}


async def test_what_cannot_be_read_is_acknowledged_and_costs_itself() -> None:
    """Else it would come for ever."""
    world = World()
    await world.take([message(TOPIC, 0, b"{"), message(TOPIC, 1, b'{"v":9}'), *BATCHES[0][1:]])
    assert [step[1:] for step in world.steps.done if step[0] == "done"] == [(0, 0), (0, 1), (1, 0)]


async def test_messages_of_one_work_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their number, as the settings say."""
    asked: list[tuple[int, float]] = []

    async def gather(self: FakeInbox, most: int, within_s: float) -> list[Message]:
        asked.append((most, within_s))
        return []

    monkeypatch.setattr(FakeInbox, "gather", gather, raising=False)
    assert await World(take_messages=7, take_s=0.5).stage._gather() == []
    assert asked == [(7, 0.5)]
