"""The store of projections in memory: the same guarantees, for tests and for trying things out. Nothing is durable."""

from keyfold.projections.memory.queries import MemoryQueries
from keyfold.projections.memory.schemas import MemoryPartitionStore, MemorySchemas

__all__ = ["MemoryPartitionStore", "MemoryQueries", "MemorySchemas"]
