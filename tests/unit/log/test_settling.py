"""What a transaction left open is committed where it is whole, aborted where it is not, and never guessed about."""

from dataclasses import replace

import pytest
from tests.support.keeper import Keeper

from keyfold.bus import Fault, InDoubt, MemoryBus, MemoryCluster, Outbound
from keyfold.events import topics
from keyfold.events.statements import ChainHead
from keyfold.log import Unsettled, settling
from keyfold.log.verdicts import Found, Statements, verdicts

STATE = topics.HSM_STATE
EVENTS = topics.EVENTS
KEYSTORE = topics.KEYSTORE


def end(n: int) -> ChainHead:
    return ChainHead(n, f"{n:064x}")


def statements(*numbers: int, leaves: int = 2, there: int = 2) -> Statements:
    found = Statements()
    for n in numbers:
        for leaf in range(there):
            found.add(end(n), leaf, leaves)
    return found


CALM = Found({EVENTS: end(3), KEYSTORE: end(1)}, [], False, {}, {})


def test_nothing_open_needs_nothing() -> None:
    """A log at rest gives no verdict, also before the first head."""
    assert verdicts(STATE, CALM) == {}
    assert verdicts(STATE, replace(CALM, committed_head=None)) == {}


def test_a_whole_transaction_is_committed_everywhere() -> None:
    """Its head is open, and all statements that the head names are in the log."""
    found = replace(
        CALM, open_heads=[{EVENTS: end(4), KEYSTORE: end(1)}], state_open=True, open={EVENTS: statements(4)}
    )
    assert verdicts(STATE, found) == {STATE: True, EVENTS: True}


def test_a_transaction_that_readers_see_elsewhere_is_committed() -> None:
    """Its end was left out in the state topic only."""
    found = replace(
        CALM, open_heads=[{EVENTS: end(4), KEYSTORE: end(1)}], state_open=True, committed={EVENTS: statements(3, 4)}
    )
    assert verdicts(STATE, found) == {STATE: True}


def test_an_incomplete_transaction_is_aborted_everywhere() -> None:
    """A leaf that the head names never came: nobody was told that it was committed."""
    lacking = statements(4, there=1)
    found = replace(CALM, open_heads=[{EVENTS: end(4), KEYSTORE: end(1)}], state_open=True, open={EVENTS: lacking})
    assert verdicts(STATE, found) == {STATE: False, EVENTS: False}


def test_a_transaction_whose_other_part_was_aborted_is_aborted() -> None:
    """A statement that is neither open nor committed was aborted there."""
    head = {EVENTS: end(4), KEYSTORE: end(2)}
    found = replace(CALM, open_heads=[head], state_open=True, open={KEYSTORE: statements(2)})
    assert verdicts(STATE, found) == {STATE: False, KEYSTORE: False}


def test_state_records_without_a_head_are_aborted() -> None:
    """A transaction that broke off before its head."""
    assert verdicts(STATE, replace(CALM, state_open=True)) == {STATE: False}


def test_other_topics_follow_the_state() -> None:
    """What the committed head names is committed, what goes beyond is aborted."""
    found = replace(CALM, open={EVENTS: statements(3), KEYSTORE: statements(2)})
    assert verdicts(STATE, found) == {EVENTS: True, KEYSTORE: False}


def test_what_cannot_be_told_apart_is_not_guessed() -> None:
    """One end would end both: the partition stays stopped."""
    with pytest.raises(Unsettled):
        verdicts(STATE, replace(CALM, open={EVENTS: statements(3, 4)}))
    heads = [{EVENTS: end(4), KEYSTORE: end(1)}, {EVENTS: end(5), KEYSTORE: end(1)}]
    with pytest.raises(Unsettled):
        verdicts(STATE, replace(CALM, open_heads=heads, state_open=True, open={EVENTS: statements(4)}))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> MemoryCluster:
    monkeypatch.setattr(settling, "WAIT_SECONDS", 0.2)
    return MemoryCluster()


async def test_a_commit_whose_end_was_left_out_stands_after_the_next_take_over(cluster: MemoryCluster) -> None:
    """It is not done again: the restored state is the one behind it."""
    keeper = Keeper(MemoryBus(cluster), 2)
    writer = await keeper.take_over()
    await keeper.write(writer)
    cluster.fail_next_commit(Fault.UNMARKED)
    with pytest.raises(InDoubt):
        await keeper.write(writer, leaves=3)
    assert len(await keeper.committed()) == 1
    await keeper.take_over()
    assert (keeper.count, keeper.head.n) == (2, 2)
    assert [record.value for record in await keeper.committed()] == [b"0.0", b"1.0", b"1.1", b"1.2"]


async def test_a_part_of_a_transaction_is_gone_after_the_next_take_over(cluster: MemoryCluster) -> None:
    """Events without their head never happened, and the numbers go on from the state."""
    keeper = Keeper(MemoryBus(cluster), 2)
    writer = await keeper.take_over()
    await keeper.write(writer)
    cluster.fail_next_commit(Fault.UNMARKED)
    with pytest.raises(InDoubt):
        await writer.commit(keeper.prepare()[0])
    writer = await keeper.take_over()
    await keeper.write(writer)
    assert (keeper.count, keeper.head.n) == (2, 2)
    assert [record.value for record in await keeper.committed()] == [b"0.0", b"1.0"]
    log = cluster.log(EVENTS, 2)
    assert log.last_stable == log.high_watermark


async def test_somebody_else_at_work_is_left_alone(cluster: MemoryCluster) -> None:
    """A transaction of another writer on the same topic may be open: it is waited for, then passed over."""
    bus = MemoryBus(cluster)
    keeper, other = Keeper(bus, 2), bus.writer("other")
    await keeper.write(await keeper.take_over())
    await other.start()
    cluster.fail_next_commit(Fault.HANGING, "other")
    with pytest.raises(InDoubt):
        await other.commit([Outbound(EVENTS, 2, b"key", b"value")])
    before = cluster.log(EVENTS, 2).last_stable
    await keeper.take_over()
    assert cluster.log(EVENTS, 2).last_stable == before < cluster.log(EVENTS, 2).high_watermark
