"""What a client believes: the pinned root's word, certified services' signatures, the latest of each name."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from keyfold.bus import Inbound, Outbound
from keyfold.client import DirectoryIncomplete, InvalidArgument, Keyfold
from keyfold.client.view import View
from keyfold.events import facts, topics
from keyfold.events.signatures import Signer
from keyfold.events.times import to_text
from keyfold.identity import Identity


def inbound(record: Outbound) -> Inbound:
    return Inbound(record.topic, record.partition, 0, 0, record.key, record.value, record.headers)


def shown(deployment: Any, *events: facts.Event) -> list[Inbound]:
    return [inbound(deployment.directory_record(event)) for event in events]


@pytest.fixture
def world(new_deployment: Callable[[], Any]) -> Any:
    """A deployment whose events are folded directly."""
    return new_deployment()


def test_the_order_of_the_directory_does_not_matter(world: Any) -> None:
    """Compaction and re-publishing may change it."""
    records = shown(world, *world.first_events())
    for order in (records, records[::-1], [*records[2:], *records[:2]]):
        view = View(world.id)
        view.offer(order)
        assert view.sealing_key is not None
        assert (view.partitions, view.sealing_key.id, view.untrusted) == (4, world.sealing[-1].id, 0)


def test_another_deployments_directory_is_not_believed(world: Any) -> None:
    """The fingerprint is pinned."""
    view = View("0" * 64)
    view.offer(shown(world, *world.first_events()))
    assert (view.trust, view.sealing_key, view.untrusted) == (None, None, 4)


def test_a_sealing_key_that_no_worker_signed_is_not_used(world: Any) -> None:
    """Neither a stranger's nor policy's, nor one whose value was changed."""
    view = View(world.id)
    view.offer(shown(world, *world.first_events()[:3]))
    event = world.sealing_published()
    for signer in (Signer(os.urandom(32)), world.policy):
        view.offer([inbound(world.directory_record(event, signer))])
    good = world.directory_record(event)
    view.offer(
        [inbound(Outbound(good.topic, 0, good.key, (good.value or b"").replace(b"0000", b"0001"), good.headers))]
    )
    view.offer([inbound(Outbound(good.topic, 0, b"sealing-key/other", good.value, good.headers))])
    assert (view.sealing_key, view.untrusted) == (None, 4)
    view.offer([inbound(good)])
    assert view.sealing_key is not None


def test_the_latest_published_sealing_key_is_used_until_it_is_erased(world: Any) -> None:
    """Re-publishing an older one changes nothing; an erased one never comes back."""
    view = View(world.id)
    view.offer(shown(world, *world.first_events()))
    first, first_event = world.sealing[-1], world.sealing_published()
    world.sealing.append(type(first).new())
    second_event = world.sealing_published(at_ms=view.sealing_keys()[0].published_ms + 5000)
    view.offer(shown(world, second_event, first_event))
    assert view.sealing_key is not None
    assert view.sealing_key.id == world.sealing[-1].id
    old, new = view.sealing_keys()
    assert (old.id, old.retired_ms, new.retired_ms) == (first.id, new.published_ms, None)
    erased = facts.SealingKeyErased.new("e", "registry", to_text(new.published_ms + 1), sealing_key=first.id)
    view.offer(shown(world, erased, first_event))
    assert [period.id for period in view.sealing_keys()] == [new.id]


def test_a_revoked_worker_is_not_believed_even_if_its_certificate_comes_again(world: Any) -> None:
    """Trust is built anew from all of root's events."""
    view = View(world.id)
    genesis, policy, hsm, sealing = world.first_events()
    revoked = facts.ServiceKeyRevoked.new(
        "r", "registry", genesis.time, public_key=world.hsm.public_key.hex(), last_valid={}
    )
    view.offer(shown(world, genesis, policy, hsm, revoked, hsm, sealing))
    assert (view.sealing_key, view.untrusted) == (None, 1)


