"""The notary when transactions fail, tokens fail and processes die; and when its log, state or token is turned back.

Whatever happens, all checkpoints that were ever published are one history, which is that of the log; or the notary
refuses, and says what contradicts what.
"""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from tests.support.deployment import cancelled, until
from tests.support.notary_office import ID, SETTINGS, Office
from tests.support.notary_token import Died, failing
from tests.support.people import key_on

from keyfold.bus import Fault, MemoryBus, Outbound
from keyfold.bus.memory.bus import MemoryWriter
from keyfold.events import topics
from keyfold.notary import feed, settling
from keyfold.notary.notary import Notary

WAVES = (1, 3, 260, 2)
PARTITION = 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a predecessor's transaction may rest is of no interest here."""
    monkeypatch.setattr(settling, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(settling, "_LOOK_SECONDS", 0.01)


@pytest.fixture
async def office() -> Office:
    made = Office()
    await made.begin()
    return made


async def dies(office: Office) -> None:
    """Write until a notary has died at its token."""
    task = asyncio.create_task(Notary(await office.parts()).run())
    async with asyncio.timeout(10):
        while not task.done():
            await office.write(PARTITION, 2)
            await asyncio.sleep(0.02)
    with pytest.raises(Died):
        task.result()


async def write_waves(office: Office) -> None:
    """Write to two partitions, each wave after the one before was signed."""
    for count in WAVES:
        await office.write(PARTITION, count)
        await office.write(2, 2)
        await office.signed()


def bus_of(office: Office, kind: type[MemoryWriter]) -> MemoryBus:
    """A bus whose writers are of a kind."""

    class Bus(MemoryBus):
        def writer(self, transactional_id: str) -> MemoryWriter:
            return kind(self.cluster, transactional_id)

    return Bus(office.cluster)


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("fault", Fault)
async def test_a_commit_fails(office: Office, fault: Fault, at: int) -> None:
    """Whatever becomes of the n-th transaction, lost or landed: the history is whole, and nothing is told twice."""
    writes = 0

    class Counting(MemoryWriter):
        async def commit(self, records: Sequence[Outbound]) -> list[int]:
            nonlocal writes
            if writes == at:
                office.cluster.fail_next_commit(fault, ID)
            writes += 1
            return await super().commit(records)

    async with office.notary(bus_of(office, Counting)):
        await write_waves(office)
    assert writes > at
    office.assert_proven()


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("fault", Fault)
async def test_a_process_dies_in_its_commit(office: Office, fault: Fault, at: int) -> None:
    """It does not learn what became of its transaction; its successor finds out from topics and token."""
    died, writes = asyncio.Event(), 0

    class Dying(MemoryWriter):
        async def commit(self, records: Sequence[Outbound]) -> list[int]:
            nonlocal writes
            writes += 1
            if writes <= at:
                return await super().commit(records)
            office.cluster.fail_next_commit(fault, ID)
            try:
                return await super().commit(records)
            finally:
                died.set()
                await asyncio.sleep(3600)

    async with office.notary(bus_of(office, Dying)):
        async with asyncio.timeout(10):
            while not died.is_set():
                await office.write(PARTITION, 2)
                await asyncio.sleep(0.02)
    async with office.notary():
        await office.signed()
    office.assert_proven()


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_token_fails(office: Office, when: str, at: int) -> None:
    """Heads that were not kept, or kept but reported as failed: it restores, and goes on where the token stands."""
    office.token.fail = failing(at, when)
    async with office.notary():
        await write_waves(office)
    office.assert_proven()
    assert len(office.token.kept) > at


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_process_dies_at_the_token(office: Office, when: str, at: int) -> None:
    """After the heads were kept, the token is ahead of the topics: the successor reads on to just that tree."""
    office.token.fail = failing(at, when, Died())
    await dies(office)
    kept = office.token.heads()
    async with office.notary():
        await office.signed()
    office.assert_proven()
    # Nothing below what the token knew was signed after it.
    assert all(size <= office.size(partition) for partition, (size, _) in kept.heads.items())


async def test_cancelled_at_every_await(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may be stopped at any await: a new one finishes the work."""

    async def at_once(call: Callable[..., object], *arguments: object) -> object:
        await asyncio.sleep(0)
        return call(*arguments)

    # Then nothing on the way waits for a thread or a timer.
    monkeypatch.setattr(asyncio, "to_thread", at_once)
    monkeypatch.setattr(feed, "_COMPANIONS_S", 0.0)
    finished = False
    for steps in range(0, 1000, 2):
        office = Office()
        await office.begin()
        await office.write(PARTITION, 5)
        task = asyncio.create_task(Notary(await office.parts()).run())
        for _ in range(steps):
            await asyncio.sleep(0)
        finished = office.size(PARTITION) == 5
        await cancelled(task)
        async with office.notary():
            await office.signed()
        office.assert_proven()
        if finished:
            break
    assert finished
    assert steps > 10


async def test_the_state_was_turned_back(office: Office) -> None:
    """An older state is a place to read on from; what was published since is neither signed nor written again."""
    async with office.notary():
        await office.write(PARTITION, 3)
        await office.signed()
        older = office.entries(topics.NOTARY_STATE)
        await office.write(PARTITION, 300)
        await office.signed()
    published = len(office.read(topics.CHECKPOINTS))
    office.rewind(older, topics.NOTARY_STATE)
    async with office.notary() as notary:
        await until(notary.running.is_set)
        assert len(office.read(topics.CHECKPOINTS)) == published
        await office.write(PARTITION)
        await office.signed()
    office.assert_proven()


async def test_the_state_is_gone(office: Office) -> None:
    """It is made anew from the log, and must lead to all that was published."""
    async with office.notary():
        await write_waves(office)
    office.rewind(0, topics.NOTARY_STATE)
    async with office.notary(settings=SETTINGS.model_copy(update={"round_records": 50})):
        await office.write(PARTITION)
        await office.signed()
    office.assert_proven()


@pytest.mark.parametrize("kept", [0, 1])
async def test_the_token_was_turned_back(office: Office, kept: int) -> None:
    """An older copy of the token, or an empty one with the same keys: what was published binds all the same."""
    async with office.notary():
        await write_waves(office)
    office.token.rewind(kept)
    async with office.notary():
        await office.write(PARTITION)
        await office.signed()
    office.assert_proven()


async def test_state_and_token_were_turned_back(office: Office) -> None:
    """The checkpoints that others have seen are enough: none is contradicted."""
    async with office.notary():
        await office.write(PARTITION, 3)
        await office.signed()
        older, kept = office.entries(topics.NOTARY_STATE), len(office.token.kept)
        await office.write(PARTITION, 5)
        await office.signed()
    office.rewind(older, topics.NOTARY_STATE)
    office.token.rewind(kept)
    await office.write(PARTITION)
    async with office.notary():
        await office.signed()
    office.assert_proven()


@pytest.mark.parametrize("round_records", [7, 10_000])
async def test_all_topics_of_the_notary_were_turned_back(office: Office, round_records: int) -> None:
    """Only the token knows how far it was: nothing is signed before the log has led there, in however many rounds."""
    async with office.notary():
        await office.write(PARTITION, 3)
        await office.signed()
        ends = {topic: office.entries(topic) for topic in (topics.NOTARY_STATE, topics.CHECKPOINTS)}
        tiles = office.entries(topics.TILES, PARTITION)
        await office.write(PARTITION, 60)
        await office.signed()
    for topic, end in ends.items():
        office.rewind(end, topic)
    office.rewind(tiles, topics.TILES, PARTITION)
    await office.write(PARTITION, 2)
    async with office.notary(settings=SETTINGS.model_copy(update={"round_records": round_records})):
        await office.signed()
    office.assert_proven()
    assert min(c.size for _, c in office.checkpoints(PARTITION) if c.size > 3) >= 63


async def forked(office: Office) -> None:
    """Sign, then exchange the last record of a partition for others."""
    async with office.notary():
        await office.write(PARTITION, 3)
        before, head = office.entries(topics.EVENTS, PARTITION), dict(office.policy.heads)
        await office.write(PARTITION, 2)
        await office.signed()
    office.rewind(before, topics.EVENTS, PARTITION)
    office.policy.heads = head


async def refuses(office: Office, code: str) -> None:
    """Run a notary that goes on with partition 2, and signs nothing of the other any more."""
    published = office.size(PARTITION)
    async with office.notary():
        await office.write(2)
        await until(lambda: office.size(2) == len(office.leaves(2)))
        await until(lambda: f'"trouble":"{code}"'.encode() in (office.read(topics.NOTARY_STATE)[-1].value or b""))
        await asyncio.sleep(0.05)
    assert office.size(PARTITION) == published


async def test_a_forked_log_is_never_signed(office: Office) -> None:
    """Other records in the place of signed ones: the partition stops for good, and names the size."""
    await forked(office)
    await office.write(PARTITION, 4)
    office.rewind(0, topics.NOTARY_STATE)  # the state would not even read that far back
    for _ in range(2):
        await refuses(office, "LogContradictsHead")


async def test_a_forked_log_behind_a_head_that_nobody_saw(office: Office) -> None:
    """The token alone had kept the head, in the moment of a crash: that is enough to refuse another log."""
    await office.write(PARTITION, 3)
    async with office.notary():
        await office.signed()
    before, head = office.entries(topics.EVENTS, PARTITION), dict(office.policy.heads)
    office.token.fail = failing(0, "after", Died())
    await dies(office)
    office.rewind(before, topics.EVENTS, PARTITION)
    office.policy.heads = head
    await office.write(PARTITION, 50)
    await refuses(office, "LogContradictsHead")


async def test_a_log_that_was_cut_off(office: Office) -> None:
    """Fewer records than were signed: the position is gone; with a fresh state, the end comes too early."""
    await forked(office)
    await refuses(office, "PositionLost")
    office.rewind(0, topics.NOTARY_STATE)
    await refuses(office, "LogEndsEarly")


async def test_an_edited_record(office: Office) -> None:
    """One byte of a signed record changed on the broker's disk, and the state gone: it is found."""
    async with office.notary():
        await office.write(PARTITION, 5)
        await office.signed()
    log = office.cluster.log(topics.EVENTS, PARTITION)
    place = next(n for n, entry in enumerate(log._entries) if entry.record is not None)
    entry = log._entries[place]
    assert entry.record is not None
    changed = entry.record.__class__(
        topics.EVENTS, PARTITION, entry.record.offset, entry.record.timestamp_ms, entry.record.key,
        (entry.record.value or b"").replace(key_on(PARTITION).encode(), key_on(PARTITION, 900).encode()),
        entry.record.headers,
    )  # fmt: skip
    log._entries[place] = entry.__class__(changed, entry.transaction)
    office.rewind(0, topics.NOTARY_STATE)
    await refuses(office, "LogContradictsHead")
