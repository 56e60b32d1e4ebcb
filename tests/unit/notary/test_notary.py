"""The notary over a bus in memory: what it publishes, what it reports, and where it refuses."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.support.deployment import cancelled, until
from tests.support.notary_log import NotaryKeys
from tests.support.notary_office import SETTINGS, Office
from tests.support.people import PARTITIONS, START_MS, certificate, key_on, signer

from keyfold.bus import Inbound, MemoryBus, MemoryCluster, Outbound
from keyfold.bus.memory.bus import MemoryReader
from keyfold.events import facts, topics
from keyfold.events.signatures import Signer
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.log import NotCertified, StateCorrupt
from keyfold.notary import notary as notary_module
from keyfold.notary.feed import Budget, Feed
from keyfold.notary.notary import Notary
from keyfold.notary.position import Expected, Position, Restored
from keyfold.notary.restoring import Taken, restore
from keyfold.notary.service import Service


class AskingBus(MemoryBus):
    """Its readers note how many records they are asked for; Kafka's refuse to be asked for none."""

    def __init__(self, cluster: MemoryCluster) -> None:
        super().__init__(cluster)
        self.asked: list[int] = []

    def reader(self, topic: str, partition: int, *, committed: bool) -> MemoryReader:
        """A reader that notes what it is asked for."""
        asked = self.asked

        class Reader(MemoryReader):
            async def poll(self, timeout_s: float, max_records: int = 500) -> list[Inbound]:
                asked.append(max_records)
                return await super().poll(timeout_s, max_records)

        return Reader(self.cluster, topic, partition, committed=committed)


@pytest.fixture
async def office() -> Office:
    made = Office()
    await made.begin()
    return made


def revocation(key: Signer, last_valid: dict[str, int]) -> facts.Event:
    """Root's word that a key is not to be believed after these statements."""
    return facts.ServiceKeyRevoked.new(
        "root.9", REGISTRY, to_text(START_MS), public_key=key.public_key.hex(), last_valid=last_valid
    )


async def test_every_record_gets_a_checkpoint(office: Office) -> None:
    """Each partition that grows has a new one, with a proof from the one before; others have none."""
    async with office.notary():
        await office.signed()
        for count in (1, 5, 300):
            await office.write(2, count)
            await office.signed()
    office.assert_proven()
    assert [checkpoint.size for _, checkpoint in office.checkpoints(0)] == [4]
    assert [checkpoint.size for _, checkpoint in office.checkpoints(2)] == [1, 6, 306]
    assert office.checkpoints(1) == []


async def test_nothing_is_written_while_nothing_happens(office: Office) -> None:
    """Neither transactions nor tree heads."""
    async with office.notary():
        await office.signed()
        before = office.read(topics.NOTARY_STATE), len(office.token.kept)
        await asyncio.sleep(0.1)
        assert (office.read(topics.NOTARY_STATE), len(office.token.kept)) == before


async def test_a_successor_goes_on(office: Office) -> None:
    """It reads on from where the first one stood, and its checkpoints extend the first one's."""
    for count in (3, 1, 260):
        await office.write(1, count)
        await office.write(3, count)
        async with office.notary():
            await office.signed()
    office.assert_proven()
    assert [checkpoint.size for _, checkpoint in office.checkpoints(1)] == [3, 4, 264]


async def test_a_long_log_is_signed_in_rounds(office: Office) -> None:
    """One round reads a bounded number of records of all partitions together, and asks for none when it is full."""
    await office.write(1, 500)
    await office.write(2, 500)
    bus, known = AskingBus(office.cluster), SETTINGS.model_copy(update={"round_records": 300, "poll_records": 70})
    async with office.notary(bus, settings=known):
        await office.signed()
    assert min(bus.asked) >= 1
    office.assert_proven()
    assert len(office.checkpoints(1)) + len(office.checkpoints(2)) >= 4


async def test_the_state_stays_small(office: Office) -> None:
    """A position holds the depth of the tree, not its leaves."""
    async with office.notary():
        await office.write(1, 2000)
        await office.signed()
    sizes = [len(r.value or b"") for r in office.read(topics.NOTARY_STATE) if r.key == b"partition/1"]
    assert max(sizes) < 2000


async def test_a_forgery_is_a_leaf_and_is_reported(office: Office) -> None:
    """It stops nothing: the tree has it, a dead letter and the state say so."""
    async with office.notary():
        await office.write(1)
        await office.forge(1, 2)
        await office.write(1)
        await office.signed()
        await until(lambda: len(office.dead_letters()) == 2)
    office.assert_proven()
    assert office.size(1) == 4
    assert b'"service":"notary"' in (office.dead_letters()[0].value or b"")
    assert b'"untrusted":2' in (office.read(topics.NOTARY_STATE)[-1].value or b"")


