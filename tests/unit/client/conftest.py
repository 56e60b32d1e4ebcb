"""A deployment in memory, and a client of it."""

from collections.abc import AsyncIterator, Callable

import pytest
from tests.unit.client.deployment import PARTITIONS, Deployment

from keyfold.bus import MemoryBus, MemoryCluster
from keyfold.client import Keyfold


@pytest.fixture
async def deployment() -> AsyncIterator[Deployment]:
    """A running deployment of four partitions on a bus in memory."""
    made = Deployment(MemoryBus(MemoryCluster(PARTITIONS)))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def new_deployment() -> Callable[[], Deployment]:
    """Makes deployments that are not started."""
    return lambda: Deployment(MemoryBus(MemoryCluster(PARTITIONS)))


@pytest.fixture
async def kms(deployment: Deployment) -> AsyncIterator[Keyfold]:
    """Alice's client."""
    async with deployment.connect(call_timeout_s=5) as client:
        yield client
