"""The bus in memory: a fake that ships, with the guarantees of the real one and faults on request.

`MemoryCluster` is the broker, `MemoryBus` a process's view of it. It passes the contract suite that Kafka passes. It
keeps nothing, compacts nothing and lives in one event loop.
"""

from keyfold.bus.memory.bus import MemoryBus
from keyfold.bus.memory.cluster import Fault, MemoryCluster

__all__ = ["Fault", "MemoryBus", "MemoryCluster"]
