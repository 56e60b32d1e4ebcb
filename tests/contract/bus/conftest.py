"""The buses that the contract is kept by: in memory, and Kafka."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from tests.contract.bus.world import World

from keyfold.bus import Bus, BusSettings, KafkaBus, MemoryBus


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.stack)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Every bus in turn; afterwards no task of it may be left."""
    name = f"t{secrets.token_hex(4)}"
    if request.param == "memory":
        bus: Bus = MemoryBus()
    else:
        bus = KafkaBus(BusSettings(bootstrap_servers=request.getfixturevalue("kafka").bootstrap_servers))
    made = World(bus, name)
    admin = bus.admin()
    await admin.start()
    await admin.create_topics(4, replication_factor=1, min_insync_replicas=1, topics=made.topics)
    await admin.stop()
    try:
        yield made
    finally:
        await made.close()
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()], "tasks were left"
