"""The store of projections in memory: the same guarantees, for tests and for trying things out. Nothing is durable."""

from keyfold.projections.memory.alerts import MemoryAlerts
from keyfold.projections.memory.queries import MemoryQueries
from keyfold.projections.memory.schemas import MemoryPartitionStore, MemorySchemas
from keyfold.projections.memory.snapshots import MemorySnapshots

__all__ = ["MemoryAlerts", "MemoryPartitionStore", "MemoryQueries", "MemorySchemas", "MemorySnapshots"]
