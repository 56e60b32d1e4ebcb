"""The registry follower: whom it believes, what it knows, when it is fresh, and what breaks it."""

import asyncio
from dataclasses import replace

import pytest
from tests.support.deployment import Deployment, cancelled, until
from tests.support.desk import fresh_registry
from tests.support.people import DEPLOYMENT, certificate, genesis, sealing_key, signer, uuid

from keyfold.bus import Outbound
from keyfold.events import topics
from keyfold.events.entities import Deployment as DeploymentEntity
from keyfold.log import NotInitialised, RegistryBroken, RegistryFollower
from keyfold.log import registry as module


@pytest.fixture
async def deployment() -> Deployment:
    return Deployment()


def follower(deployment: Deployment) -> RegistryFollower:
    return RegistryFollower(deployment.bus, DEPLOYMENT)


async def test_everything_that_is_there_is_known_after_start(deployment: Deployment) -> None:
    """After its start, a follower knows the registry's entities and the certified keys."""
    await deployment.begin()
    made = follower(deployment)
    await made.start()
    assert dict(made.view) == fresh_registry()
    assert set(made.trust.certificates) == {signer("policy").fingerprint, signer("hsm").fingerprint}
    assert made.deployment_entity.partitions == 4
    assert made.fresh()


async def test_no_genesis(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without genesis a start gives up after a while and says what to do."""
    monkeypatch.setattr(module, "GENESIS_WAIT_SECONDS", 0.05)
    with pytest.raises(NotInitialised, match="keyfold init"):
        await follower(deployment).start()


async def test_genesis_that_comes_late(deployment: Deployment) -> None:
    """A process may be started before the ceremony: it waits for genesis."""
    made = follower(deployment)
    starting = asyncio.create_task(made.start())
    await asyncio.sleep(0.02)
    await deployment.begin()
    async with asyncio.timeout(5):
        await starting
    assert made.deployment_entity.development is False


async def test_another_deployment_s_genesis(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A genesis whose root key is not the pinned one is not believed."""
    monkeypatch.setattr(module, "GENESIS_WAIT_SECONDS", 0.05)
    await deployment.begin()
    with pytest.raises(NotInitialised):
        await RegistryFollower(deployment.bus, "ab" * 32).start()


async def test_a_forged_genesis_in_front(deployment: Deployment) -> None:
    """An unsigned genesis in front of the real one pins nothing: neither partitions nor principals."""
    forged = genesis(partitions=9)
    await deployment.raw(Outbound(topics.EVENTS, 0, b"registry", forged.to_value()))
    await deployment.raw(Outbound(topics.EVENTS, 0, b"registry", b"junk"))
    await deployment.raw(Outbound(topics.EVENTS, 0, None, None))
    made = follower(deployment)
    starting = asyncio.create_task(made.start())
    await asyncio.sleep(0.05)
    assert not starting.done(), "a forged genesis is none"
    await deployment.begin()
    await starting
    await made.catch_up()
    assert dict(made.view) == fresh_registry()


async def test_junk_is_ignored(deployment: Deployment) -> None:
    """Unsigned, null and wrongly signed records on partition 0 change nothing and stop nothing."""
    await deployment.begin()
    real = deployment.read(topics.EVENTS, 0)[-1]
    made = follower(deployment)
    await made.start()
    await deployment.raw(Outbound(topics.EVENTS, 0, real.key, None, real.headers))
    await deployment.raw(Outbound(topics.EVENTS, 0, real.key, b"{}", real.headers))
    await deployment.raw(Outbound(topics.EVENTS, 0, b"key/x", real.value, real.headers))
    await deployment.raw(Outbound(topics.EVENTS, 0, real.key, real.value, real.headers))
    await made.catch_up()
    assert dict(made.view) == fresh_registry()
    await deployment.hsm.write(sealing_key(uuid(2)))
    await made.catch_up()
    assert made.deployment_entity.current_sealing_key == uuid(2)


async def test_a_gap_breaks_it_for_good(deployment: Deployment) -> None:
    """A missing statement ends following: it is not fresh any more, and nothing that comes later is learnt."""
    await deployment.begin()
    made = follower(deployment)
    await made.start()
    tail = asyncio.create_task(made.run())
    head = deployment.hsm.heads[topics.EVENTS, 0]
    deployment.hsm.heads[topics.EVENTS, 0] = replace(head, n=head.n + 1)
    await deployment.hsm.write(sealing_key(uuid(2)))
    await asyncio.wait({tail}, timeout=5)
    assert isinstance(tail.exception(), RegistryBroken)
    assert not made.fresh()
    await deployment.root.write(certificate("hsm", signer("another")))
    with pytest.raises(RegistryBroken):
        await made.catch_up()
    with pytest.raises(RegistryBroken):
        await made.run()
    assert signer("another").fingerprint not in made.trust.certificates


async def test_tailing(deployment: Deployment) -> None:
    """What is written while it tails is known soon, and who waits for a change is told."""
    await deployment.begin()
    made = follower(deployment)
    await made.start()
    tail = asyncio.create_task(made.run())
    changed = asyncio.create_task(made.wait_change())
    await asyncio.sleep(0)
    await deployment.hsm.write(sealing_key(uuid(2)))
    async with asyncio.timeout(5):
        await changed
    assert made.deployment_entity.current_sealing_key == uuid(2)
    await cancelled(tail)


async def test_it_waits_out_a_cluster_that_is_away(deployment: Deployment) -> None:
    """Unavailability does not end following; it ends being fresh."""
    await deployment.begin()
    made = follower(deployment)
    await made.start()
    tail = asyncio.create_task(made.run())
    deployment.cluster.down = True
    await asyncio.sleep(0.15)
    deployment.cluster.down = False
    await deployment.hsm.write(sealing_key(uuid(2)))
    await until(lambda: made.deployment_entity.current_sealing_key == uuid(2))
    await cancelled(tail)


async def test_catching_up_does_not_wait_for_the_tail_s_poll(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows everything already is told at once: take-over must not wait for a poll that nothing ends."""
    monkeypatch.setattr(module, "_POLL_SECONDS", 30.0)
    await deployment.begin()
    made = follower(deployment)
    await made.start()
    tail = asyncio.create_task(made.run())
    await asyncio.sleep(0.01)
    async with asyncio.timeout(1):
        await made.catch_up()
    await cancelled(tail)


async def test_fresh_for_five_seconds(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without news from the broker, what is known is fresh for a limited time only."""
    await deployment.begin()
    made = follower(deployment)
    assert not made.fresh()
    await made.start()
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.02)
    await asyncio.sleep(0.03)
    assert not made.fresh()
    assert module.FRESH_SECONDS <= 5


async def test_the_view_shows_what_was_read_last(deployment: Deployment) -> None:
    """A view that was taken once shows later changes, and cannot be written."""
    await deployment.begin()
    made = follower(deployment)
    await made.start()
    view = made.view
    await deployment.hsm.write(sealing_key(uuid(2)))
    await made.catch_up()
    found = view["deployment"]
    assert isinstance(found, DeploymentEntity)
    assert found.current_sealing_key == uuid(2)
    with pytest.raises(TypeError):
        view["deployment"] = found  # type: ignore[index]
