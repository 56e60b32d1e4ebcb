"""Rebuilding projections beside the live ones, in memory and in Postgres: readers see nothing of it until the swap."""

import pytest
from tests.contract.projection_world import World, first_batch, folded
from tests.unit.projections import folding
from tests.unit.projections.histories import seeded

from keyfold.projections.errors import SchemaClosed


async def test_a_rebuild_fills_the_other_schema_and_takes_over(world: World) -> None:
    """Readers see the live schema until the swap, and the rebuilt one afterwards, with the same content."""
    events = await folded(world)
    before = (await world.queries.audit(limit=10_000), await world.queries.list_keys())
    await world.schemas.request_rebuild()
    assert (await world.schemas.status()).requested
    status = await world.schemas.begin_rebuild()
    assert (status.building, status.phase, status.requested) == ("green", "building", False)
    green = world.schemas.partition_store("green")
    assert (await world.schemas.remaining() or 0) > 0
    assert not await world.schemas.swap()
    await folding.feed_all(green, events[: len(events) // 2], seeded(1))
    assert (await world.queries.audit(limit=10_000), await world.queries.list_keys()) == before
    await world.schemas.close_live()
    assert not await world.schemas.swap()
    await folding.feed_all(green, events, seeded(2))
    assert await world.schemas.remaining() == 0
    assert await world.schemas.swap()
    status = await world.schemas.status()
    assert (status.live, status.building, status.phase, status.generation) == ("green", None, "steady", 1)
    assert (await world.queries.audit(limit=10_000), await world.queries.list_keys()) == before
    await world.schemas.drop_idle()
    assert (await world.queries.audit(limit=10_000), await world.queries.list_keys()) == before
    await green.close()


async def test_a_closed_schema_takes_no_writes(world: World) -> None:
    """From closing on, the old owner can move nothing; reopening lets it go on."""
    batch = await first_batch(world)
    await world.schemas.begin_rebuild()
    await world.schemas.close_live()
    with pytest.raises(SchemaClosed):
        await world.blue.apply(batch)
    with pytest.raises(SchemaClosed):
        await world.blue.offsets(1)
    assert (await world.schemas.reopen_live()).phase == "building"
    await world.blue.apply(batch)
    assert len(await world.queries.audit_log(1)) == 5


async def test_a_cancelled_rebuild_leaves_the_live_schema_alone(world: World) -> None:
    """Giving up: the building schema takes no writes, the live one does."""
    await world.schemas.begin_rebuild()
    green = world.schemas.partition_store("green")
    batch = await first_batch(world)
    await world.schemas.close_live()
    status = await world.schemas.cancel_rebuild()
    assert (status.live, status.building, status.phase) == ("blue", None, "steady")
    with pytest.raises(SchemaClosed):
        await green.apply(batch)
    await world.blue.apply(batch)
    await green.close()


async def test_a_second_rebuild_starts_from_nothing(world: World) -> None:
    """Nothing of an earlier life of a schema is left when it is filled again."""
    events = await folded(world, steps=10)
    for colour in ("green", "blue", "green"):
        await world.schemas.begin_rebuild()
        building = world.schemas.partition_store(colour)
        assert (await building.offsets(1)).next == 0
        await folding.feed_all(building, events, seeded(1))
        await world.schemas.close_live()
        assert await world.schemas.swap()
        await building.close()
    assert len((await world.queries.audit(limit=1000)).rows) == len(events)
    assert (await world.schemas.status()).generation == 3


async def test_two_generations_of_a_partition_are_independent(world: World) -> None:
    """Owning a partition in one schema is not owning it in the other."""
    await folded(world, steps=10)
    await world.schemas.begin_rebuild()
    green = world.schemas.partition_store("green")
    assert (await green.offsets(0)).next == 0
    assert (await world.blue.offsets(0)).next > 0
    await green.close()
