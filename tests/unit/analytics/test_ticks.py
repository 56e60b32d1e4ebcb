"""Ten seconds of one entity: what is summed, and what is only named."""

from collections import Counter

import pytest
from tests.unit.analytics.seen import BASE_MS, seen

from keyfold.analytics.codec import Live, dump, load
from keyfold.analytics.engine import Engine, EntityState
from keyfold.analytics.ticks import TICK_MS, Tick, Use

ALICE, KEY = "principal/alice", "key/k1"


def filled(*observations: object, entity: str = ALICE, late: bool = False) -> Tick:
    tick = Tick(BASE_MS)
    for each in observations:
        tick.add(entity, each, late=late)  # type: ignore[arg-type]
    return tick


@pytest.mark.parametrize(("entity", "peer"), [(ALICE, "k1"), (KEY, "alice")])
def test_peers_are_by_use_and_not_by_administration(entity: str, peer: str) -> None:
    """Whoever tags a key uses it as little as who may not use it."""
    tag = seen(verb="TagResource", administrative=True, key="k1", items=1)
    other = seen(verb="TagResource", administrative=True, principal="bob", key="k2", offset=1)
    refused = seen(result="denied", code="AccessDenied", offset=2, principal="bob", key="k2")
    assert filled(tag, other, refused, seen(offset=3, items=4), entity=entity).peers == Counter({peer: 4})


def test_what_comes_late_is_named_and_not_summed() -> None:
    """Who, with what, by which event and with which code; never how much."""
    used = seen(items=50, contexts=("tenant=a",))
    denied = seen(offset=1, result="denied", code="IdempotencyConflict")
    broken = seen(offset=2, result="completed", code="InvalidCiphertext", items=9, failures=9)
    tick = filled(used, denied, broken, late=True)
    assert (tick.commands.total(), tick.items.total(), tick.failures.total(), tick.peers.total()) == (0, 0, 0, 0)
    assert set(tick.commands) == set(tick.items) == {
        Use("Decrypt", "authorized"), Use("Decrypt", "denied"), Use("Decrypt", "completed")
    }  # fmt: skip
    assert (set(tick.peers), set(tick.contexts)) == ({"k1"}, {"tenant=a"})
    assert tick.evidence("Decrypt") == [used.ref]
    assert sorted(tick.coded()) == [(("late", "IdempotencyConflict"), 1), (("late", "InvalidCiphertext"), 1)]
    assert tick.is_late
    tick.add(ALICE, seen(offset=3))
    assert not tick.is_late


def test_a_late_tick_is_the_same_when_it_is_read_again() -> None:
    """Names without a number stay."""
    engine, live = Engine([]), Live(EntityState())
    engine.take(ALICE, live.state, [seen(at=1)])
    engine.close(ALICE, live.state, BASE_MS + TICK_MS)
    engine.take(ALICE, live.state, [seen(at=2, offset=1, contexts=("tenant=a",))])
    (tick,) = load(engine, ALICE, dump(engine, ALICE, live)).state.ticks.values()
    assert tick == live.state.ticks[BASE_MS + TICK_MS]
    assert (tick.is_late, set(tick.items), set(tick.peers)) == (True, {Use("Decrypt", "authorized")}, {"k1"})
