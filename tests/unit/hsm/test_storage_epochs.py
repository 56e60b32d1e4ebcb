"""Storage epochs: every live blob is made anew once, under load and across crashes; then the old key goes.

And the erasure certificate: stated for what was destroyed, once nothing can open it any more.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from tests.unit.hsm.deployment import PARTITIONS, Deployment
from tests.unit.hsm.exchange import Order
from tests.unit.hsm.stand_ins import MemoryCustody, MemorySealing
from tests.unit.hsm.worker import Worker, worker

from keyfold.custody import InvalidBlob, KeyReference
from keyfold.events import facts
from keyfold.events.errors import TokenUnavailable
from keyfold.events.streams import key_stream, partition_of
from keyfold.hsm import material_verbs, upkeep
from keyfold.hsm.keystore import Draft, Index

pytestmark = pytest.mark.asyncio
ALL = range(PARTITIONS)


def key_on(partition: int, number: int) -> str:
    """A key id that lies on a partition."""
    wanted = (f"00000000-0000-4000-8000-{number * 1000 + n:012x}" for n in range(1000))
    return next(key_id for key_id in wanted if partition_of(key_stream(key_id), PARTITIONS) == partition)


def create(deployment: Deployment, key_id: str) -> Order:
    fact = {
        "key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM", "description": "", "tags": {}, "created_by": "alice"
    }  # fmt: skip
    return deployment.order("CreateKey", key_stream(key_id), decided=(facts.KeyCreated, fact))


def destroy(deployment: Deployment, key_id: str) -> Order:
    return deployment.order("DestroyKeyNow", key_stream(key_id), decided=(facts.KeyDestroyed, {"versions": [1]}))


async def begin(deployment: Deployment, running: Worker, epoch: int) -> None:
    """Policy's decision, which everybody reads from events, and its ticket."""
    order = deployment.order("BeginStorageEpoch", decided=(facts.StorageEpochBegun, {"epoch": epoch}))
    await deployment.write(deployment.policy, "keyfold.events", 0, [order.entry()])
    await running.execute(order)


def turned(deployment: Deployment, epoch: int) -> dict[int, int]:
    """Where each partition says that it has turned: partition -> offset."""
    found: dict[int, int] = {}
    for partition in ALL:
        for record in deployment.records("keyfold.events", partition):
            event = facts.parse_event(record.value or b"")
            if isinstance(event, facts.StorageEpochTurned) and event.data.epoch == epoch:
                assert partition not in found, "said once"
                found[partition] = record.offset
    return found


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


def end(deployment: Deployment, epoch: int, places: dict[int, int]) -> Order:
    evidence = [{"partition": partition, "offset": offset} for partition, offset in places.items()]
    return deployment.order("EndStorageEpoch", arguments={"epoch": epoch, "evidence": evidence})


def epochs_of(running: Worker, partition: int) -> list[int]:
    """The epochs of the blobs that the log holds for a partition."""
    index = Index()
    for record in running.deployment.keystore(partition):
        draft = Draft(index)
        draft.fold(record)
        draft.promote()
    blobs = [material.blob for key_id in index.keys for material in index.versions(key_id).values()]
    return [running.custody.epoch_of(blob) for blob in blobs]


class DyingCustody(MemoryCustody):
    """Custody whose token falls silent after so many blobs were made anew."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def rewrap(self, reference: KeyReference, blob: bytes) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise TokenUnavailable
        return super().rewrap(reference, blob)


class BrokenCustody(MemoryCustody):
    """Custody in which some keys' blobs do not open any more."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[bytes] = set()

    def rewrap(self, reference: KeyReference, blob: bytes) -> bytes:
        if reference.key_id in self.broken:
            raise InvalidBlob("damaged")
        return super().rewrap(reference, blob)


def rewrapped(deployment: Deployment, partition: int) -> list[str]:
    """The keys whose blobs were made anew on a partition, as often as that was done."""
    records = deployment.keystore(partition)
    return [record.data.key_id for record in records if isinstance(record, facts.KeyMaterialRewrapped)]


async def test_every_live_blob_is_made_anew_once(deployment: Deployment) -> None:
    """After a turn each key has one record under the new epoch, said by each partition once, and still opens."""
    async with worker(deployment, own=ALL) as running:
        keys = [key_on(1 + n % 3, n) for n in range(9)]
        for key_id in keys:
            await running.execute(create(deployment, key_id))
        await begin(deployment, running, 2)
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS)
        assert sorted(key_id for partition in ALL for key_id in rewrapped(deployment, partition)) == sorted(keys)
        running.custody.held.discard(1)
        running.parts.cache.clear()
        for key_id in keys:
            use = deployment.order("Encrypt", key_stream(key_id), [(0, b"x")], version=1, protection="HSM")
            (answer,) = await running.execute(use)
            assert answer.data.code is None


