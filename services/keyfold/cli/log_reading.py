"""Events straight from the log, believed by the signatures of their authors alone: no projection is asked.

Every partition is read from its start, since a chain is verified from its first statement; what is not authentic stops
the reading (a gap, a record twice) or is passed over and counted, as all readers do.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from keyfold.bus import Bus, Inbound
from keyfold.events import topics
from keyfold.events.chains import Accepted, ChainReader, ChainRepeat, read_event
from keyfold.events.statements import UntrustedRecord
from keyfold.events.trust import Trust
from keyfold.log import RegistryFollower
from keyfold.projections.audit import audit_row
from keyfold.projections.rows import AuditRow

_POLL_S = 0.5


class VerifiedLog:
    """The events topic of a deployment. Use `verified_log`."""

    def __init__(self, bus: Bus, follower: RegistryFollower) -> None:
        self._bus, self._follower = bus, follower
        self.partitions = follower.deployment_entity.partitions
        self.passed_over = 0

    @property
    def trust(self) -> Trust:
        """What the registry certifies now."""
        return self._follower.trust

    async def read(self) -> list[AuditRow]:
        """Return all events as they are now, by time. Raises `ChainGap`."""
        found = await asyncio.gather(*(self._partition(partition) for partition in range(self.partitions)))
        return sorted((row for rows in found for row in rows), key=lambda row: (row.time, row.partition, row.position))

    async def _partition(self, partition: int) -> list[AuditRow]:
        chains = ChainReader(topics.EVENTS, partition, self.partitions)
        rows: list[AuditRow] = []
        position = 0
        reader = self._bus.reader(topics.EVENTS, partition, committed=True)
        await reader.start(None)
        try:
            async for batch in reader.read_to_end():
                for record in batch:
                    accepted = self._accepted(chains, record)
                    if accepted is not None:
                        rows += self._row(record, accepted, position)
                        position += 1
        finally:
            await reader.stop()
        return rows

    def _accepted(self, chains: ChainReader, record: Inbound) -> Accepted | None:
        trust = self._follower.trust
        try:
            return chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
        except (UntrustedRecord, ChainRepeat):
            self.passed_over += 1
            return None

    def _row(self, record: Inbound, accepted: Accepted, position: int) -> list[AuditRow]:
        """A leaf that is no known event has its place in the log and no row."""
        try:
            event = read_event(accepted, topics.EVENTS)
        except UntrustedRecord:
            self.passed_over += 1
            return []
        return [audit_row(record.partition, position, record.offset, accepted, event)]


@asynccontextmanager
async def verified_log(bus: Bus, deployment: str) -> AsyncIterator[VerifiedLog]:
    """Open the log of the deployment with this fingerprint. Raises `NotInitialised`, `RegistryBroken`."""
    follower = RegistryFollower(bus, deployment)
    try:
        await follower.start()
        yield VerifiedLog(bus, follower)
    finally:
        await follower.stop()
