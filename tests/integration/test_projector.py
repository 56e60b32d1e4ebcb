"""The projector as a whole, on a bus in memory, with a store in memory and with Postgres."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.integration.projector_setting import BACKENDS, SEALING_KEY, begin, published, same, set_up
from tests.unit.projections import folding
from tests.unit.projections.deployment import Deployment, until
from tests.unit.projections.histories import DEPLOYMENT, PARTITIONS, ROOT, seeded, simulated
from tests.unit.projections.living import Living, living

from keyfold.bus import Sender
from keyfold.events import facts, topics
from keyfold.events.directory import directory_names, directory_partition, public_key_name, verify_verbatim
from keyfold.events.trust import Trust


@pytest.fixture(params=BACKENDS)
async def deployment(request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    async with set_up(request) as made:
        yield made


@pytest.mark.parametrize("generator", [simulated, living])
async def test_a_history_becomes_state_audit_and_directory(deployment: Deployment, generator: Any) -> None:
    """Every event is folded once: entities equal evolve's, the audit equals the log, the directory is verifiable."""
    events = generator(seeded(11), 80, longest_pause_ms=60_000)
    await deployment.write(*deployment.log.transactions(events, seeded(1)))
    async with deployment.projector():
        await deployment.caught_up()
        await until(deployment.published)
    store = deployment.schemas().partition_store("blue")
    truth = folding.evolved(events)
    assert await store.load(truth) == truth
    rows = (await deployment.queries.audit(limit=10_000)).rows
    assert sorted(row.value for row in rows) == sorted(event.to_value() for event in events)
    await _check_directory(deployment, events)
    await store.close()


async def _check_directory(deployment: Deployment, events: list[facts.Event]) -> None:
    trust = Trust.pin(DEPLOYMENT, ROOT.public_key)
    for event in events:
        trust = trust.with_event(event)
    directory = await deployment.directory()
    expected = {name: event.to_value() for event in events for name in directory_names(event)}
    assert {alias.alias for alias in await deployment.queries.aliases()} <= expected.keys()
    assert {name: record.value for name, record in directory.items()} == expected
    for name, record in directory.items():
        event = verify_verbatim(trust, PARTITIONS, record.value or b"", record.headers)
        assert record.partition == directory_partition(name, PARTITIONS)
        assert event.to_value() == record.value


async def test_public_keys_are_published_even_by_a_projector_that_comes_later(deployment: Deployment) -> None:
    """More of them than a page of what is still to be published, each beside the name of its key."""
    life = Living(seeded(1), 1)
    key_id = life.create("KEYFOLD", ("RSA_2048", "SIGN_VERIFY"))
    for _ in range(210):
        life.rotate_for(life.key(key_id), "requested")
    await deployment.write(*deployment.log.transactions(life.events, seeded(1)))
    async with deployment.projector():
        await deployment.caught_up()
        await until(deployment.published)
    directory = await deployment.directory()
    names = {public_key_name(key_id, version) for version in range(1, 212)}
    assert names | {f"key/{key_id}"} <= directory.keys()
    row = await deployment.queries.public_key(key_id, 7)
    assert row is not None
    assert f'"{row.public_key}"'.encode() in (directory[public_key_name(key_id, 7)].value or b"")


async def test_a_restart_goes_on_where_it_stopped(deployment: Deployment) -> None:
    """Stopped and started in the middle of a history, any number of times, nothing is lost or doubled."""
    events = simulated(seeded(12), 60)
    groups = deployment.log.transactions(events, seeded(2))
    for start in range(0, len(groups), 20):
        await deployment.write(*groups[start : start + 20])
        async with deployment.projector():
            if start % 40 == 0:
                await deployment.caught_up()
    async with deployment.projector():
        await deployment.caught_up()
    rows = (await deployment.queries.audit(limit=10_000)).rows
    assert sorted(row.value for row in rows) == sorted(event.to_value() for event in events)
    assert sum(row.position for row in await deployment.queries.progress()) == len(events)


async def test_a_new_alias_is_in_the_directory_at_once(deployment: Deployment) -> None:
    """Idle, a sealing key is published within 100 ms of its event (here with room for a busy machine)."""
    await begin(deployment)
    async with deployment.projector():
        await deployment.caught_up()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await deployment.happen(published())

        async def there() -> bool:
            return f"sealing-key/{SEALING_KEY}" in await deployment.directory()

        await until(there)
        assert loop.time() - begun < 0.5