def test_of_an_alias_the_latest_event_counts(world: Any) -> None:
    """Whatever order they come in; a deletion is an event too."""
    view = View(world.id)
    view.offer(shown(world, *world.first_events()))
    at = view.sealing_keys()[0].published_ms
    one, two = "00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002"
    created = world.alias_event(facts.AliasCreated, "alias/a", one, at)
    updated = world.alias_event(facts.AliasUpdated, "alias/a", two, at + 1)
    view.offer(shown(world, updated, created))
    assert view.key_of("alias/a") == two
    view.hint("alias/a", one)
    assert view.key_of("alias/a") == one
    view.offer(shown(world, world.alias_event(facts.AliasDeleted, "alias/a", None, at + 2)))
    assert view.key_of("alias/a") is None


def test_records_that_are_not_believed_take_bounded_memory(world: Any) -> None:
    """However many there are."""
    view = View(world.id)
    record = inbound(Outbound(topics.DIRECTORY, 0, b"x", b"{}"))
    view.offer([record] * 3000)
    assert view.untrusted == 3000
    assert len(view._deferred) == 1000
    view.offer(shown(world, *world.first_events()))
    assert view.sealing_key is not None


async def test_connecting_without_a_genesis_says_what_to_check(new_deployment: Callable[[], Any]) -> None:
    """Within its deadline."""
    deployment = new_deployment()
    await deployment.start(publish=False)
    with pytest.raises(DirectoryIncomplete, match="fingerprint"):
        async with deployment.connect(connect_timeout_s=0.05):
            pass
    for event in deployment.first_events()[:3]:
        await deployment.publish(event)
    with pytest.raises(DirectoryIncomplete, match="sealing key"):
        async with deployment.connect(connect_timeout_s=0.05):
            pass
    await deployment.stop()


async def test_connecting_waits_for_a_directory_that_comes_late(new_deployment: Callable[[], Any]) -> None:
    """As when everything starts at once."""
    deployment = new_deployment()
    await deployment.start(publish=False)

    async def use() -> None:
        async with deployment.connect(connect_timeout_s=5) as kms:
            await kms.create_key()

    using = asyncio.ensure_future(use())
    await asyncio.sleep(0.02)
    for event in deployment.first_events():
        await deployment.publish(event)
    await using
    await deployment.stop()


async def test_a_cluster_with_other_partitions_is_refused(new_deployment: Callable[[], Any]) -> None:
    """N is signed in genesis."""
    deployment = new_deployment()
    deployment.partitions = 3
    await deployment.start()
    with pytest.raises(DirectoryIncomplete, match="4 partitions, the deployment has 3"):
        async with deployment.connect():
            pass
    await deployment.stop()


async def test_wrong_settings_are_named(deployment: Any) -> None:
    """Before anything is connected; and the reply topic must exist."""
    with pytest.raises(InvalidArgument, match="linger_ms"):
        deployment.connect(linger_ms=-1)
    with pytest.raises(InvalidArgument, match="nonsense"):
        deployment.connect(nonsense=1)
    with pytest.raises(InvalidArgument, match="bootstrap_servers"):
        Keyfold.connect(identity=deployment.alice)
    with pytest.raises(InvalidArgument, match="deployment"):
        Keyfold.connect(bus=deployment.bus, identity=Identity("bob", "", deployment.alice.signer))
    with pytest.raises(InvalidArgument, match="topics apply"):
        async with deployment.connect(reply_topic="keyfold.replies.nobody"):
            pass


async def test_the_reply_partition_follows_the_instance(deployment: Any) -> None:
    """The same instance reads the same partition."""
    places = []
    for name in ("a", "b", "c", "d", "e", "a"):
        async with deployment.connect(instance_id=name) as kms:
            await kms.create_key()
        places.append(deployment.received[-1].command.data.reply.partition)
    assert places[0] == places[-1]
    assert len(set(places)) > 1