async def test_a_turn_goes_on_where_a_crash_left_it(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies between two slices leaves some blobs old; the next one makes those anew and no other."""
    monkeypatch.setattr(upkeep, "SLICE", 10)
    custody, sealing = DyingCustody(after=25), MemorySealing()
    key_ids = [key_on(1, n) for n in range(40)]
    async with worker(deployment, custody=custody, sealing=sealing, own=ALL) as running:
        orders = [create(deployment, key_id) for key_id in key_ids]
        await deployment.submit(*orders)
        await until(lambda: len(deployment.records("keyfold.keystore", 1)) == len(orders))
        await begin(deployment, running, 2)
        await until(lambda: custody.left < 0)
    assert 1 not in turned(deployment, 2)
    assert len(rewrapped(deployment, 1)) == 20, "two slices were committed, the third was under way"
    custody.left = 10_000
    async with worker(deployment, custody=custody, sealing=sealing, own=ALL) as running:
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS)
        assert set(epochs_of(running, 1)) == {2}
    assert sorted(rewrapped(deployment, 1)) == sorted(key_ids), "each once"


async def test_keys_are_made_and_used_while_a_partition_turns(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands between the slices get their outcomes, and what they make is under the new epoch already."""
    monkeypatch.setattr(upkeep, "SLICE", 5)
    async with worker(deployment, own=ALL) as running:
        orders = [create(deployment, key_on(1, n)) for n in range(60)]
        await deployment.submit(*orders)
        await until(lambda: len(deployment.records("keyfold.keystore", 1)) == len(orders))
        await begin(deployment, running, 2)
        more = [create(deployment, key_on(1, 5000 + n)) for n in range(20)]
        for order in more:
            await running.execute(order)
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS)
        assert set(epochs_of(running, 1)) == {2}


async def test_the_old_key_goes_when_every_partition_has_said_so(deployment: Deployment) -> None:
    """With evidence of every partition the epoch's key is destroyed, and the answer of the token is stated."""
    async with worker(deployment, own=ALL) as running:
        await begin(deployment, running, 2)
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS)
        order = end(deployment, 1, turned(deployment, 2))
        (answer,) = await running.execute(order)
        assert answer.data.code is None
        assert running.custody.held == {2}
        (stated,) = [e for e in deployment.events(0) if isinstance(e, facts.StorageEpochKeyDestroyed)]
        assert (stated.data.epoch, stated.data.found_after, stated.data.answer) == (1, 0, "CKR_OK")


@pytest.mark.parametrize("flaw", ["missing", "elsewhere", "no such place", "another partition's"])
async def test_evidence_that_does_not_hold_destroys_nothing(deployment: Deployment, flaw: str) -> None:
    """A place where something else or nothing lies, or a partition that is not named: the key stays."""
    async with worker(deployment, own=ALL) as running:
        await begin(deployment, running, 2)
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS)
        places = turned(deployment, 2)
        match flaw:
            case "missing":
                del places[3]
            case "elsewhere":
                places[0] = 0
            case "no such place":
                places[2] = 10_000
            case _:
                await running.execute(create(deployment, key_on(2, 7)))
                places[2] = places[2] + 2
        order = end(deployment, 1, places)
        (answer,) = await running.execute(order)
        assert answer.data.code == "InvalidState"
        assert running.custody.held == {1, 2}
        assert not [e for e in deployment.events(0) if isinstance(e, facts.StorageEpochKeyDestroyed)]


async def test_a_worker_without_the_epoch_s_key_makes_nothing(deployment: Deployment) -> None:
    """A partition that has turned is not worked on without the epoch's key: what is made would be lost with the old."""
    custody, sealing = MemoryCustody(), MemorySealing()
    async with worker(deployment, custody=custody, sealing=sealing, own=ALL) as running:
        await begin(deployment, running, 2)
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS)
    stale = MemoryCustody()
    async with worker(deployment, custody=stale, sealing=sealing) as running:
        running.own(1)
        await deployment.submit(order := create(deployment, key_on(1, 3)))
        await asyncio.sleep(0.2)
        assert not deployment.outcomes(1)
        stale.held.add(2)
        await running.finished(order)
        assert stale.adopted == 2


async def test_erasure_is_certified_when_nothing_opens_any_more(deployment: Deployment) -> None:
    """After the epoch has ended and every sealing key of that time is erased; not before, and once."""
    async with worker(deployment, own=ALL) as running:
        key_id, kept = key_on(1, 1), key_on(1, 2)
        await running.execute(create(deployment, key_id))
        await running.execute(create(deployment, kept))
        gone = destroy(deployment, key_id)
        await running.execute(gone)
        await begin(deployment, running, 2)
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS)
        await running.execute(end(deployment, 1, turned(deployment, 2)))
        first = deployment.sealing_key()
        await asyncio.sleep(0.1)
        assert not _certificates(deployment)
        deployment.now += 1
        await running.execute(deployment.order("RotateSealingKey"))
        await running.execute(
            deployment.order("EraseSealingKey", arguments={"sealing_key": first}, sealing_key=deployment.sealing_key())
        )
        await until(lambda: _certificates(deployment))
        (certificate,) = _certificates(deployment)
        data = certificate.data
        assert (data.key_id, data.versions, data.epoch) == (key_id, [1], 1)
        assert data.destroyed_by == {"1": gone.event.data.decision.offset}
        (generated,) = [
            o for o in deployment.outcomes(1)
            if isinstance(o, facts.KeyMaterialGenerated) and o.data.key_id == key_id
        ]  # fmt: skip
        assert data.blob_digests == {"1": generated.data.blob_digest}
        assert data.sealing_key == first
        (ended,) = [e for e in deployment.events(0) if isinstance(e, facts.StorageEpochKeyDestroyed)]
        assert data.epoch_key_destroyed == ended.id
        assert "token-backups" in data.does_not_cover
        await asyncio.sleep(0.1)
        assert len(_certificates(deployment)) == 1


