"""A whole policy processor on a bus in memory: genesis, a producer, a stand-in for the HSM worker, and eyes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tests.support.desk import outcome_of
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS, Signed, first_events, signer

from keyfold.bus import Inbound, MemoryBus, MemoryCluster, Outbound
from keyfold.bus.memory.bus import MemorySender
from keyfold.deciding.admission import Place
from keyfold.deciding.cedar import Authorizer
from keyfold.events import facts, topics
from keyfold.events.chains import ChainReader, read_event
from keyfold.events.replies import Reply, parse_reply
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.streams import partition_of
from keyfold.events.trust import Trust
from keyfold.log import Author, DeadLetters, RegistryFollower
from keyfold.policy.answers import Answerer
from keyfold.policy.batch import Decider
from keyfold.policy.processor import Parts, Processor
from keyfold.policy.service import Service


class Writer:
    """Signs as one role and writes to events, one transaction per call."""

    def __init__(self, bus: MemoryBus, role: str) -> None:
        self.bus, self.role = bus, role
        self.author = Author(DEPLOYMENT, role, signer(role).fingerprint, signer(role).sign)
        self.heads: dict[tuple[str, int], ChainHead] = {}

    def sign(self, entries: list[Entry], partition: int, topic: str = topics.EVENTS) -> list[Outbound]:
        head = self.heads.get((topic, partition), ChainHead())
        self.heads[topic, partition], records = self.author.records(topic, partition, head, entries)
        return records

    async def write(self, *events: facts.Event) -> None:
        """Write events of one stream's partition in one statement."""
        partition = partition_of(events[0].subject, PARTITIONS)
        entries = [Entry(event.subject.encode(), event.to_value()) for event in events]
        await self.raw(self.sign(entries, partition))

    async def raw(self, records: list[Outbound]) -> None:
        writer = self.bus.writer(f"test-{self.role}")
        await writer.start()
        await writer.commit(records)
        await writer.stop()


class CheckedSender(MemorySender):
    """Looks, whenever a reply leaves, that the decision it speaks of is committed."""

    def __init__(self, deployment: "Deployment") -> None:
        super().__init__(deployment.cluster)
        self._deployment = deployment

    async def send(self, record: Outbound) -> Awaitable[int]:
        if record.topic == topics.REPLIES:
            data = parse_reply(record.value or b"").data
            if data.decision is not None:
                partition = partition_of((record.key or b"").decode(), PARTITIONS)
                assert data.decision in {event.id for event in self._deployment.decisions(partition)}
        return await super().send(record)


