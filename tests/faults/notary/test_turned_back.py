"""The notary when its topics or its token were turned back to an earlier time.

Whatever happens, all checkpoints that were ever published are one history, which is that of the log.
"""

from collections.abc import Awaitable, Callable

import pytest
from tests.faults.notary.waves import PARTITION, write_waves
from tests.support.deployment import until
from tests.support.notary_office import SETTINGS, Office
from tests.support.people import START_MS, certificate, signer

from keyfold.events import facts, topics
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.notary import notary as notary_module


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
