"""The log as `Replay` takes it, from the audit trail in Postgres or verified from the log itself.

Both give each partition's leaves in order, a page at a time: the log may be larger than memory. The audit trail is
believed as the projector wrote it; the log is believed by the signatures of its authors.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from keyfold.bus import Bus
from keyfold.cli.exits import NotReady
from keyfold.cli.projected import key_id_of
from keyfold.cli.session import Session
from keyfold.client.identifiers import is_alias
from keyfold.deciding.replaying import REGISTRY_PARTITION, Leaf, Recorded, Replay
from keyfold.events import facts, topics
from keyfold.events.entities import Alias
from keyfold.events.errors import NotFound
from keyfold.log import RegistryFollower
from keyfold.projections import fold
from keyfold.projections.ports import Queries
from keyfold.projections.positions import Offsets
from keyfold.projections.replay import Replay as Believing
from keyfold.projections.rows import Report

PROGRESS_EVERY: Final = 10_000
_PAGE: Final = 1000


class Source(Protocol):
    """The leaves of a deployment's log."""

    partitions: int

    def read(self, partition: int) -> AsyncGenerator[Leaf, None]:
        """Yield the leaves of a partition as it is now. Partition 0 is to be begun last: it explains the others."""

    def leaves(self) -> int:
        """Return how many leaves partition 0 has, after it was read."""

    async def key_id(self, key: str) -> str:
        """Return the id of a key named by id or alias. Raises `NotFound`, `InvalidArgument`."""


class AuditSource:
    """The audit trail. What the projector has not folded yet is not there."""

    def __init__(self, queries: Queries, partitions: int) -> None:
        self._queries, self.partitions = queries, partitions
        self._leaves = 0

    async def read(self, partition: int) -> AsyncGenerator[Leaf, None]:
        """See the port. A page that is empty after the number of leaves was asked for is the end."""
        position, ended = 0, False
        while True:
            rows = await self._queries.audit_log(partition, position, _PAGE)
            for row in rows:
                event = facts.parse_event(row.value)
                yield Leaf(partition, row.position, row.role, row.statement_n, event, row.value)
                position = row.position + 1
            if rows:
                ended = False
            elif ended or partition != REGISTRY_PARTITION:
                return
            else:
                ended, self._leaves = True, await self._position()

    async def _position(self) -> int:
        found = [row.position for row in await self._queries.progress() if row.partition == REGISTRY_PARTITION]
        return found[0] if found else 0

    def leaves(self) -> int:
        """See the port."""
        return self._leaves

    async def key_id(self, key: str) -> str:
        """See the port."""
        return await key_id_of(self._queries, key)


class LogSource:
    """The events topic. `passed_over` counts records that are not authentic or no events."""

    def __init__(self, bus: Bus, follower: RegistryFollower) -> None:
        self._bus, self._follower = bus, follower
        self.partitions = follower.deployment_entity.partitions
        self.passed_over = 0
        self._leaves = 0

    async def read(self, partition: int) -> AsyncGenerator[Leaf, None]:
        """See the port. Raises `ChainGap`."""
        believing = Believing(self.partitions, Offsets(partition))
        position = 0
        reader = self._bus.reader(topics.EVENTS, partition, committed=True)
        await reader.start(None)
        try:
            async for batch in reader.read_to_end():
                for record in batch:
                    found = believing.read(self._follower.trust, record)
                    if isinstance(found, fold.Leaf):
                        statement_n = found.accepted.place.head.n
                        role, value = found.accepted.role, found.accepted.entry.value
                        yield Leaf(partition, position, role, statement_n, found.event, value)
                    else:
                        self.passed_over += 1
                    position += not isinstance(found, Report)
        finally:
            await reader.stop()
        if partition == REGISTRY_PARTITION:
            self._leaves = position

    def leaves(self) -> int:
        """See the port."""
        return self._leaves

    async def key_id(self, key: str) -> str:
        """See the port."""
        if not is_alias(key):
            return key
        alias = self._follower.view.get(key)
        if not isinstance(alias, Alias):
            raise NotFound(f"there is no {key} in the registry")
        return alias.key_id


@asynccontextmanager
async def source(session: Session, *, log: bool) -> AsyncIterator[Source]:
    """Open the log, or what the projections hold of it."""
    config = session.config
    if log:
        bus = session.bus(config)
        follower = RegistryFollower(bus, config.deployment or "")
        try:
            await follower.start()
            opened = LogSource(bus, follower)
            yield opened
        finally:
            await follower.stop()
        if opened.passed_over:
            session.say(f"{opened.passed_over} records are not authentic and were passed over")
        return
    async with session.queries(config) as queries:
        deployment = await queries.deployment()
        if deployment is None:
            raise NotReady("the projections hold nothing yet; is the projector running?")
        yield AuditSource(queries, deployment.partitions)


@dataclass
class Replaying:
    """Replays partitions from a source. `waiting` are, at the end, decisions that knew more than the source holds."""

    source: Source
    partitions: Collection[int]
    progress: Callable[[str], None] | None = None
    waiting: tuple[Leaf, ...] = field(default=(), init=False)

    async def decisions(self) -> AsyncGenerator[Recorded, None]:
        """Yield decisions, each with its world, which is live until the next one is asked for."""
        replay = Replay(self.partitions)
        readers = {partition: self.source.read(partition) for partition in {REGISTRY_PARTITION, *self.partitions}}
        done = 0
        try:
            while (partition := replay.wanted) is not None:
                leaf = await anext(readers[partition], None)
                found = replay.end(partition, self.source.leaves()) if leaf is None else replay.take(leaf)
                for recorded in found:
                    yield recorded
                    done += 1
                    if self.progress is not None and done % PROGRESS_EVERY == 0:
                        self.progress(f"{done} decisions, up to {recorded.event.time}")
        finally:
            for reader in readers.values():
                await reader.aclose()
        self.waiting = replay.waiting