@pytest.mark.parametrize(
    "kind", ["another role's type", "no event", "another subject", "no object", "half a character", "a deep value"]
)
async def test_a_signed_record_that_its_author_may_not_write_is_reported(office: Office, kind: str) -> None:
    """A valid signature of a service is not enough: type and subject must be its own."""
    event = office.event(1)
    certified = facts.ServiceKeyRevoked.new("x", event.subject, to_text(START_MS), public_key="0" * 64, last_valid={})
    value = {
        "another role's type": certified.to_value(), "no event": b"{}", "no object": b"[]",
        "half a character": b'{"type":"%s","subject":"\\ud800"}' % event.type.encode(),
        "a deep value": b"[" * 200_000,
        "another subject": event.to_value().replace(event.subject.encode(), key_on(1, 900).encode()),
    }[kind]  # fmt: skip
    await office.raw(*office.policy.sign([Entry(event.subject.encode(), value)], 1))
    await office.write(1)
    async with office.notary():
        await office.signed()
        await until(lambda: len(office.dead_letters()) == 1)
    office.assert_proven()


async def test_a_repeated_record_is_reported(office: Office) -> None:
    """It is authentic, stands in the wrong place, and is a leaf once more."""
    await office.write(1)
    (record,) = office.read(topics.EVENTS, 1)
    await office.raw(Outbound(topics.EVENTS, 1, record.key, record.value, record.headers))
    async with office.notary():
        await office.signed()
        await until(lambda: len(office.dead_letters()) == 1)
    assert b"ChainRepeat" in (office.dead_letters()[0].value or b"")
    office.assert_proven()


async def test_a_gap_stops_its_partition_alone(office: Office) -> None:
    """What stands before the gap is signed, nothing after it; the other partitions go on, also after a restart."""
    await office.write(1, 3)
    office.policy.heads[topics.EVENTS, 1] = ChainHead(7, "f" * 64)
    await office.write(1, 3)
    for _ in range(2):
        await office.write(2, 3)
        async with office.notary():
            await until(lambda: office.size(2) == len(office.leaves(2)) and office.size(1) == 3)
            await until(lambda: b'"trouble":"ChainGap"' in (office.read(topics.NOTARY_STATE)[-1].value or b""))
    assert [checkpoint.size for _, checkpoint in office.checkpoints(1)] == [3]


async def test_a_key_that_was_certified_a_moment_ago_is_believed(office: Office) -> None:
    """Root's word may be read after the first record that it licenses."""
    fresh = signer("policy, renewed")
    async with office.notary():
        await office.signed()
        await office.root.write(certificate("policy", fresh))
        await office.write_signed(1, fresh)
        await office.signed()
    assert office.dead_letters() == []


async def test_certificates_are_looked_up_once_for_a_batch(office: Office) -> None:
    """All records behind the first one of an unknown key are judged by what root says then, each in its place."""
    fresh, told = signer("policy, renewed"), list[str]()

    async def report(_record: Inbound, reason: str) -> None:
        told.append(reason)

    parts = await office.parts()
    await office.write(1, 2)
    await office.root.write(certificate("policy", fresh))
    for count in (1, 3, 1):
        await office.write_signed(1, fresh, count)
    await office.raw(*office.policy.sign([Entry(key_on(1).encode(), b"{}"), Entry(key_on(1).encode(), b"[]")], 1))
    reader = office.bus.reader(topics.EVENTS, 1, committed=True)
    feed = Feed(1, PARTITIONS, Restored(Position(), Expected()), reader, report)
    await feed.start()
    await feed.read(parts.keeper, Budget(100, 100))
    after, _ = feed.draft()
    assert told == ["UntrustedRecord: a signed record is no event"] * 2
    assert (after.tree.size, after.untrusted, after.places["policy"].head.n) == (9, 2, 5)
    assert after.signers == {office.policy.author.fingerprint: 5, fresh.fingerprint: 4}


async def test_a_revocation_is_obeyed_by_what_was_read_before(office: Office) -> None:
    """Statements that it takes back were believed: their chain is read anew, and the tree goes on."""
    thief = signer("policy, stolen")
    await office.root.write(certificate("policy", thief))
    await office.write(1)
    honest = dict(office.policy.heads)
    await office.write_signed(1, thief, 2)
    async with office.notary():
        await office.signed()
        assert office.dead_letters() == []
        last = {f"{topics.EVENTS}/1": honest[topics.EVENTS, 1].n}
        await office.root.write(revocation(thief, last))
        office.policy.heads = honest
        await office.write(1)
        await office.signed()
        await until(lambda: len(office.dead_letters()) == 2)
    office.assert_proven()


