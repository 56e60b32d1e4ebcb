"""Shared by the tests about the life of keys: keys made on purpose, folded, and what `evolve` says of them."""

from typing import Any

from tests.contract.projection_world import World
from tests.unit.projections import folding
from tests.unit.projections.histories import seeded
from tests.unit.projections.living import Living

from keyfold.events import facts
from keyfold.events.entities import Entity, Key
from keyfold.events.times import to_text

HOUR_MS = 3_600_000
NOBODY = "0193f3a0-7c00-7000-8000-00000000000a"
SYMMETRIC = ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
PLAIN: dict[str, Any] = {
    "not_before": None,
    "not_after": None,
    "rotation_period_seconds": None,
    "usage_budget": 100,
    "rotate_at_percent": None,
}


async def fold(world: World, events: list[facts.Event]) -> dict[str, Entity]:
    """Fold what has happened since the last time; returns what `evolve` says of everything."""
    await folding.feed_all(world.blue, events, seeded(1))
    truth = folding.evolved(events)
    assert await world.blue.load(truth) == truth
    return truth


def keys_of(truth: dict[str, Entity]) -> list[Key]:
    """All keys, in the order of their ids."""
    return [entity for _, entity in sorted(truth.items()) if isinstance(entity, Key)]


def plain(life: Living, origin: str = "KEYFOLD", kind: tuple[str, str] = SYMMETRIC, **more: Any) -> str:
    """A key with no bounds and no rotation of its own, unless told otherwise; returns its id."""
    return life.create(origin, kind, **(PLAIN | more))


def now(life: Living) -> str:
    """The time of the history."""
    return to_text(life.now_ms)
