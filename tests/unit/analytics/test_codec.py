"""Rows of entities: what is remembered survives being written down at any moment, and damage begins anew."""

import pytest
from tests.unit.analytics.seen import BASE_MS, Counting, seen

from keyfold.analytics.codec import Head, Live, dump, load, read_head
from keyfold.analytics.engine import Engine
from keyfold.analytics.packing import Unreadable
from keyfold.analytics.ticks import TICK_MS

ALICE = "principal/alice"
OBSERVATIONS = [
    seen(offset=0, contexts=("tenant=a",)),
    seen(offset=1, at=2, result="denied", code="AccessDenied", verb="Sign"),
    seen(offset=2, at=3, verb="PutPolicy", administrative=True, target="rules", key=None),
    seen(offset=3, at=14, items=5, failures=2, result="completed"),
    seen(offset=0, at=12, source=3),
]


def test_a_row_gives_the_same_state_again() -> None:
    """Open ticks, memories, what was seen: all of it, at each moment."""
    engine = Engine([Counting()])
    live = Live()
    for number, each in enumerate(OBSERVATIONS):
        engine.take(ALICE, live.state, [each])
        if number == 3:
            engine.close(ALICE, live.state, BASE_MS + TICK_MS)
            live.memories = None
        again = load(engine, ALICE, dump(engine, ALICE, live))
        assert again.state == live.state
        live = again


def test_the_head_says_when_it_was_seen_and_what_is_open() -> None:
    """Without parsing the rest."""
    engine, live = Engine([Counting()]), Live()
    assert read_head(dump(engine, ALICE, live)) == Head(0, 0)
    engine.take(ALICE, live.state, OBSERVATIONS)
    assert read_head(dump(engine, ALICE, live)) == Head(BASE_MS + 2 * TICK_MS, BASE_MS + TICK_MS)
    engine.close(ALICE, live.state, BASE_MS + 5 * TICK_MS)
    assert read_head(dump(engine, ALICE, live)) == Head(BASE_MS + 2 * TICK_MS, 0)


def test_memories_of_detectors_that_are_gone_are_dropped() -> None:
    """The others stay; a new detector begins."""
    engine, live = Engine([Counting()]), Live()
    engine.take(ALICE, live.state, OBSERVATIONS)
    engine.close(ALICE, live.state, BASE_MS + 5 * TICK_MS)
    row = dump(engine, ALICE, live)
    other = load(Engine([Counting(name="other")]), ALICE, row)
    assert other.state.memories == {}
    assert other.state.seen == live.state.seen
    assert load(engine, ALICE, dump(Engine([Counting(name="other")]), ALICE, other)).state.memories == {}


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"\x03" + bytes(16) + b"[[],0,0,[],{}]",
        b"\x01" + bytes(16),
        b"\x01" + bytes(16) + b"{}",
        b"\x01" + bytes(16) + b"[[],0,0,[]]",
        b"\x01" + bytes(16) + b'[[],0,0,[],{"counting":7}]',
        b"\x01" + bytes(16) + b"[[],0,0,[[1]],{}]",
        b"\x01" + bytes(16) + b'[[],0,0,[[0,[["Decrypt","wished",1]],[],{},{},{},{},[],[]]],{}]',
    ],
)
def test_a_row_of_another_version_or_shape_is_refused(row: bytes) -> None:
    """The caller lets the entity begin anew."""
    with pytest.raises(Unreadable):
        load(Engine([Counting()]), ALICE, row)
