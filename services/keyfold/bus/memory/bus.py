"""The ports on a `MemoryCluster`. Every call yields to the event loop at least once, as the real ones do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence

from keyfold.bus.batches import check_size
from keyfold.bus.errors import (
    BusError,
    BusUnavailable,
    Fenced,
    InDoubt,
    RecordRefused,
    TopicMismatch,
    UnknownDestination,
    WriterUnusable,
)
from keyfold.bus.freshness import CatchUp
from keyfold.bus.memory.cluster import Fault, MemoryCluster
from keyfold.bus.memory.log import Outcome, Transaction
from keyfold.bus.ports import MAX_POLL_RECORDS
from keyfold.bus.records import Inbound, Outbound
from keyfold.bus.topic_changes import Alterations
from keyfold.bus.topic_plan import plan
from keyfold.events.topics import TOPICS, Topic


class MemoryWriter:
    """See `keyfold.bus.ports.Writer`."""

    def __init__(self, cluster: MemoryCluster, transactional_id: str) -> None:
        self._cluster, self._id = cluster, transactional_id
        self._epoch = 0
        self._state = "not started"

    async def start(self) -> None:
        """Fence the predecessor."""
        self._require("not started")
        await asyncio.sleep(0)
        self._epoch = self._cluster.fence(self._id)
        self._state = "ready"

    async def commit(self, records: Sequence[Outbound]) -> list[int]:
        """Write all or nothing."""
        self._require("ready")
        for index, record in enumerate(records):
            check_size(record, index)
        if not records:
            return []
        self._state = "in doubt"
        await asyncio.sleep(0)
        try:
            offsets = self._transact(records)
        except BusUnavailable as error:
            raise InDoubt(f"a transaction of {self._id} is in doubt: {error}") from error
        await asyncio.sleep(0)
        self._state = "ready"
        return offsets

    async def end_open(self, places: Sequence[tuple[str, int]], *, commit: bool) -> None:
        """End what an earlier writer left open; a transaction is ended in all its places at once here."""
        self._require("ready")
        await asyncio.sleep(0)
        self._cluster.require_up()
        if not self._cluster.is_current(self._id, self._epoch):
            self._state = "in doubt"
            raise Fenced(f"{self._id} has a newer writer; this one is in doubt")
        self._cluster.end_unmarked(self._id, places, Outcome.COMMITTED if commit else Outcome.ABORTED)

    async def stop(self) -> None:
        """Leave whatever is open to the successor."""
        self._state = "stopped"

    def _transact(self, records: Sequence[Outbound]) -> list[int]:
        self._cluster.require_up()
        if not self._cluster.is_current(self._id, self._epoch):
            raise Fenced(f"{self._id} has a newer writer; this one is in doubt")
        fault = self._cluster.take_fault(self._id)
        offsets = self._append(self._cluster.begin(self._id), records)
        if fault is Fault.HANGING:
            self._cluster.wake()
        elif fault is Fault.UNMARKED:
            self._cluster.leave_unmarked(self._id)
        else:
            aborted = fault in {Fault.LOST, Fault.REFUSED}
            self._cluster.finish(self._id, Outcome.ABORTED if aborted else Outcome.COMMITTED)
        if fault is not None:
            kind = RecordRefused if fault is Fault.REFUSED else InDoubt
            raise kind(f"a transaction of {self._id} is in doubt: injected fault")
        return offsets

    def _append(self, transaction: Transaction, records: Sequence[Outbound]) -> list[int]:
        offsets, now = [], self._cluster.clock_ms()
        for record in records:
            log = self._cluster.log(record.topic, record.partition)
            if len(record.value or b"") > int(self._cluster.plans[record.topic].configs["max.message.bytes"]):
                self._cluster.finish(self._id, Outcome.ABORTED)
                raise RecordRefused(f"{record.topic} refuses a record; a transaction of {self._id} is in doubt")
            offsets.append(log.append(record, now, transaction))
        return offsets

    def _require(self, state: str) -> None:
        if self._state != state:
            raise WriterUnusable(f"the writer {self._id} is {self._state}; stop it and start a new one")


class MemoryReader:
    """See `keyfold.bus.ports.Reader`."""

    def __init__(self, cluster: MemoryCluster, topic: str, partition: int, *, committed: bool) -> None:
        self._cluster, self._topic, self._partition = cluster, topic, partition
        self._committed = committed
        self._position: int | None = None
        self._catch_up = CatchUp()

    async def start(self, position: int | None) -> None:
        """Stand at a position."""
        if self._position is not None:
            raise BusError(f"the reader of {self._topic}-{self._partition} was started before; stop it first")
        await asyncio.sleep(0)
        log = self._cluster.log(self._topic, self._partition)
        where = log.start if position is None else position
        log.check(where)
        self._position = where

    async def poll(self, timeout_s: float, max_records: int = MAX_POLL_RECORDS) -> list[Inbound]:
        """Return what comes next."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        await asyncio.sleep(0)
        while True:
            log = self._cluster.log(self._topic, self._partition)
            found, self._position = log.read(self.position(), committed=self._committed, max_records=max_records)
            self._catch_up.saw(self._position, log.high_watermark, loop.time())
            left = deadline - loop.time()
            if found or left <= 0:
                return found
            await self._cluster.changed(left)

    async def end_offset(self) -> int:
        """Return the end as this reader sees it."""
        await asyncio.sleep(0)
        return self._cluster.log(self._topic, self._partition).end(committed=self._committed)

    def position(self) -> int:
        """Return the next offset."""
        if self._position is None:
            raise BusError(f"the reader of {self._topic}-{self._partition} is not started")
        return self._position

    def caught_up_at(self) -> float | None:
        """Return when the latest passed high watermark was seen."""
        return self._catch_up.at

    async def read_to_end(self) -> AsyncIterator[list[Inbound]]:
        """Yield batches up to the end."""
        end = await self.end_offset()
        while self.position() < end:
            if records := await self.poll(0):
                yield records

    async def seek(self, position: int) -> None:
        """Continue elsewhere."""
        self.position()
        await self.stop()
        await self.start(position)

    async def stop(self) -> None:
        """Forget the position."""
        self._position = None


