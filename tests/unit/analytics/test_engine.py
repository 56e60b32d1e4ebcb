"""From observations to findings, entity by entity: ticks close in order of event time, and nothing counts twice."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.unit.analytics.seen import BASE_MS, Counting, seen

from keyfold.analytics.engine import Engine, EntityState
from keyfold.analytics.findings import Signal
from keyfold.analytics.ticks import TICK_MS, Tick

ALICE = "principal/alice"


@dataclass
class Told:
    """A detector that remembers the ticks which it was given."""

    name: str = "told"
    scopes: frozenset[Any] = frozenset({"principal"})
    ticks: list[tuple[int, int]] = field(default_factory=list)

    def begin(self) -> list[int]:
        return []

    def look(self, entity: str, tick: Tick, memory: list[int]) -> Iterable[Signal]:
        self.ticks.append((tick.start_ms, sum(tick.commands.values())))
        memory.append(tick.start_ms)
        return ()

    def dump(self, memory: list[int]) -> Any:
        return memory

    def load(self, document: Any) -> list[int]:
        return list(document)


def test_ticks_are_closed_in_order_when_they_are_over() -> None:
    """A tick is looked at when the watermark has passed its end, never before, and older ones first."""
    told, state = Told(), EntityState()
    engine = Engine([told])
    engine.take(ALICE, state, [seen(at=25, offset=0), seen(at=3, offset=1), seen(at=4, offset=2)])
    assert engine.close(ALICE, state, BASE_MS + TICK_MS - 1) == []
    assert told.ticks == []
    engine.close(ALICE, state, BASE_MS + 3 * TICK_MS)
    assert told.ticks == [(BASE_MS, 2), (BASE_MS + 2 * TICK_MS, 1)]
    assert state.closed_ms == BASE_MS + 3 * TICK_MS
    assert not state.ticks


def test_what_was_taken_in_is_known_by_its_place() -> None:
    """The same offsets of the same source again change nothing; the same offset of another source is another."""
    state = EntityState()
    engine = Engine([Told()])
    engine.take(ALICE, state, [seen(offset=4), seen(offset=5)])
    engine.take(ALICE, state, [seen(offset=4), seen(offset=5)])
    engine.take(ALICE, state, [seen(offset=5, source=2)])
    assert sum(sum(tick.commands.values()) for tick in state.ticks.values()) == 3


def test_what_comes_late_is_named_in_the_next_tick_and_not_summed() -> None:
    """Nothing is lost behind a closed tick, and no tick has the sums of another."""
    told, state = Told(), EntityState()
    engine = Engine([told])
    engine.take(ALICE, state, [seen(at=1, offset=0)])
    engine.close(ALICE, state, BASE_MS + TICK_MS)
    engine.take(ALICE, state, [seen(at=2, offset=1, verb="Sign"), seen(at=11, offset=2, verb="Encrypt")])
    (tick,) = state.ticks.values()
    assert {use.verb: number for use, number in tick.commands.items()} == {"Sign": 0, "Encrypt": 1}
    engine.close(ALICE, state, BASE_MS + 2 * TICK_MS)
    assert told.ticks == [(BASE_MS, 1), (BASE_MS + TICK_MS, 1)]
    assert state.late == 1


@pytest.mark.parametrize("entity", ["principal/alice", "key/1"])
def test_detectors_see_their_scopes_only(entity: str) -> None:
    """A detector of principals is not asked about keys."""
    engine = Engine([Told(), Counting()])
    names = {each.name for each in engine.of(entity)}
    assert names == ({"told", "counting"} if entity == ALICE else {"counting"})


@dataclass
class Breaking(Told):
    """Breaks at every look."""

    name: str = "breaking"

    def look(self, entity: str, tick: Tick, memory: list[int]) -> Iterable[Signal]:
        raise ZeroDivisionError


def test_a_detector_that_breaks_costs_its_look_only_and_is_said_once() -> None:
    """Others see every tick; where nobody is told, it is raised."""
    said: list[tuple[str, str]] = []
    told, state = Told(), EntityState()
    engine = Engine([Breaking(), told], lambda action, what: said.append((action, what)))
    engine.take(ALICE, state, [seen(at=1, offset=0), seen(at=11, offset=1)])
    engine.close(ALICE, state, BASE_MS + 2 * TICK_MS)
    assert told.ticks == [(BASE_MS, 1), (BASE_MS + TICK_MS, 1)]
    assert said == [("detector-failed", "breaking on principal/alice: ZeroDivisionError")]
    silent = Engine([Breaking()])
    silent.take(ALICE, state, [seen(at=21, offset=2)])
    with pytest.raises(ZeroDivisionError):
        silent.close(ALICE, state, BASE_MS + 3 * TICK_MS)


def test_a_key_begins_with_what_was_allowed() -> None:
    """Whoever is denied on keys that he makes up fills nobody's memory; a known key remembers who is denied on it."""
    key, state, engine = "key/01890a5d-ac96-774b-bcce-b302099a8057", EntityState(), Engine([])
    engine.take(key, state, [seen(offset=0, result="denied"), seen(offset=1, result="denied")])
    assert (state.seen, state.ticks) == ({}, {})
    engine.take(key, state, [seen(offset=2, result="denied"), seen(offset=3), seen(offset=4, result="denied")])
    assert sum(sum(tick.commands.values()) for tick in state.ticks.values()) == 2
    alice = EntityState()
    engine.take(ALICE, alice, [seen(offset=0, result="denied")])
    assert alice.ticks
