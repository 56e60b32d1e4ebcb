"""Sealing keys: the first one, rotation, erasure, what is dropped from memory and when, and what a crash leaves."""

import asyncio
import json
from collections import Counter

import pytest
from tests.unit.hsm.deployment import NOW, PARTITIONS, Deployment
from tests.unit.hsm.exchange import Order, results, uuid_bytes
from tests.unit.hsm.orders import create, new_key, use
from tests.unit.hsm.stand_ins import MemorySealing
from tests.unit.hsm.worker import Worker, until, worker

from keyfold.bus import Fault
from keyfold.events import facts
from keyfold.events.errors import Expired, SealingKeyRetired
from keyfold.events.streams import key_stream
from keyfold.hsm.errors import TokenNeeded
from keyfold.hsm.keyring import KEPT_AFTER_RETIREMENT_MS


def rotation(deployment: Deployment) -> Order:
    return deployment.order("RotateSealingKey")


def erasure(deployment: Deployment, name: str) -> Order:
    return deployment.order("EraseSealingKey", arguments={"sealing_key": name})


async def test_the_first_owner_makes_the_first_sealing_key(deployment: Deployment) -> None:
    """Published and stored in one transaction; the next owner finds it and makes no other."""
    sealing = MemorySealing()
    for _ in range(2):
        async with worker(deployment, own=[0], sealing=sealing):
            (published,) = [e for e in deployment.events(0) if isinstance(e, facts.SealingKeyPublished)]
            (stored,) = deployment.keystore(0)
    assert isinstance(stored, facts.SealingKeyStored)
    assert stored.data.sealing_key == published.data.sealing_key
    assert sealing.list_ids() == [uuid_bytes(published.data.sealing_key)]


async def test_a_lost_token_gets_a_fresh_sealing_key(deployment: Deployment) -> None:
    """Commands are sealed, so none could ask for it: the owner publishes one when the current does not open."""
    async with worker(deployment, own=[0], sealing=MemorySealing()):
        lost = deployment.sealing_key()
    async with worker(deployment, own=[0], sealing=MemorySealing()):
        assert deployment.sealing_key() != lost


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.LANDED, Fault.HANGING])
async def test_the_first_sealing_key_survives_faults(deployment: Deployment, fault: Fault) -> None:
    """One key in the log and the same one in the token, whatever became of the first transaction."""
    sealing = MemorySealing()
    deployment.cluster.fail_next_commit(fault, "keyfold-hsm-0")
    async with worker(deployment, own=[0], sealing=sealing):
        name = deployment.sealing_key()
    assert sealing.list_ids() == [uuid_bytes(name)]
    assert Counter(type(record) for record in deployment.keystore(0)) == {facts.SealingKeyStored: 1}


async def test_rotation_publishes_and_the_old_key_still_opens(deployment: Deployment, running: Worker) -> None:
    """A command sealed to the former key just before is served."""
    key_id, old = new_key(), deployment.sealing_key()
    await running.execute(create(deployment, key_id))
    (answer,) = await running.execute(rotation(deployment))
    new = json.loads(results(answer)[0])["sealing_key"]
    assert deployment.sealing_key() == new != old
    for name in (new, old):
        (answer,) = await running.execute(use(deployment, "Encrypt", key_id, [(0, b"x")], sealing_key=name))
        assert answer.data.code is None


async def test_erasure_destroys_the_key_and_says_so(deployment: Deployment, running: Worker) -> None:
    """Token key gone, blob deleted, fact stated; what was sealed to it fails with a clear answer."""
    key_id, old = new_key(), deployment.sealing_key()
    late = use(deployment, "Encrypt", key_id, [(0, b"x")], sealing_key=old)
    await running.execute(create(deployment, key_id))
    await running.execute(rotation(deployment))
    await running.execute(erasure(deployment, old))
    assert uuid_bytes(old) not in running.sealing.list_ids()
    assert isinstance(deployment.keystore(0)[-1], facts.SealingKeyDeleted)
    erased = [event for event in deployment.events(0) if isinstance(event, facts.SealingKeyErased)]
    assert [event.data.sealing_key for event in erased] == [old]
    await running.parts.keyring.catch_up()
    (answer,) = await running.execute(late)
    assert (deployment.outcome(late).data.code, answer.data.code, answer.items) == (
        "SealingKeyRetired", "SealingKeyRetired", None,
    )  # fmt: skip


