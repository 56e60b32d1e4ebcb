"""The first stage between two assignments: with the consumer's notes as its thread makes them, and no broker."""

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from keyfold.analytics import observing as module
from keyfold.analytics.observing import Observing, Parts
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.analytics.transport import CommittedThread, Reach
from keyfold.bus import Inbound
from keyfold.events import topics

LETTERS = TP(topics.DEAD_LETTERS, 0)
NOW_MS = 1_790_000_000_000
SOURCE = 4


class FakeInbox:
    """Nothing comes by itself."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.turns = 0

    def turn(self) -> None:
        self.turns += 1


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
        sending: Any = SimpleNamespace(clock=SimpleNamespace(at=lambda local_s: int(local_s * 1000) + NOW_MS))
        table: Any = SimpleNamespace(rows=lambda _partition: {})
        keeper: Any = None
        seal: Any = None
        parts = Parts(self.app, sending, seal, AnalyticsSettings(), SOURCE)
        self.observing = Observing(parts, keeper, table, dict)

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


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "Inbox", FakeInbox)
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
