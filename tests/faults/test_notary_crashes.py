"""The notary when transactions fail, tokens fail and processes die; and when its log, state or token is turned back.

Whatever happens, all checkpoints that were ever published are one history, which is that of the log; or the notary
refuses, and says what contradicts what.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest
from tests.support.deployment import cancelled, until
from tests.support.log_lines import log_lines
from tests.support.notary_office import ID, SETTINGS, Office
from tests.support.notary_token import Died, failing
from tests.support.people import DEPLOYMENT, START_MS, certificate, key_on, signer

from keyfold.bus import Fault, MemoryBus, Outbound
from keyfold.bus.memory.bus import MemoryWriter
from keyfold.events import facts, topics
from keyfold.events.checkpoints import Checkpoint, origin_of
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.notary import feed, settling
from keyfold.notary import notary as notary_module
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


@pytest.mark.parametrize("call", ["recover", "heads", "keep"])
async def test_the_token_does_not_answer(office: Office, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that hangs is given up in time, and said; what it does in the end, a round later, does no harm."""
    answer, original, calls = threading.Event(), getattr(office.token, call), 0

    def hanging(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            answer.wait(20)
        return original(*arguments)

    monkeypatch.setattr(office.token, call, hanging)
    try:
        with log_lines(notary_module) as lines:
            async with office.notary(settings=SETTINGS.model_copy(update={"token_s": 0.2})):
                await write_waves(office)
                answer.set()
                await write_waves(office)
    finally:
        answer.set()
    office.assert_proven()
    assert "TokenUnavailable" in [line.get("code") for line in lines]


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


async def state_older(office: Office) -> None:
    """The state is from before most of what was published."""
    async with office.notary():
        await office.write(PARTITION, 3)
        await office.signed()
        older = office.entries(topics.NOTARY_STATE)
        await office.write(PARTITION, 300)
        await office.signed()
    office.rewind(older, topics.NOTARY_STATE)


async def state_gone(office: Office) -> None:
    """There is no state."""
    async with office.notary():
        await office.write(PARTITION, 303)
        await office.signed()
    office.rewind(0, topics.NOTARY_STATE)


async def beliefs_gone(office: Office) -> None:
    """A revocation takes back what was believed, so that the partition is read anew."""
    thief = signer("policy, stolen")
    await office.root.write(certificate("policy", thief))
    honest = dict(office.policy.heads)
    await office.write_signed(PARTITION, thief, 303)
    office.policy.heads = honest
    async with office.notary():
        await office.signed()
        await office.write(2)  # a round later, the state has left the partition's checkpoints behind
        await office.signed()
    await office.root.write(
        facts.ServiceKeyRevoked.new(
            "root.9", REGISTRY, to_text(START_MS), public_key=thief.public_key.hex(), last_valid={}
        )
    )


@pytest.mark.parametrize("lost", [state_older, state_gone, beliefs_gone])
async def test_a_restore_before_all_that_was_published_is_read(
    office: Office, lost: Callable[[Office], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is still known what was published: neither is it written again, nor is a proof left out."""
    await lost(office)
    rounds, original = 0, notary_module._Live.round

    async def interrupted(live: notary_module._Live) -> bool:
        nonlocal rounds
        rounds += 1
        is_behind = await original(live)
        if rounds == 4:
            raise ValueError("a defect")
        return is_behind

    monkeypatch.setattr(notary_module._Live, "round", interrupted)
    known = SETTINGS.model_copy(update={"round_records": 20, "poll_records": 20})
    async with office.notary(settings=known):
        await office.write(PARTITION)
        await office.signed()
    assert rounds > 4
    office.assert_proven()


async def forked(office: Office) -> None:
    """Sign, then exchange the last record of a partition for others."""
    async with office.notary():
        await office.write(PARTITION, 3)
        before, head = office.entries(topics.EVENTS, PARTITION), dict(office.policy.heads)
        await office.write(PARTITION, 2)
        await office.signed()
    office.rewind(before, topics.EVENTS, PARTITION)
    office.policy.heads = head


async def refuses(office: Office, code: str, *, grows: bool = True) -> None:
    """Run a notary that goes on with partition 2, if that grows, and signs nothing of the other any more."""
    published, said = office.checkpoints(PARTITION), office.entries(topics.NOTARY_STATE)
    async with office.notary():
        if grows:
            await office.write(2)
        await until(lambda: office.size(2) == len(office.leaves(2)))
        await until(lambda: office.entries(topics.NOTARY_STATE) > said)
        await until(lambda: f'"trouble":"{code}"'.encode() in (office.read(topics.NOTARY_STATE)[-1].value or b""))
        await asyncio.sleep(0.05)
    assert office.checkpoints(PARTITION) == published


async def test_a_forked_log_is_never_signed(office: Office) -> None:
    """Other records in the place of signed ones: the partition stops for good, and names the size."""
    await forked(office)
    await office.write(PARTITION, 4)
    office.rewind(0, topics.NOTARY_STATE)  # the state would not even read that far back
    for _ in range(2):
        await refuses(office, "LogContradictsHead")


async def test_a_forked_log_is_never_signed_although_only_checkpoints_remember(office: Office) -> None:
    """State and token were turned back as well: what was published binds at every start, not at the first alone."""
    await forked(office)
    await office.write(PARTITION, 4)
    office.rewind(0, topics.NOTARY_STATE)
    office.token.rewind(0)
    for grows in (False, False, True, False):
        await refuses(office, "LogContradictsHead", grows=grows)


async def test_what_has_stopped_does_not_end_early(office: Office) -> None:
    """A partition that is read no more is complained of once, for what has stopped it."""
    await forked(office)
    await office.write(PARTITION, 4)
    office.rewind(0, topics.NOTARY_STATE)
    known = SETTINGS.model_copy(update={"short_log_s": 0.0})
    with log_lines(feed) as lines:
        async with office.notary(settings=known):
            for _ in range(5):
                await office.write(2)
                await until(lambda: office.size(2) == len(office.leaves(2)))
    assert [line["event"] for line in lines] == ["partition-stopped"]


async def test_two_checkpoints_of_one_size(office: Office) -> None:
    """The notary's own keys signed another root of a size: whichever is right, nothing is signed at any start."""
    async with office.notary():
        await office.write(PARTITION, 3)
        await office.signed()
    origin = origin_of(DEPLOYMENT, PARTITION)
    other = office.keys.note(Checkpoint(origin, 3, bytes(32))).to_bytes()
    await office.raw(Outbound(topics.CHECKPOINTS, 0, origin.encode(), other))
    await office.write(PARTITION, 2)
    for _ in range(2):
        await refuses(office, "LogContradictsHead", grows=False)


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
