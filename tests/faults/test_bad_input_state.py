"""A worker whose state was taken away does not take itself for a new one."""

import asyncio

import pytest
from tests.unit.hsm.deployment import PARTITIONS, Deployment
from tests.unit.hsm.orders import random_bytes
from tests.unit.hsm.worker import worker

from keyfold.bus import Outbound
from keyfold.events import topics
from keyfold.log import StateCorrupt


async def test_a_wiped_state_is_not_a_first_start_although_the_keystore_is_empty() -> None:
    """No key was ever made on the partition, so only the worker's own events tell that it was here before."""
    deployment = Deployment()
    await deployment.initialise()
    async with worker(deployment, own=range(PARTITIONS)) as made:
        order = random_bytes(deployment, 1, 16)
        await made.execute(order)
    place = deployment.partition(order)
    assert deployment.keystore(place) == []
    await deployment.put([Outbound(topics.HSM_STATE, place, b"head", None)])
    async with worker(deployment) as again:
        again.own(place)
        with pytest.raises(StateCorrupt, match="has written events"):
            await asyncio.wait_for(again.tasks[place], 5)
    assert len(deployment.outcomes(place)) == 1
