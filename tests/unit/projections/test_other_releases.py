"""Projectors of two releases side by side: what one does where the schema that is being filled is the other's."""

from dataclasses import replace

import pytest

from keyfold.projections.errors import SchemaNewer
from keyfold.projections.memory import MemorySchemas
from keyfold.projections.ports import Layout, SchemaStatus
from keyfold.projector.rebuilding import Rebuilding
from keyfold.projector.settings import ProjectorSettings


class OfRelease(MemorySchemas):
    """A store in which a rebuild was begun by another release, or which a newer one has taken over."""

    def __init__(self, building_is: Layout = "ours") -> None:
        super().__init__()
        self.building_is = building_is
        self.newer = False

    async def status(self) -> SchemaStatus:
        """Say whose the building schema is."""
        if self.newer:
            raise SchemaNewer("a newer one has taken over")
        return replace(await super().status(), building_is=self.building_is)

    async def cancel_rebuild(self) -> SchemaStatus:
        """What is begun afterwards is our own."""
        self.building_is = "ours"
        return await super().cancel_rebuild()


async def rebuilding(schemas: OfRelease) -> Rebuilding:
    """Of a store in which a rebuild is under way."""
    await schemas.prepare(2)
    await schemas.begin_rebuild()
    return Rebuilding(schemas, await schemas.status(), ProjectorSettings(), lambda: 0.0)


async def test_a_rebuild_of_a_newer_release_is_left_to_it() -> None:
    """It is neither filled nor shown by us, though nothing is missing any more; the live schema is written on."""
    schemas = OfRelease("newer")
    made = await rebuilding(schemas)
    for _ in range(5):
        status = await made.look()
        assert (status.phase, status.active) == ("building", ("blue",))
    await made.stop()


async def test_a_rebuild_of_an_older_release_is_given_up() -> None:
    """And begun anew in our layout, where one is needed."""
    schemas = OfRelease("older")
    made = await rebuilding(schemas)
    assert (await made.look()).phase == "steady"
    await schemas.request_rebuild()
    assert (await made.look()).active == ("blue", "green")
    await made.stop()


async def test_an_own_rebuild_goes_on() -> None:
    """As ever."""
    schemas = OfRelease()
    made = await rebuilding(schemas)
    for _ in range(5):
        await made.look()
    assert made.status.live == "green"
    await made.stop()


async def test_what_a_newer_release_has_taken_over_ends_the_work() -> None:
    """The projector is told, and does not try again."""
    schemas = OfRelease()
    made = await rebuilding(schemas)
    schemas.newer = True
    with pytest.raises(SchemaNewer) as caught:
        await made.look()
    assert not caught.value.retriable
    await made.stop()
