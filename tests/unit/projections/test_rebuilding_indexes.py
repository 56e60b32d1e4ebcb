"""The step of a rebuild that makes indexes: before the live schema is closed, beside everything else, once."""

import asyncio

import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, seeded, simulated

from keyfold.projections.errors import StoreUnavailable
from keyfold.projections.memory import MemorySchemas
from keyfold.projector.rebuilding import Rebuilding
from keyfold.projector.settings import ProjectorSettings


class Slow(MemorySchemas):
    """A store whose indexes take as long as a test wants, and may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on, self.failures, self.asked = asyncio.Event(), 0, 0
        self.made: list[int] = []
        """The generations whose building schema was given its indexes."""

    async def complete_building(self) -> None:
        self.asked += 1
        generation = (await self.status()).generation
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the store is down")
        await self.go_on.wait()
        self.made.append(generation)


@pytest.fixture
async def slow() -> Slow:
    made = Slow()
    await made.prepare(PARTITIONS)
    await folding.feed_all(made.partition_store("blue"), simulated(seeded(1), 30), seeded(1))
    await made.request_rebuild()
    return made


async def steps_of(schemas: MemorySchemas) -> Rebuilding:
    made = Rebuilding(schemas, await schemas.status(), ProjectorSettings(), lambda: 0.0)
    await made.look()
    return made


async def test_the_live_schema_is_written_until_the_indexes_are_made(slow: Slow) -> None:
    """Making them holds nobody up: looks return at once, and the live schema stays open."""
    steps = await steps_of(slow)
    for _ in range(3):
        assert (await steps.look()).phase == "building"
        assert slow.schema("blue").open
    slow.go_on.set()
    assert (await steps.look()).phase == "swapping"
    assert slow.asked == 1


async def test_indexes_that_could_not_be_made_are_tried_again(slow: Slow) -> None:
    """The failure is told to whoever looks, and the next look begins anew."""
    slow.failures = 1
    steps = await steps_of(slow)
    with pytest.raises(StoreUnavailable):
        await steps.look()
    slow.go_on.set()
    assert (await steps.look()).phase == "swapping"
    assert slow.asked == 2


async def test_who_stops_gives_them_up(slow: Slow) -> None:
    """Nothing is left running, and the next projector makes them."""
    steps = await steps_of(slow)
    await steps.look()
    await steps.stop()
    slow.go_on.set()
    again = await steps_of(slow)
    assert (await again.look()).phase in {"building", "swapping"}
    assert slow.asked == 2
    await again.stop()


async def test_what_was_made_for_a_rebuild_is_not_taken_for_the_next(slow: Slow) -> None:
    """Another projector may swap and begin again between two looks: the new schema has no indexes yet."""
    steps = await steps_of(slow)
    await steps.look()
    slow.go_on.set()
    other = await steps_of(slow)
    await filled(slow)
    while (await other.look()).phase != "steady":
        pass
    await slow.request_rebuild()
    await other.look()
    await filled(slow)
    slow.made.clear()
    assert (await steps.look()).phase == "swapping"
    assert slow.made == [1]


async def test_what_is_made_for_a_rebuild_that_is_given_up_is_given_up(slow: Slow) -> None:
    """Whoever cancels it does not wait for the indexes of a schema that nobody will read."""
    steps = await steps_of(slow)
    await steps.look()
    await slow.cancel_rebuild()
    assert (await steps.look()).phase == "steady"
    slow.go_on.set()
    await asyncio.sleep(0.01)
    assert (slow.asked, slow.made) == (1, [])


async def filled(slow: Slow) -> None:
    """Fold into the building schema all that the live one has."""
    building = (await slow.status()).building
    assert building is not None
    await folding.feed_all(slow.partition_store(building), simulated(seeded(1), 30), seeded(1))
