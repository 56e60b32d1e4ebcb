"""The loop around deciding: one task and one transactional producer per owned partition.

Take-over (design, section 5, rule 3): 1. start the writer: the predecessor is fenced, its transaction settled;
2. read the state topic to its end and verify it; 3. write and read back one head: the broker's clock is checked and the
state is known to be ours; 4. start the inputs at the stored positions and fold events to their end: partition 0 knows
nobody before; 5. work.

A step of work: fold facts, decide a batch on a draft, commit events, tickets and state in one transaction, promote the
draft, then send replies. Whatever goes wrong between begin and commit is in doubt: everything is dropped and taken
over again. Recovery is the start-up path.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from keyfold.bus import (
    Bus,
    BusUnavailable,
    Inbound,
    NotAuthorized,
    Outbound,
    Reader,
    RecordRefused,
    RecordTooLarge,
    Sender,
    Writer,
    header_bytes,
)
from keyfold.events import topics
from keyfold.events.errors import KeyfoldError, Unavailable
from keyfold.log import (
    Author,
    DeadLetters,
    Gatherer,
    RegistryFollower,
    Settling,
    StateCorrupt,
    StateTopic,
    transactional_id,
)
from keyfold.logging import get_logger
from keyfold.policy import metrics
from keyfold.policy.batch import Batch, Decider
from keyfold.policy.facts_reader import FactsReader, StateBehind
from keyfold.policy.state import Draft, State, chain_ends
from keyfold.telemetry import tracing
from keyfold.telemetry.tracing import handed_on

CLOCK_TOLERANCE_MS: Final = 30_000
MAX_BATCH_RECORDS: Final = 200
MAX_BATCH_BYTES: Final = 3 * topics.MIB
CLOCK_CHECK_SECONDS: Final = 5.0
FACTS_PAUSE_SECONDS: Final = 0.05
IDLE_SAVE_SECONDS: Final = 1.0
REPLY_SECONDS: Final = 1.0
ABORTS_BEFORE_SINGLE: Final = 3
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.5
_log = get_logger()


class ClockSkew(Unavailable):
    """The broker's clock and ours differ too much to decide anything that depends on time."""

    code = "ClockSkew"


