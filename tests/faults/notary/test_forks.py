"""The notary on a log that contradicts what was published: it refuses, and says what contradicts what."""

import asyncio

from tests.faults.notary.waves import PARTITION, dies
from tests.support.deployment import until
from tests.support.log_lines import log_lines
from tests.support.notary_office import SETTINGS, Office
from tests.support.notary_token import Died, failing
from tests.support.people import DEPLOYMENT, key_on

from keyfold.bus import Outbound
from keyfold.events import topics
from keyfold.events.checkpoints import Checkpoint, origin_of
from keyfold.notary import feed


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