async def test_the_current_sealing_key_is_not_erased(deployment: Deployment, running: Worker) -> None:
    """Nor one that never was."""
    current, unknown = erasure(deployment, deployment.sealing_key()), erasure(deployment, new_key())
    await running.execute(current, unknown)
    assert [deployment.outcome(order).data.code for order in (current, unknown)] == ["InvalidState", "NotFound"]
    assert len(running.sealing.list_ids()) == 1


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.LANDED, Fault.HANGING])
async def test_rotation_and_erasure_survive_faults(deployment: Deployment, fault: Fault) -> None:
    """One rotation and one erasure in the log, and the token holds exactly the live keys."""
    sealing = MemorySealing()
    async with worker(deployment, own=[0], sealing=sealing) as made:
        old = deployment.sealing_key()
        deployment.cluster.fail_next_commit(fault, "keyfold-hsm-0")
        turn = rotation(deployment)
        await deployment.submit(turn)
        await made.finished(turn, replied=False)
        deployment.cluster.fail_next_commit(fault, "keyfold-hsm-0")
        erase = erasure(deployment, old)
        await deployment.submit(erase)
        await made.finished(erase, replied=False)
    assert isinstance(deployment.outcome(erase), facts.CommandCompleted)
    kinds = Counter(type(event) for event in deployment.events(0))
    assert (kinds[facts.SealingKeyPublished], kinds[facts.SealingKeyErased]) == (2, 1)
    assert sealing.list_ids() == [uuid_bytes(deployment.sealing_key())]


async def test_orphans_in_the_token_are_erased_at_start(deployment: Deployment) -> None:
    """Token keys that the log does not know, of a crash between token and commit."""
    sealing = MemorySealing()
    sealing.create(uuid_bytes(new_key()))
    async with worker(deployment, own=[0], sealing=sealing):
        assert sealing.list_ids() == [uuid_bytes(deployment.sealing_key())]


async def test_a_retired_key_is_dropped_from_memory(deployment: Deployment, running: Worker) -> None:
    """16 minutes after a newer one was stored; then a late command is over, though its blob still exists."""
    keyring, old = running.parts.keyring, deployment.sealing_key()
    await running.execute(rotation(deployment))
    await keyring.catch_up()
    assert keyring.private(old, token=True)
    deployment.now = NOW + KEPT_AFTER_RETIREMENT_MS
    assert keyring.private(old, token=False)
    deployment.now += 1
    keyring._purge()
    assert old not in keyring._open
    with pytest.raises(Expired):
        keyring.private(old, token=True)
    assert keyring.private(deployment.sealing_key(), token=True)


async def test_private_keys_are_opened_in_a_thread_only(deployment: Deployment, running: Worker) -> None:
    """What is not open asks for the token first; an unknown key is never looked for there."""
    keyring, name = running.parts.keyring, deployment.sealing_key()
    await keyring.catch_up()
    with pytest.raises(TokenNeeded):
        keyring.private(name, token=False)
    assert keyring.private(name, token=True) is keyring.private(name, token=False)
    with pytest.raises(SealingKeyRetired):
        keyring.private(new_key(), token=True)


async def test_another_worker_learns_a_new_key(deployment: Deployment) -> None:
    """A worker without partition 0 serves commands sealed to a key that was made after it started."""
    sealing = MemorySealing()
    async with (
        worker(deployment, own=[0], sealing=sealing) as owner,
        worker(deployment, own=range(1, PARTITIONS), sealing=sealing) as other,
    ):
        key_id = new_key()
        await owner.execute(rotation(deployment))
        (answer,) = await other.execute(create(deployment, key_id))
        assert answer.data.code is None


async def test_the_keyring_follows_by_itself(deployment: Deployment, running: Worker) -> None:
    """Its tail learns new keys and forgets erased ones without being asked."""
    keyring, old = running.parts.keyring, deployment.sealing_key()
    tail = asyncio.create_task(keyring.run())
    await running.execute(rotation(deployment))
    await running.execute(erasure(deployment, old))
    await until(lambda: old not in keyring._known and deployment.sealing_key() in keyring._known)
    tail.cancel()
    await asyncio.gather(tail, return_exceptions=True)
    disable = deployment.order(
        "DisableKey", key_stream(new_key()), decided=(facts.KeyDisabled, {"reason": ""}), sealing_key=old
    )
    (answer,) = await running.execute(disable)
    assert isinstance(deployment.outcome(disable), facts.KeyUseCeased)
    assert answer.data.code == "SealingKeyRetired"


async def test_a_lost_token_does_not_lock_everybody_out(deployment: Deployment) -> None:
    """The current key cannot be opened any more (the token was made anew): the owner publishes another at its start,
    since nobody could seal a command that asks for one."""
    async with worker(deployment, own=[0]):
        lost = deployment.sealing_key()
    async with worker(deployment, own=range(PARTITIONS), sealing=MemorySealing()) as made:
        assert deployment.sealing_key() != lost
        (answer,) = await made.execute(create(deployment, new_key()))
    assert answer.data.code is None
