"""What a predecessor's transaction left open is ended by what is the notary's own, whatever else lies in between."""

import pytest
from tests.support.notary_office import ID, Office
from tests.support.people import PARTITIONS

from keyfold.bus import Fault, InDoubt, Outbound
from keyfold.events import topics
from keyfold.log import StateTopic
from keyfold.notary import settling
from keyfold.notary.publishing import ROUND_HEADER

ROUND = 5
TILE = Outbound(topics.TILES, 1, b"0/0", bytes(32), ((ROUND_HEADER, ROUND.to_bytes(8, "big")),))
FOREIGN = Outbound(topics.TILES, 1, b"k", b"foreign")


@pytest.fixture
async def office(monkeypatch: pytest.MonkeyPatch) -> Office:
    monkeypatch.setattr(settling, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(settling, "_LOOK_SECONDS", 0.01)
    made = Office()
    await made.begin()
    return made


async def head(office: Office, *, tiles: int) -> list[Outbound]:
    """The state of the round, which names how many records the partition got."""
    state = StateTopic((await office.parts()).author, topics.NOTARY_STATE, 0)
    await state.restore(office.bus.reader(topics.NOTARY_STATE, 0, committed=True), office.trust())
    return list(state.stage({}, {"round": ROUND, "records": {f"{topics.TILES}/1": tiles}}).records)


async def write(office: Office, records: list[Outbound], fault: Fault | None = None) -> None:
    """One transaction of the notary's, and what becomes of it."""
    writer = office.bus.writer(ID)
    await writer.start()
    if fault is None:
        await writer.commit(records)
        return
    office.cluster.fail_next_commit(fault, ID)
    with pytest.raises(InDoubt):
        await writer.commit(records)


async def settled(office: Office) -> int:
    """Settle as a successor does; return how many records of the round are committed in the partition."""
    writer = office.bus.writer(ID)
    await writer.start()
    await settling.settle(office.bus, office.trust(), writer, PARTITIONS)
    return sum(record.header(ROUND_HEADER) is not None for record in office.read(topics.TILES, 1))


async def test_a_whole_round_is_committed(office: Office) -> None:
    """Its head and all that the head names are there."""
    await write(office, [TILE, *await head(office, tiles=1)], Fault.UNMARKED)
    assert await settled(office) == 1


@pytest.mark.parametrize("tiles", [None, 2])
async def test_a_foreign_record_behind_a_broken_round(office: Office, tiles: int | None) -> None:
    """It names no round, and has no say: the round is aborted, since a record of it, or its head, never came."""
    rest = [] if tiles is None else await head(office, tiles=tiles)
    await write(office, [TILE, *rest], Fault.UNMARKED)
    await office.raw(FOREIGN)
    assert await settled(office) == 0


async def test_an_aborted_attempt_of_the_same_round_does_not_count(office: Office) -> None:
    """Rounds that sign nothing are numbered again when they fail: the earlier records are not the open ones."""
    await write(office, [TILE], Fault.LOST)
    await write(office, [TILE, *await head(office, tiles=1)], Fault.UNMARKED)
    assert await settled(office) == 1


async def test_a_place_that_is_at_rest_has_what_is_committed(office: Office) -> None:
    """The end was left out of the state topic alone; elsewhere, readers have the round, and not the aborted attempt."""
    await write(office, [TILE], Fault.LOST)
    await write(office, [TILE])
    await write(office, await head(office, tiles=1), Fault.UNMARKED)
    await settled(office)
    assert len(office.read(topics.NOTARY_STATE)) == len(office.read(topics.NOTARY_STATE, committed=False)) == 1
