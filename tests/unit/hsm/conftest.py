"""A deployment and a worker for each test."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.hsm.deployment import PARTITIONS, Deployment
from tests.unit.hsm.worker import Worker, worker


@pytest.fixture
async def deployment() -> Deployment:
    """A log with genesis and certificates; no worker was ever there."""
    made = Deployment()
    await made.initialise()
    return made


@pytest.fixture
async def running(deployment: Deployment) -> AsyncIterator[Worker]:
    """A worker that owns every partition of the deployment, with custody in memory."""
    async with worker(deployment, own=range(PARTITIONS)) as made:
        yield made