async def test_a_revocation_is_obeyed_that_comes_during_a_take_over(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was restored was judged without it: it is judged again before anything is signed."""
    thief = signer("policy, stolen")
    await office.root.write(certificate("policy", thief))
    await office.write(1)
    honest = dict(office.policy.heads)
    await office.write_signed(1, thief, 2)
    async with office.notary():
        await office.signed()
    office.policy.heads = honest
    calls = 0

    async def slow(*arguments: Any, **known: Any) -> Taken:
        nonlocal calls
        calls += 1
        taken = await restore(*arguments, **known)
        if calls == 1:
            await office.root.write(revocation(thief, {f"{topics.EVENTS}/1": honest[topics.EVENTS, 1].n}))
            await until(lambda: parts.keeper.trust.revocations)
        return taken

    monkeypatch.setattr(notary_module, "restore", slow)
    parts = await office.parts()
    follow, task = asyncio.create_task(parts.keeper.follow(0.01)), asyncio.create_task(Notary(parts).run())
    await until(lambda: calls > 1)
    await office.write(1)
    await office.signed()
    await cancelled(task)
    await cancelled(follow)
    await parts.keeper.stop()
    office.assert_proven()
    assert b'"trouble":"' not in (office.read(topics.NOTARY_STATE)[-1].value or b"")


async def test_without_a_certificate_nothing_is_signed(office: Office) -> None:
    """It waits for root's word, and then signs what has gathered."""
    uncertified = Office()
    await uncertified.begin(certified=False)
    async with uncertified.notary() as notary:
        await asyncio.sleep(0.05)
        assert not notary.running.is_set()
        assert uncertified.token.kept == []
        await uncertified.root.write(uncertified.keys.certificate())
        await uncertified.signed()
    uncertified.assert_proven()


async def test_both_keys_must_be_certified(office: Office) -> None:
    """An Ed25519 key that was certified with another ML-DSA key, or none, signs nothing."""
    office.token.checkpoint_key = NotaryKeys("another").checkpoint_key
    parts = await office.parts()
    with pytest.raises(NotCertified, match="checkpoint key"):
        parts.author.check()


async def test_a_foreign_state_is_refused(office: Office) -> None:
    """Whoever writes to the state topic does not change what the notary believes: it stops."""
    await office.write(1)
    async with office.notary():
        await office.signed()
    await office.raw(Outbound(topics.NOTARY_STATE, 0, b"partition/1", b"{}"))
    with pytest.raises(StateCorrupt):
        await Notary(await office.parts()).run()


async def test_a_foreign_checkpoint_binds_nobody(office: Office) -> None:
    """What is not signed by the log's own keys is reported and passed over."""
    await office.write(1)
    async with office.notary():
        await office.signed()
    genuine = office.read(topics.CHECKPOINTS)[-1]
    foreign = (genuine.value or b"").replace(b"\n1\n", b"\n9\n")
    await office.raw(Outbound(topics.CHECKPOINTS, 0, genuine.key, foreign))
    await office.write(1)
    async with office.notary():
        await until(lambda: len(office.read(topics.CHECKPOINTS)) == 4)


async def test_it_is_ready_when_all_of_the_log_is_signed(office: Office) -> None:
    """Not after its first round; and a partition that has stopped keeps nobody waiting."""
    await office.write(1, 3)
    office.policy.heads[topics.EVENTS, 1] = ChainHead(7, "f" * 64)
    await office.write(1, 3)
    await office.write(2, 500)
    sizes = list[tuple[int, int]]()
    parts = await office.parts(settings=SETTINGS.model_copy(update={"round_records": 50, "poll_records": 50}))
    task = asyncio.create_task(Service(parts, "0", lambda: sizes.append((office.size(1), office.size(2)))).run())
    await until(lambda: sizes)
    await office.write(2)
    await until(lambda: office.size(2) == 501)
    await cancelled(task)
    await parts.keeper.stop()
    assert sizes == [(3, 500)]


async def test_two_notaries_are_one(office: Office) -> None:
    """Two processes that both believe to be wanted fence each other, and what they publish is one history."""
    async with office.notary(), office.notary():
        for _ in range(20):
            await office.write(1)
            await asyncio.sleep(0.005)
        await office.signed()
    office.assert_proven()


async def test_a_defect_is_restored_from(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody expected costs a restore, nothing else."""
    parts = await office.parts()
    calls = iter([ValueError("a defect")])

    def check() -> None:
        for error in calls:
            raise error

    author = replace(parts.author, check=check)
    notary = Notary(replace(parts, author=author))
    task = asyncio.create_task(notary.run())
    await office.signed()
    task.cancel()
    await asyncio.wait({task})
    office.assert_proven()
