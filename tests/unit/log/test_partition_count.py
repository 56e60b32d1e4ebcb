"""A log whose topics have other partitions than genesis fixed is refused before anything is done."""

import pytest

from keyfold.bus import MemoryBus, MemoryCluster, TopicMismatch
from keyfold.events import topics
from keyfold.log import require_partitions


async def test_the_number_that_genesis_fixed() -> None:
    """More are as wrong as fewer, and each topic is named."""
    bus = MemoryBus(MemoryCluster(4))
    await require_partitions(bus, 4, topics.COMMANDS)
    with pytest.raises(TopicMismatch, match=r"keyfold\.events has 4 partitions, genesis fixed 3.*keyfold\.commands"):
        await require_partitions(bus, 3, topics.COMMANDS)
    with pytest.raises(TopicMismatch, match="genesis fixed 5"):
        await require_partitions(bus, 5)
