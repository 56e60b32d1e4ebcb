"""Filling up to a moment that lies within a signed statement, and going on from there."""

import pytest
from tests.unit.projections.deployment import Deployment
from tests.unit.projections.histories import DEPLOYMENT, PARTITIONS, Maker, genesis_events, seeded

from keyfold.cli.rebuild_at.filling import Filling, fill
from keyfold.deciding import replaying
from keyfold.deciding.as_of import Prefix
from keyfold.events import facts
from keyfold.events.chains import ChainGap
from keyfold.events.streams import partition_of, partition_stream
from keyfold.events.times import to_text
from keyfold.log import TrustKeeper
from keyfold.projections.memory import MemoryQueries, MemorySchemas

PARTITION = partition_of("principal/alice", PARTITIONS)


class Denials(Maker):
    """Refusals, each a little later than the one before: no state, and one statement holds them all."""

    def make(self, number: int) -> list[facts.Event]:
        for _ in range(number):
            self.now_ms += 1000
            self.deny()
        return [event for event in self.events if event.subject == "principal/alice"]


@pytest.fixture
async def denials() -> list[facts.Event]:
    return Denials(seeded(1), 0).make(8)


@pytest.fixture
async def schemas() -> MemorySchemas:
    made = MemorySchemas()
    await made.prepare(PARTITIONS)
    return made


async def filled(deployment: Deployment, schemas: MemorySchemas, moment: str) -> Filling:
    """Fill the partition from where it stands, as a program that was just started does."""
    keeper = TrustKeeper(deployment.bus, DEPLOYMENT, PARTITIONS)
    trust = await keeper.catch_up()
    await keeper.stop()
    store = schemas.partition_store("blue")
    filling = Filling(trust, store, PARTITIONS, await store.offsets(PARTITION), moment)
    await fill(deployment.bus, filling, PARTITION, lambda _events: None)
    return filling


async def test_a_moment_within_a_statement_is_kept_when_filling_goes_on(
    schemas: MemorySchemas, denials: list[facts.Event]
) -> None:
    """Everything before the first later event, exactly once, however often filling is begun again."""
    deployment = Deployment(lambda: schemas, MemoryQueries(schemas))
    await deployment.write(deployment.log.sign(genesis_events()[:1]), deployment.log.sign(genesis_events()[1:]))
    await deployment.write(deployment.log.sign(denials))
    for _ in range(3):
        filling = await filled(deployment, schemas, denials[4].time)
        assert filling.reached
        assert filling.offsets.position == 5
        assert await deployment.queries.reports() == ()
    rows = await deployment.queries.audit_log(PARTITION)
    assert [row.value for row in rows] == [event.to_value() for event in denials[:5]]
    filling = await filled(deployment, schemas, denials[-1].time)
    assert not filling.reached
    assert len(await deployment.queries.audit_log(PARTITION)) == len(denials)


async def test_a_gap_stops_it(schemas: MemorySchemas, denials: list[facts.Event]) -> None:
    """A log that lost a statement is told, not passed over."""
    deployment = Deployment(lambda: schemas, MemoryQueries(schemas))
    await deployment.write(deployment.log.sign(genesis_events()), deployment.log.sign(denials[:3]))
    deployment.log.sign(denials[3:5])  # signed, and lost
    await deployment.write(deployment.log.sign(denials[5:]))
    with pytest.raises(ChainGap):
        await filled(deployment, schemas, denials[-1].time)


async def test_what_others_state_later_does_not_cut_and_does_not_count(schemas: MemorySchemas) -> None:
    """Decisions of the moment stand behind what a worker has stated after it; the same as when a key is shown then."""
    maker = Denials(seeded(2), 0)
    maker.make(2)
    moment = to_text(maker.now_ms)
    stated = facts.TokenCapabilitiesFound.new(
        "later", partition_stream(PARTITION), to_text(maker.now_ms + 5_000), module="m", capabilities=[], imports={}
    )
    denials = [event for event in maker.events if event.subject == "principal/alice"]
    after = Denials(seeded(3), 0, maker.now_ms + 10_000).make(1)
    deployment = Deployment(lambda: schemas, MemoryQueries(schemas))
    await deployment.write(deployment.log.sign(genesis_events()))
    for event in (denials[0], stated, denials[1], stated, after[0]):
        await deployment.write(deployment.log.sign([event]))
    filling = await filled(deployment, schemas, moment)
    rows = await deployment.queries.audit_log(PARTITION)
    assert [row.value for row in rows] == [event.to_value() for event in denials]
    assert [row.position for row in rows] == [0, 2]
    assert (filling.reached, filling.offsets.position) == (True, 3)
    prefix = Prefix(moment)
    assert prefix.over(_leaf(after[0]))
    assert [prefix.holds(_leaf(event)) for event in (denials[0], stated, denials[1])] == [True, False, True]


def _leaf(event: facts.Event) -> replaying.Leaf:
    return replaying.Leaf(PARTITION, 0, event.role, 1, event, event.to_value())