def check_clock(broker_ms: int, now_ms: int) -> None:
    """Raise `ClockSkew` where the broker's clock and ours are more than 30 s apart."""
    if abs(broker_ms - now_ms) > CLOCK_TOLERANCE_MS:
        raise ClockSkew(f"the broker's clock is {broker_ms - now_ms} ms ahead of ours; correct the clocks")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a processor works with, made once per process."""

    bus: Bus
    author: Author
    follower: RegistryFollower
    sender: Sender
    dead_letters: DeadLetters
    max_in_flight: int = 500
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


class Owned:
    """One partition while it is owned: everything here is dropped when anything is in doubt."""

    def __init__(self, partition: int, parts: Parts, decider: Decider) -> None:
        bus = parts.bus
        self._partition, self._parts, self._decider = partition, parts, decider
        self.writer: Writer = bus.writer(transactional_id("policy", partition))
        self._state_reader = bus.reader(topics.POLICY_STATE, partition, committed=True)
        self._commands: Reader = bus.reader(topics.COMMANDS, partition, committed=False)
        self._gatherer = Gatherer(self._commands)
        self._events: Reader = bus.reader(topics.EVENTS, partition, committed=True)
        self._topic = StateTopic(parts.author, topics.POLICY_STATE, partition)

    async def take_over(self) -> None:
        """Steps 1 to 4."""
        await self.writer.start()
        await self._parts.follower.catch_up()
        await self._settle()
        restored = await self._topic.restore(self._state_reader, self._parts.follower.trust)
        self.state = State.from_records(restored.head, restored.records)
        self._saved_head = self.state.head
        await self._check_clock()
        partitions = self._parts.follower.deployment_entity.partitions
        report = self._parts.dead_letters.report
        self._facts = FactsReader(self._partition, partitions, self.state, self._parts.follower, report)
        await self._events.start(self.state.head.events)
        await self._fold_to_end()
        await self._commands.start(self.state.head.commands)

    async def _settle(self) -> None:
        """End what the predecessor left open: the fencing alone does not always."""
        parts, chains = self._parts, (topics.EVENTS, topics.AUTHORIZED)
        settling = Settling(
            parts.bus, parts.follower.trust, "policy", self._partition, topics.POLICY_STATE, chains, chain_ends
        )
        await settling.settle(self.writer)

    async def _fold_to_end(self) -> None:
        """Know all that was written before. The state is the latest, as nobody else can write since the fencing."""
        try:
            async for records in self._events.read_to_end():
                await self.fold(records)
        except StateBehind as error:
            raise StateCorrupt(f"an older state was put back: {error}") from None

    async def _check_clock(self) -> None:
        """Write our own head and read back when the broker stamped it."""
        last = await self._commit(Draft(self.state), Batch())
        deadline = asyncio.get_running_loop().time() + CLOCK_CHECK_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            for record in await self._state_reader.poll(_POLL_SECONDS):
                if record.offset == last:
                    return check_clock(record.timestamp_ms, self._parts.clock_ms())
        raise BusUnavailable("our own state record did not come back in time")

    async def read_facts(self) -> list[Inbound]:
        """Wait for what the HSM worker and root wrote. Outcomes are in no hurry: a pause makes few fetches of many."""
        await asyncio.sleep(FACTS_PAUSE_SECONDS)
        return await self._events.poll(_POLL_SECONDS)

    async def read_commands(self) -> list[Inbound]:
        """Wait for commands."""
        return await self._gatherer.poll(_POLL_SECONDS, MAX_BATCH_RECORDS)

    async def fold(self, records: list[Inbound]) -> None:
        """Fold facts into the state; they are written with the next transaction."""
        await self._facts.fold(records, self._events.position())

    @property
    def decidable(self) -> bool:
        """Tell whether what was folded is something that a decision can name."""
        return self._facts.whole

    async def decide(self, records: list[Inbound], *, refuse_all: bool = False) -> None:
        """Decide a batch, commit, promote, answer."""
        now_ms = self._parts.clock_ms()
        check_clock(max(now_ms, *(record.timestamp_ms for record in records)), now_ms)
        draft = Draft(self.state)
        batch = self._decider.decide_all(records, draft, refuse_all=refuse_all)
        began = time.perf_counter()
        try:
            if batch.events:
                batch.spans.transaction("policy.transaction", partition=self._partition)
                await self._commit(draft, batch)
            else:
                self.state.move(now_ms=draft.head.now_ms, commands=draft.head.commands)
        except BaseException as error:
            batch.spans.end(type(error).__name__)
            raise
        batch.spans.end()
        commit_s = time.perf_counter() - began if batch.events else None
        batch.tally.count(len(records), self._parts.clock_ms(), commit_s)
        await self._say(batch)

    async def save(self) -> None:
        """Write folded facts and positions when nothing else is written."""
        if self.state.unsaved or self.state.head != self._saved_head:
            await self._commit(Draft(self.state), Batch())

    async def _commit(self, draft: Draft, batch: Batch) -> int:
        author, head = self._parts.author, draft.head
        events_head, events = author.records(topics.EVENTS, self._partition, head.events_head, batch.events)
        tickets_head, tickets = author.records(topics.AUTHORIZED, self._partition, head.authorized_head, batch.tickets)
        tickets = [handed_on(*each) for each in zip(tickets, batch.ticket_traces, strict=True)]
        draft.advance(events_head=events_head, authorized_head=tickets_head)
        staged = self._topic.stage(self.state.changes(draft), draft.head.to_json())
        offsets = await self.writer.commit([*events, *tickets, *staged.records])
        # If we crash here, the transaction stands and nobody was told: the successor restores it and answers
        # repeated commands from memory; the HSM worker answers the tickets.
        self._topic.promote(staged)
        self.state.promote(draft)
        self._saved_head = self.state.head
        return offsets[-1]

    async def _say(self, batch: Batch) -> None:
        for letter in batch.dead_letters:
            await self._parts.dead_letters.report(*letter)
        full: set[tuple[str, int]] = set()
        for reply, trace in zip(batch.replies, batch.reply_traces, strict=True):
            if (reply.topic, reply.partition) not in full:
                span = tracing.current().begin("reply", "producer", parent=trace)
                sent = await self._sent(reply)
                span.end(None if sent else "NotSent")
                full |= set() if sent else {(reply.topic, reply.partition)}

    async def _sent(self, reply: Outbound) -> bool:
        """Send one reply; False where its partition takes none in time. A caller without an answer asks again."""
        partitions = self._parts.sender.partitions_of(reply.topic)
        if partitions is None or reply.partition >= partitions:
            metrics.REPLIES_DROPPED.inc()
            _log.warning("reply-dropped", topic=reply.topic, partition=reply.partition)
            return False
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                await self._parts.sender.send(reply)
        except (KeyfoldError, TimeoutError) as error:
            metrics.REPLIES_DROPPED.inc()
            _log.warning("reply-not-sent", topic=reply.topic, reason=type(error).__name__)
            return False
        return True

    async def stop(self) -> None:
        """Release everything."""
        for part in (self.writer, self._commands, self._events, self._state_reader):
            await part.stop()


class Processor:
    """Owns one partition again and again until cancelled, or until its log cannot be believed.

    `running` is set while it is owned. `stepped_s` is when its loop last came round (monotonic), None while there is
    no loop; `owned` is the partition while it is owned.
    """

    def __init__(self, partition: int, parts: Parts, decider: Decider) -> None:
        self.partition = partition
        self.running = asyncio.Event()
        self.stepped_s: float | None = None
        self.owned: Owned | None = None
        self._parts, self._decider = parts, decider
        self._refused_in_a_row = 0
        self._single_until = -1
        self._refused_alone: int | None = None

    async def run(self) -> None:
        """Take over and work; retry with back-off. Raises what retrying does not cure.

        Access rules of the brokers may be set while this process runs.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await self._own()
            except (Unavailable, RecordTooLarge, NotAuthorized) as error:
                self._note(error)
                if asyncio.get_running_loop().time() - started > 30:
                    pause = FIRST_PAUSE_SECONDS
                metrics.RESTORES.inc()
                _log.warning("partition-retries", partition=self.partition, code=error.code, reason=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _note(self, error: KeyfoldError) -> None:
        """Count aborts that a record caused; unavailability and fencing never count as such."""
        if isinstance(error, RecordRefused | RecordTooLarge):
            self._refused_in_a_row += 1

    async def _own(self) -> None:
        owned = Owned(self.partition, self._parts, self._decider)
        try:
            await owned.take_over()
            self.owned = owned
            self.running.set()
            _log.info("partition-owned", partition=self.partition, commands=owned.state.head.commands)
            await self._work(owned)
        finally:
            self.running.clear()
            self.owned = self.stepped_s = None
            self._decider.forget()
            await owned.stop()

    async def _work(self, owned: Owned) -> None:
        facts = asyncio.ensure_future(owned.read_facts())
        commands: asyncio.Future[list[Inbound]] | None = None
        records: list[Inbound] = []  # read and not decided yet
        last_work = asyncio.get_running_loop().time()
        try:
            while True:
                if commands is None and not records and self._may_decide(owned):
                    commands = asyncio.ensure_future(owned.read_commands())
                waiting = [task for task in (facts, commands) if task is not None]
                self.stepped_s = time.monotonic()
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if facts.done():
                    await owned.fold(facts.result())
                    facts = asyncio.ensure_future(owned.read_facts())
                if commands is not None and commands.done():
                    records, commands = commands.result(), None
                if records and self._may_decide(owned):
                    await self._decide(owned, records)
                    records, last_work = [], asyncio.get_running_loop().time()
                if asyncio.get_running_loop().time() - last_work > IDLE_SAVE_SECONDS:
                    await owned.save()
        finally:
            for task in (facts, commands):
                if task is not None:
                    task.cancel()
            await asyncio.gather(*(task for task in (facts, commands) if task is not None), return_exceptions=True)

    def _may_decide(self, owned: Owned) -> bool:
        in_flight = owned.state.memory.in_flight
        return in_flight < self._parts.max_in_flight and owned.decidable and self._parts.follower.fresh()

    async def _decide(self, owned: Owned, records: list[Inbound]) -> None:
        """Decide in pieces that fit one transaction; record by record after repeated aborts (rule 6)."""
        if self._refused_in_a_row >= ABORTS_BEFORE_SINGLE and self._single_until < records[0].offset:
            self._single_until = records[-1].offset
        for piece in _pieces(records, self._single_until):
            offset = piece[0].offset
            try:
                await owned.decide(piece, refuse_all=offset == self._refused_alone)
            except (RecordRefused, RecordTooLarge):
                if offset <= self._single_until:
                    self._refused_alone = offset
                raise
            self._refused_in_a_row = 0


def _pieces(records: list[Inbound], single_until: int) -> list[list[Inbound]]:
    pieces: list[list[Inbound]] = []
    size = 0
    for record in records:
        weight = 3 * len(record.value or b"") + header_bytes(record.headers)
        single = record.offset <= single_until
        if not pieces or single or size + weight > MAX_BATCH_BYTES:
            pieces.append([])
            size = 0
        pieces[-1].append(record)
        size += weight
    return pieces