class Deployment:
    """Everything outside policy, and instances of policy on request. `clock_ms` stands still until it is moved."""

    def __init__(self) -> None:
        self.clock_ms = START_MS
        self.cluster = MemoryCluster(PARTITIONS, clock_ms=lambda: self.clock_ms)
        self.bus = MemoryBus(self.cluster)
        self.root, self.hsm = Writer(self.bus, "root"), Writer(self.bus, "hsm")
        self.executed: set[tuple[int, int]] = set()

    async def begin(self, **options: Any) -> None:
        """Write the first events."""
        events = first_events(**options)
        await self.root.write(*events[:-1])
        await self.hsm.write(events[-1])

    async def parts(self, bus: MemoryBus | None = None, **options: Any) -> Parts:
        """What one process is made of; its follower is not started."""
        bus = bus or self.bus
        sender = CheckedSender(self)
        await sender.start()
        key = signer("policy")
        author = Author(DEPLOYMENT, "policy", key.fingerprint, key.sign)
        follower = RegistryFollower(bus, DEPLOYMENT)
        known = {"clock_ms": lambda: self.clock_ms} | options
        return Parts(bus, author, follower, sender, DeadLetters(sender, "policy"), **known)

    @contextlib.asynccontextmanager
    async def following(self, bus: MemoryBus | None = None, **options: Any) -> AsyncIterator[Parts]:
        """Parts whose follower has started and tails."""
        parts = await self.parts(bus, **options)
        await parts.follower.start()
        tail = asyncio.create_task(parts.follower.run())
        try:
            yield parts
        finally:
            await cancelled(tail)

    def processor(self, parts: Parts, partition: int) -> Processor:
        """A processor of one partition that nothing runs yet."""
        registry = None if partition == 0 else parts.follower.view
        answerer = Answerer(DEPLOYMENT, signer("policy"))
        place = Place(DEPLOYMENT, partition, PARTITIONS)
        return Processor(partition, parts, Decider(place, registry, Authorizer(), answerer))

    @contextlib.asynccontextmanager
    async def running(self, partition: int, bus: MemoryBus | None = None, **options: Any) -> AsyncIterator[Processor]:
        """One processor with parts of its own, owning its partition until the block ends."""
        async with self.following(bus, **options) as parts:
            processor = self.processor(parts, partition)
            task = asyncio.create_task(processor.run())
            try:
                yield processor
            finally:
                await cancelled(task)

    @contextlib.asynccontextmanager
    async def service(self, instance: str = "0", *, alone: bool = True, **options: Any) -> AsyncIterator[Service]:
        """Run a service until the block ends; everything that began meanwhile is gone then, if it was `alone`."""
        ready = asyncio.Event()
        before = asyncio.all_tasks()
        service = Service(await self.parts(**options), signer("policy"), instance, ready.set)
        task = asyncio.create_task(service.run())
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        assert ready.is_set(), "the service did not get ready"
        try:
            yield service
        finally:
            task.cancel()
            await asyncio.wait({task})
            await asyncio.sleep(0)
            left = {each for each in asyncio.all_tasks() - before if not each.done() and each is not waiting}
            assert not left or not alone, f"tasks leaked: {left}"

    async def send(self, *commands: Signed) -> list[int]:
        """Produce commands; return their offsets."""
        return [await self.raw(command.outbound()) for command in commands]

    async def raw(self, record: Outbound) -> int:
        sender = self.bus.sender()
        await sender.start()
        return await (await sender.send(record))

    def read(self, topic: str, partition: int, *, committed: bool = True) -> list[Inbound]:
        found, _ = self.cluster.log(topic, partition).read(0, committed=committed, max_records=1_000_000)
        return found

    def trust(self) -> Trust:
        trust = Trust.pin(DEPLOYMENT, signer("root").public_key)
        for event in first_events()[1:3]:
            trust = trust.with_event(event)
        return trust

    def verified(self, topic: str, partition: int) -> list[tuple[Inbound, facts.Event]]:
        """All believed records of a committed log: raises where a chain has a gap or a record is not authentic."""
        chains, trust = ChainReader(topic, partition, PARTITIONS), self.trust()
        found = []
        for record in self.read(topic, partition):
            accepted = chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
            # A ticket carries its decision's event, which belongs on the events topic.
            found.append((record, read_event(accepted, topics.EVENTS)))
        return found

    def decisions(self, partition: int) -> list[facts.PolicyEvent]:
        return [e for _, e in self.verified(topics.EVENTS, partition) if isinstance(e, facts.PolicyEvent)]

    def tickets(self, partition: int) -> list[facts.PolicyEvent]:
        return [e for _, e in self.verified(topics.AUTHORIZED, partition) if isinstance(e, facts.PolicyEvent)]

    def replies(self, partition: int = 0) -> list[Reply]:
        return [parse_reply(record.value or b"") for record in self.read(topics.REPLIES, partition)]

    def dead_letters(self) -> list[Inbound]:
        return self.read(topics.DEAD_LETTERS, 0)

    async def execute(self, partition: int) -> list[facts.Outcome]:
        """Let a worker answer every ticket that it has not answered yet, in one transaction."""
        outcomes = []
        for ticket in self.tickets(partition):
            place = (partition, ticket.data.decision.offset)
            if place not in self.executed:
                self.executed.add(place)
                outcomes.append(outcome_of(ticket))
        if outcomes:
            await self.hsm.write(*outcomes)
        return outcomes


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait; an error that ended it before is raised."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Wait for a condition; fails when it does not come."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)
