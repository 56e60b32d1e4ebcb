"""An exported archive as the policy tools read a log: believed by the signatures of its authors, not by who wrote it.

Trust starts at the deployment's fingerprint that the archive names: who reads one of unknown origin compares it.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from keyfold.auditing.rooted import read_root
from keyfold.auditing.sources import RecordSource
from keyfold.bus import Inbound
from keyfold.client.identifiers import is_alias
from keyfold.deciding.replaying import REGISTRY_PARTITION, Leaf, fold
from keyfold.events.entities import Alias, Entity
from keyfold.events.errors import NotFound
from keyfold.events.trust import Trust
from keyfold.projections import fold as projecting
from keyfold.projections.positions import Offsets
from keyfold.projections.replay import Replay as Believing
from keyfold.projections.rows import Report


class RecordedLog:
    """A `Source` over records. `passed_over` counts those that are not authentic or no events. Use `recorded_log`."""

    def __init__(self, records: RecordSource) -> None:
        self._records = records
        self.deployment, self.partitions = records.deployment, records.partitions
        self.trust: Trust | None = None
        self.passed_over = 0
        self._registry: dict[str, Entity] = {}
        self._leaves = 0

    async def learn(self) -> None:
        """Read partition 0 twice: for all that root said, which reaches back, then for the registry under that trust.

        Raises `NotRooted`, `ChainGap`.
        """
        self.trust = (await read_root(self._records, self.deployment)).trust()
        async with aclosing(self.read(REGISTRY_PARTITION)) as leaves:
            async for leaf in leaves:
                fold(self._registry, leaf.event)
        self.passed_over = 0  # they are counted where somebody reads them

    async def read(self, partition: int) -> AsyncGenerator[Leaf, None]:
        """See the port. Raises `ChainGap`."""
        if self.trust is None:
            raise RuntimeError("learn who is certified first")
        believing, position = Believing(self.partitions, Offsets(partition)), 0
        async with aclosing(_each(self._records, partition)) as records:
            async for record in records:
                found = believing.read(self.trust, record)
                if isinstance(found, projecting.Leaf):
                    entry, accepted = found.accepted.entry, found.accepted
                    yield Leaf(partition, position, accepted.role, accepted.place.head.n, found.event, entry.value)
                else:
                    self.passed_over += 1
                position += not isinstance(found, Report)
        if partition == REGISTRY_PARTITION:
            self._leaves = position

    def leaves(self) -> int:
        """See the port."""
        return self._leaves

    async def key_id(self, key: str) -> str:
        """See the port."""
        if not is_alias(key):
            return key
        alias = self._registry.get(key)
        if not isinstance(alias, Alias):
            raise NotFound(f"there is no {key} in the registry")
        return alias.key_id


async def recorded_log(records: RecordSource) -> RecordedLog:
    """Return records as a log that is believed. Raises `NotRooted`, `ChainGap`."""
    log = RecordedLog(records)
    await log.learn()
    return log


async def _each(records: RecordSource, partition: int) -> AsyncGenerator[Inbound, None]:
    async for batch in records.records(partition):
        for record in batch:
            yield record