class MemorySender:
    """See `keyfold.bus.ports.Sender`. `undelivered` counts records that the cluster did not take."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._started = False
        self.undelivered = 0

    async def start(self) -> None:
        """Connect."""
        await asyncio.sleep(0)
        self._cluster.require_up()
        self._started = True

    async def send(self, record: Outbound) -> Awaitable[int]:
        """Append at once."""
        if not self._started:
            raise BusError("the sender is not started")
        check_size(record, 0)
        if not 0 <= record.partition < (self.partitions_of(record.topic) or 0):
            raise UnknownDestination(record.topic, record.partition)
        await asyncio.sleep(0)
        log = self._cluster.log(record.topic, record.partition)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(log.append(record, self._cluster.clock_ms(), None))
        self._cluster.wake()
        return done

    def partitions_of(self, topic: str) -> int | None:
        """Look the topic up."""
        return self._cluster.partitions_of(topic)

    async def flush(self) -> None:
        """Nothing is ever pending."""

    async def stop(self) -> None:
        """Disconnect."""
        self._started = False


class MemoryMembership:
    """See `keyfold.bus.ports.Membership`."""

    def __init__(self, cluster: MemoryCluster, group: str, topic: str, instance_id: str) -> None:
        self._cluster, self._group, self._topic, self._instance = cluster, group, topic, instance_id
        self._wanted: frozenset[int] = frozenset()
        self._told: frozenset[int] = frozenset()
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Join."""
        await asyncio.sleep(0)
        self._cluster.join(self._group, self._topic, self._instance, self._note)

    @property
    def wanted(self) -> frozenset[int]:
        """The last known assignment."""
        return self._wanted

    async def wait_change(self, known: frozenset[int] | None = None) -> frozenset[int]:
        """Return the wanted set as soon as it differs."""
        compare_with = self._told if known is None else known
        while self._wanted == compare_with:
            self._changed.clear()
            await self._changed.wait()
        self._told = self._wanted
        return self._wanted

    async def stop(self) -> None:
        """Stop heartbeats; the session ends later."""
        expire = self._cluster.expire
        asyncio.get_running_loop().call_later(
            self._cluster.session_timeout_s, expire, self._group, self._topic, self._instance, self._note
        )

    def _note(self, partitions: frozenset[int]) -> None:
        self._wanted = partitions
        self._changed.set()


