"""Lag: asked of the brokers now and then, shown per partition, and a sign whether they answer."""

import pytest
from prometheus_client import REGISTRY

from keyfold.bus import BusUnavailable, Outbound
from keyfold.bus.memory import MemoryBus, MemoryCluster
from keyfold.events import topics
from keyfold.telemetry.lag import PATIENCE_SECONDS, LagWatch


@pytest.fixture
async def bus() -> MemoryBus:
    cluster = MemoryCluster()
    bus = MemoryBus(cluster)
    admin = bus.admin()
    await admin.start()
    await admin.create_topics(4, replication_factor=1, min_insync_replicas=1)
    sender = bus.sender()
    await sender.start()
    for partition, count in ((1, 3), (2, 20)):
        for _ in range(count):
            await (await sender.send(Outbound(topics.COMMANDS, partition, b"key", b"value")))
    return bus


def shown(partition: int) -> float | None:
    return REGISTRY.get_sample_value("keyfold_consumer_lag", {"topic": topics.COMMANDS, "partition": str(partition)})


async def test_what_is_behind_is_shown_and_what_was_given_up_is_not(bus: MemoryBus) -> None:
    """Only the partitions that are this process's now."""
    positions = {1: 1, 2: 20}
    watch = LagWatch(bus, topics.COMMANDS, lambda: positions, committed=False, most=10)
    admin = bus.admin()
    await admin.start()
    await watch.ask(admin)
    assert (shown(1), shown(2)) == (2, 0)
    assert [check.ok for check in watch.checks()] == [True, True]
    del positions[1]
    positions[2] = 5
    await watch.ask(admin)
    assert (shown(1), shown(2)) == (None, 15)
    lag = next(check for check in watch.checks() if check.name == "lag")
    assert (lag.ok, lag.reason) == (False, "behind in keyfold.commands: partition 2: 15")
    assert not lag.vital


async def test_brokers_that_are_silent_make_not_ready_and_leave_alive(bus: MemoryBus) -> None:
    """After a while, with the error's code; a burst that is behind is no fault of who has no bound."""
    now = [0.0]
    watch = LagWatch(bus, topics.COMMANDS, dict, clock_s=lambda: now[0])
    assert [(check.ok, check.vital) for check in watch.checks()] == [(False, False)]
    admin = bus.admin()
    await admin.start()
    await watch.ask(admin)
    assert [check.ok for check in watch.checks()] == [True]
    watch._failed(BusUnavailable.code)
    now[0] += PATIENCE_SECONDS
    assert [check.ok for check in watch.checks()] == [True]
    now[0] += 1
    (check,) = watch.checks()
    assert (check.ok, check.reason) == (False, "no answer for 21 s BusUnavailable")