async def test_an_idle_partition_passes_markers(deployment: Deployment) -> None:
    """Lag becomes zero when nothing is left to read: the marker behind the last record is passed too."""
    await begin(deployment)
    async with deployment.projector():
        await deployment.caught_up()
        progress = (await deployment.queries.progress())[0]
        assert progress.next == deployment.cluster.log(topics.EVENTS, 0).end(committed=True) == 4
        assert progress.position == 3

        async def marked() -> bool:
            return (await deployment.queries.progress())[0].published == 4

        await until(marked)


async def test_a_rebuild_while_writing_ends_with_the_same_state(deployment: Deployment) -> None:
    """Events keep coming during the rebuild; readers never see less than before, and end with everything."""
    events = simulated(seeded(21), 120)
    groups = deployment.log.transactions(events, seeded(3))
    half = len(groups) // 2
    await deployment.write(*groups[:half])
    async with deployment.projector():
        await deployment.caught_up()
        schemas = deployment.schemas()
        await schemas.request_rebuild()
        seen = 0
        for group in groups[half:]:
            await deployment.write(group)
            count = len((await deployment.queries.audit(limit=10_000)).rows)
            assert count >= seen
            seen = count

        async def swapped() -> bool:
            return (await deployment.queries.status()).generation == 1

        await until(swapped)
        await deployment.caught_up()
        status = await deployment.queries.status()
        assert (status.live, status.building) == ("green", None)
        await schemas.close()
    rows = (await deployment.queries.audit(limit=10_000)).rows
    assert sorted(row.value for row in rows) == sorted(event.to_value() for event in events)
    await same(deployment, "green", events)


async def test_a_projector_stopped_during_a_rebuild_finishes_it_later(deployment: Deployment) -> None:
    """The rebuild is kept in the store: the next projector goes on with it."""
    events = simulated(seeded(22), 60)
    await deployment.write(*deployment.log.transactions(events, seeded(4)))
    async with deployment.projector():
        await deployment.caught_up()
    schemas = deployment.schemas()
    await schemas.begin_rebuild()
    await schemas.close_live()
    async with deployment.projector():

        async def swapped() -> bool:
            return (await deployment.queries.status()).generation == 1

        await until(swapped)
    await schemas.close()
    await same(deployment, "green", events)


async def test_two_projectors_share_and_never_double(deployment: Deployment) -> None:
    """Partitions are shared; during hand-over the stored offsets decide who may write."""
    events = simulated(seeded(23), 100)
    groups = deployment.log.transactions(events, seeded(5))
    third = len(groups) // 3
    await deployment.write(*groups[:third])
    async with deployment.projector("one"):
        async with deployment.projector("two"):
            await deployment.write(*groups[third : 2 * third])
            await deployment.caught_up()
        await deployment.write(*groups[2 * third :])
        await deployment.caught_up()
    rows = (await deployment.queries.audit(limit=10_000)).rows
    assert sorted(row.value for row in rows) == sorted(event.to_value() for event in events)
    await same(deployment, "blue", events)


async def test_an_unavailable_bus_is_waited_for(deployment: Deployment) -> None:
    """The broker goes away and comes back: nothing is lost, nobody restarts the process."""
    await begin(deployment)
    async with deployment.projector() as task:
        await deployment.caught_up()
        deployment.cluster.down = True
        await asyncio.sleep(0.1)
        deployment.cluster.down = False
        await deployment.happen(published())
        await deployment.caught_up()
        assert not task.done()
    assert len(await deployment.queries.sealing_keys()) == 1


async def test_the_directory_is_completed_after_a_crash_between_commit_and_publication(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed and not published is published by the next start."""
    await begin(deployment)
    from keyfold.bus.memory.bus import MemorySender

    async def lost(self: Sender, record: object) -> object:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(MemorySender, "send", lost)
        async with deployment.projector():
            await deployment.caught_up()
    assert await deployment.directory() == {}
    async with deployment.projector():

        async def complete() -> bool:
            return "genesis" in await deployment.directory()

        await until(complete)
    assert len(await deployment.directory()) == 3