class MemoryAdmin:
    """See `keyfold.bus.ports.Admin`."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    async def start(self) -> None:
        """Connect."""
        await asyncio.sleep(0)
        self._cluster.require_up()

    async def create_topics(
        self,
        partitions: int,
        *,
        replication_factor: int,
        min_insync_replicas: int,
        topics: Iterable[Topic] = TOPICS,
        reply_names: Iterable[str] = (),
    ) -> list[str]:
        """Create what is missing; replication means nothing here."""
        del replication_factor
        await asyncio.sleep(0)
        rows = plan(partitions, topics, reply_names, min_insync_replicas)
        return [row.name for row in rows if self._cluster.create(row)]

    async def verify_topics(
        self,
        partitions: int,
        *,
        min_insync_replicas: int | None = None,
        topics: Iterable[Topic] = TOPICS,
        reply_names: Iterable[str] = (),
    ) -> None:
        """Compare with what was created."""
        await asyncio.sleep(0)
        differences: list[str] = []
        for row in plan(partitions, topics, reply_names, min_insync_replicas):
            present = self._cluster.plans.get(row.name)
            configs = {} if present is None else present.configs
            differences += row.differences(self._cluster.partitions_of(row.name), configs)
        if differences:
            raise TopicMismatch(tuple(differences))

    async def alter_topics(
        self,
        partitions: int,
        *,
        min_insync_replicas: int | None = None,
        topics: Iterable[Topic] = TOPICS,
        reply_names: Iterable[str] = (),
    ) -> list[str]:
        """Change what was created."""
        rows = {row.name: row for row in plan(partitions, topics, reply_names, min_insync_replicas)}
        wanted = Alterations()
        for name in sorted(rows.keys() & self._cluster.plans.keys()):
            count = self._cluster.partitions_of(name) or 0
            ends, starts = await self.end_offsets(name, committed=False), await self.start_offsets(name)
            wanted.add(rows[name], count, self._cluster.plans[name].configs, empty=ends == starts)
        for name, settings in wanted.settings().items():
            self._cluster.alter(name, settings)
        return wanted.sentences

    async def delete_records(self, topic: str, partition: int, before_offset: int) -> int:
        """Move the start of the log."""
        await asyncio.sleep(0)
        log = self._cluster.log(topic, partition)
        log.delete_before(before_offset)
        return log.start

    async def start_offsets(self, topic: str) -> Mapping[int, int]:
        """Return the starts."""
        await asyncio.sleep(0)
        count = self._cluster.partitions_of(topic) or 0
        return {partition: self._cluster.log(topic, partition).start for partition in range(count)}

    async def end_offsets(self, topic: str, *, committed: bool = True) -> Mapping[int, int]:
        """Return the ends."""
        await asyncio.sleep(0)
        count = self._cluster.partitions_of(topic) or 0
        return {partition: self._cluster.log(topic, partition).end(committed=committed) for partition in range(count)}

    async def lag(self, topic: str, positions: Mapping[int, int], *, committed: bool = True) -> Mapping[int, int]:
        """Return how far each position is behind."""
        ends = await self.end_offsets(topic, committed=committed)
        return {partition: max(0, ends[partition] - position) for partition, position in positions.items()}

    async def stop(self) -> None:
        """Disconnect."""


class MemoryBus:
    """See `keyfold.bus.ports.Bus`. Several on one cluster are several processes."""

    def __init__(self, cluster: MemoryCluster | None = None) -> None:
        self.cluster = cluster or MemoryCluster()

    def writer(self, transactional_id: str) -> MemoryWriter:
        """Return an unstarted writer."""
        return MemoryWriter(self.cluster, transactional_id)

    def reader(self, topic: str, partition: int, *, committed: bool) -> MemoryReader:
        """Return an unstarted reader."""
        return MemoryReader(self.cluster, topic, partition, committed=committed)

    def sender(self) -> MemorySender:
        """Return an unstarted sender."""
        return MemorySender(self.cluster)

    def membership(self, group: str, topic: str, instance_id: str) -> MemoryMembership:
        """Return an unstarted member."""
        return MemoryMembership(self.cluster, group, topic, instance_id)

    def admin(self) -> MemoryAdmin:
        """Return an unconnected admin client."""
        return MemoryAdmin(self.cluster)