def _certificates(deployment: Deployment) -> list[facts.KeyErased]:
    return [event for partition in ALL for event in deployment.events(partition) if isinstance(event, facts.KeyErased)]


async def test_a_key_with_many_versions_takes_several_records(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No record of a turn or an erasure grows with the number of versions; together they name each version once."""
    monkeypatch.setattr(upkeep, "VERSIONS_OF_RECORD", 3)
    monkeypatch.setattr(material_verbs, "VERSIONS_OF_RECORD", 3)
    async with worker(deployment, own=ALL) as running:
        key_id = key_on(1, 1)
        kind = {"key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM", "cause": "requested"}
        rotations = [
            deployment.order("RotateKey", key_stream(key_id), decided=(facts.KeyRotated, kind | {"version": version}))
            for version in range(2, 9)
        ]
        await running.execute(create(deployment, key_id), *rotations)
        await begin(deployment, running, 2)
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS)
        anew = [r.data for r in deployment.keystore(1) if isinstance(r, facts.KeyMaterialRewrapped)]
        assert [sorted(map(int, data.blobs)) for data in anew] == [[1, 2, 3], [4, 5, 6], [7, 8]]
        assert set(epochs_of(running, 1)) == {2}
        gone = deployment.order(
            "DestroyKeyNow", key_stream(key_id), decided=(facts.KeyDestroyed, {"versions": [*range(1, 9)]})
        )
        await running.execute(gone)
        erased = [r.data.versions for r in deployment.keystore(1) if isinstance(r, facts.KeyMaterialErased)]
        assert erased == [[1, 2, 3], [4, 5, 6], [7, 8]]
        assert deployment.outcome(gone).data.erased_versions == [*range(1, 9)]


async def test_a_turn_lets_others_in_while_it_looks(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking through many keys that are under the epoch already is cut into steps, and comes to an end."""
    monkeypatch.setattr(upkeep, "LOOKED_AT", 2)
    async with worker(deployment, own=ALL) as running:
        for number in range(7):
            await running.execute(create(deployment, key_on(1, number)))
        running.custody.held.add(2)
        running.custody.adopt_epoch(2)
        await begin(deployment, running, 2)
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS)
        assert set(epochs_of(running, 1)) == {2}


async def test_a_failed_beginning_is_made_up_for(deployment: Deployment) -> None:
    """The epoch was decided and its key is not there: partition 0's owner makes it, and the turn goes on."""
    async with worker(deployment, own=ALL) as running:
        await running.execute(create(deployment, key_on(1, 1)))
        order = deployment.order("BeginStorageEpoch", decided=(facts.StorageEpochBegun, {"epoch": 2}))
        await deployment.write(deployment.policy, "keyfold.events", 0, [order.entry()])
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS)
        assert running.custody.held == {1, 2}


async def test_a_damaged_blob_holds_up_the_turn_and_nothing_else(deployment: Deployment) -> None:
    """It is left as it is, the partition does not say that it has turned, and serves all its other keys."""
    async with worker(deployment, custody=BrokenCustody(), own=ALL) as running:
        bad, good = key_on(1, 1), key_on(1, 2)
        await running.execute(create(deployment, bad))
        await running.execute(create(deployment, good))
        running.custody.broken.add(UUID(bad).bytes)
        await begin(deployment, running, 2)
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS - 1)
        await asyncio.sleep(0.2)
        assert 1 not in turned(deployment, 2)
        assert rewrapped(deployment, 1) == [good]
        use = deployment.order("Encrypt", key_stream(good), [(0, b"x")], version=1, protection="HSM")
        (answer,) = await running.execute(use)
        assert answer.data.code is None


async def test_what_was_never_committed_counts_for_an_erasure(deployment: Deployment) -> None:
    """A slice of a turn that was given up lies in the log's segments: the erasure waits for that epoch's end, too."""
    async with worker(deployment, own=ALL) as running:
        key_id = key_on(1, 1)
        await running.execute(create(deployment, key_id))
        running.custody.held.add(2)
        await running.execute(destroy(deployment, key_id))
        (erased,) = [r.data for r in deployment.keystore(1) if isinstance(r, facts.KeyMaterialErased)]
        assert erased.epoch == 2
