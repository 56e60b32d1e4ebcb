"""One owned partition: tickets in, outcomes out, one transaction per batch (design, section 5).

For each batch:
 1. read and verify tickets, execute them on a draft: nothing is sent, and no token is asked inside a transaction;
 2. commit outcomes, keystore records, state and position together;
 3. promote the draft;
 4. send the replies.

If we crash before 2 is durable, nothing happened: the tickets are read again. If we crash after it, every outcome
stands and is never made again; replies that did not leave are lost, and callers learn the outcome by asking again.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic, perf_counter

from keyfold.bus import Bus, Inbound, RecordRefused, RecordTooLarge, Sender
from keyfold.custody import HandleCache
from keyfold.events import facts
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.entities import SealingKey
from keyfold.events.errors import InternalError, KeyfoldError, TokenUnavailable
from keyfold.hsm import metrics
from keyfold.hsm.capabilities_duty import CapabilitiesDuty
from keyfold.hsm.dispatcher import Dispatcher
from keyfold.hsm.engine import Work
from keyfold.hsm.evidence import Evidence
from keyfold.hsm.intake import Intake, chunks
from keyfold.hsm.isolation import Isolation
from keyfold.hsm.jobs import KeyCustody
from keyfold.hsm.keyring import Keyring
from keyfold.hsm.keystore import Draft
from keyfold.hsm.outbox import Outbox
from keyfold.hsm.receipts import with_receipts
from keyfold.hsm.restore import Live
from keyfold.hsm.sealing_duties import SealingDuties
from keyfold.hsm.settings import HsmSettings
from keyfold.hsm.spans import TicketSpans
from keyfold.hsm.tickets import Ticket
from keyfold.hsm.transaction import prepare
from keyfold.hsm.upkeep import Upkeep
from keyfold.log import Author, DeadLetters, Gatherer, RegistryFollower


@dataclass(frozen=True, slots=True)
class Parts:
    """What the partitions of one process share, made once by its composition root."""

    bus: Bus
    author: Author
    follower: RegistryFollower
    keyring: Keyring
    dispatcher: Dispatcher
    cache: HandleCache
    duties: SealingDuties
    sender: Sender
    dead_letters: DeadLetters
    settings: HsmSettings
    partitions: int
    custody: KeyCustody
    capabilities: CapabilitiesDuty
    clock_ms: Callable[[], int]


class Partition:
    """The loop over one partition that was taken over. It ends by an exception only, and is thrown away then."""

    def __init__(self, parts: Parts, live: Live, isolation: Isolation, number: int) -> None:
        self._parts, self._live, self._isolation, self._number = parts, live, isolation, number
        self._intake = Intake(parts.follower, parts.dead_letters, number, parts.partitions, live.heads.places)
        self._outbox = Outbox(parts.sender)
        self._upkeep = Upkeep(parts.custody, number, parts.clock_ms)
        self._certified_at: int | None = None
        self._evidence = Evidence(parts.bus, parts.follower, parts.partitions)
        self._transactions = metrics.TRANSACTIONS.labels(number)
        self.batches = 0
        self.stepped_s = monotonic()

    async def run(self) -> None:
        """Work until cancelled, or until something is in doubt."""
        settings = self._parts.settings
        loop = asyncio.get_running_loop()
        gatherer = Gatherer(self._live.tickets)
        wait_s = settings.poll_s
        while True:
            self.stepped_s = monotonic()
            records = await gatherer.poll(wait_s, settings.batch_tickets)
            arrived = loop.time()
            # While the token is down, a ticket that needs none is not held up by one behind it that does.
            down = self._parts.dispatcher.watch.is_down
            alone = bool(records) and (down or self._isolation.isolated(records[0].offset))
            for chunk in chunks(records, 1 if alone else settings.batch_tickets, settings.batch_bytes):
                await self._handle(chunk)
                metrics.BATCH_SECONDS.observe(loop.time() - arrived)
            # While there is more to do, the next batch is not waited for.
            wait_s = 0.0 if await self._keep_up() else settings.poll_s

    async def commit(
        self,
        works: Sequence[Work],
        draft: Draft,
        position: int | None,
        epoch: int | None = None,
        spans: TicketSpans | None = None,
    ) -> None:
        """Commit works in one transaction, then promote the draft and let the replies leave."""
        parts, live = self._parts, self._live
        read_to = (position, self._intake.places)
        heads = live.heads if epoch is None else replace(live.heads, epoch=epoch)
        prepared = prepare(parts.author, self._number, live.state, heads, works, read_to=read_to)
        # If we crash before this returns, the transaction is wholly there or not at all; the next start finds which.
        began = perf_counter()
        offsets = await live.writer.commit(prepared.records)
        metrics.COMMIT.observe(perf_counter() - began)
        # From here on it is durable. If we crash now, only replies are lost.
        live.state.promote(prepared.staged)
        live.heads = prepared.heads
        draft.promote()
        self._transactions.inc()
        if spans is not None:
            spans.end()
        with metrics.REPLY.time():
            await self._outbox.send(with_receipts(works, prepared.records, offsets))

    @property
    def position(self) -> int:
        """The committed position: every ticket below it has its outcome."""
        return self._live.heads.position or 0

    async def first_duties(self) -> None:
        """What partition 0's owner does before its first ticket: erase orphans, make the first sealing key."""
        parts, live = self._parts, self._live
        await parts.dispatcher.call(lambda: parts.duties.reconcile(live.index))
        first = await parts.dispatcher.call(lambda: parts.duties.first(live.index))
        found = await parts.dispatcher.call(lambda: parts.capabilities.report(parts.follower.view))
        for work in (first, found):
            if work is not None:
                await self._commit_own(work)

    async def adopt_epoch(self) -> None:
        """Take up the storage epoch that the partition has turned to. Raises `TokenUnavailable` without its key.

        A worker that made blobs under an older epoch now would lose them with that epoch's key.
        """
        custody, epoch = self._parts.custody, self._live.heads.epoch
        if not await self._parts.dispatcher.call(lambda: custody.adopt_epoch(epoch)):
            raise TokenUnavailable(f"the token does not hold the key of storage epoch {epoch}; is it the right token?")

    async def _keep_up(self) -> bool:
        """Do the next step of upkeep; tell whether there may be more to do at once."""
        parts, live = self._parts, self._live
        voided = self._upkeep.void_imports(live.index) if live.index.imports else None
        if voided is not None and voided.work is not None:
            await self._commit_own(voided.work)
            return True
        follower, deployment = parts.follower, parts.follower.deployment_entity
        turned = live.heads.epoch >= deployment.storage_epoch
        # What is to be certified changes with the registry only.
        if turned and (not live.index.erasures or self._certified_at == follower.leaves):
            return False
        leaves = follower.leaves
        sealing_keys = [entity for entity in follower.view.values() if isinstance(entity, SealingKey)]
        known = (live.heads.epoch, live.index, deployment, sealing_keys)
        step = await parts.dispatcher.call(lambda: self._upkeep.step(*known))
        if step is None:
            self._certified_at = leaves if turned else None
            return False
        if step.work is not None:
            await self._commit_own(step.work, step.epoch)
        return True

    async def _commit_own(self, work: Work, epoch: int | None = None) -> None:
        """Commit what no ticket asked for."""
        draft = Draft(self._live.index)
        for record in work.stored:
            draft.fold(record)
        await self.commit([work], draft, self._live.heads.position, epoch)

    async def _handle(self, chunk: Sequence[Inbound]) -> None:
        first, last = chunk[0].offset, chunk[-1].offset
        spans = TicketSpans()
        try:
            works, draft = await self._execute(chunk, spans)
            spans.executed(works)
            await self.commit(works, draft, last + 1, spans=spans)
        except (RecordTooLarge, RecordRefused):
            self._isolation.aborted(first, last)
            raise
        except KeyfoldError:
            raise
        except Exception:
            self._isolation.aborted(first, last)
            raise
        finally:
            spans.end("NotCommitted")
        self._isolation.committed(last)
        self.batches += 1
        _count(works)

    async def _execute(self, chunk: Sequence[Inbound], spans: TicketSpans) -> tuple[list[Work], Draft]:
        parts, draft = self._parts, Draft(self._live.index)
        with metrics.INTAKE.time():
            tickets = await self._intake.read(chunk)
        if len(chunk) == 1 and self._isolation.given_up(chunk[0].offset):
            return [parts.dispatcher.engine.fail(ticket, InternalError.code) for ticket in tickets], draft
        tickets = spans.begin(await self._evidence.examine(tickets))
        await parts.keyring.ensure(_sealing_keys(tickets), parts.settings.sealing_key_wait_s)
        with metrics.EXECUTE.time():
            return await parts.dispatcher.run(tickets, draft), draft


def _sealing_keys(tickets: Sequence[Ticket]) -> set[str]:
    return {ticket.command.data.sealing_key for ticket in tickets if ticket.command is not None}


def _count(works: Sequence[Work]) -> None:
    metrics.BATCH_TICKETS.observe(len(works))
    for work in works:
        outcome = work.events[-1]
        metrics.OUTCOMES.labels(outcome.type, getattr(outcome.data, "code", "")).inc()
        if work.ticket is not None and isinstance(outcome, facts.KeyUsed | facts.CommandCompleted):
            command = work.ticket.command
            if command is not None and isinstance(command.data, DataPlaneData):
                metrics.ITEMS.labels(work.ticket.verb).inc(command.data.items)
