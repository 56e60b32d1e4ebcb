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
from collections.abc import Sequence
from dataclasses import dataclass

from keyfold.bus import Bus, Inbound, RecordRefused, RecordTooLarge, Sender
from keyfold.custody import HandleCache
from keyfold.events import commands, facts
from keyfold.events.errors import InternalError, KeyfoldError
from keyfold.hsm import metrics
from keyfold.hsm.dispatcher import Dispatcher
from keyfold.hsm.engine import Work
from keyfold.hsm.intake import Intake, chunks
from keyfold.hsm.isolation import Isolation
from keyfold.hsm.keyring import Keyring
from keyfold.hsm.keystore import Draft
from keyfold.hsm.outbox import Outbox
from keyfold.hsm.restore import Live
from keyfold.hsm.sealing_duties import SealingDuties
from keyfold.hsm.settings import HsmSettings
from keyfold.hsm.tickets import Ticket
from keyfold.hsm.transaction import prepare
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


class Partition:
    """The loop over one partition that was taken over. It ends by an exception only, and is thrown away then."""

    def __init__(self, parts: Parts, live: Live, isolation: Isolation, number: int) -> None:
        self._parts, self._live, self._isolation, self._number = parts, live, isolation, number
        self._intake = Intake(parts.follower, parts.dead_letters, number, parts.partitions, live.heads.places)
        self._outbox = Outbox(parts.sender)
        self._transactions = metrics.TRANSACTIONS.labels(number)
        self.batches = 0

    async def run(self) -> None:
        """Work until cancelled, or until something is in doubt."""
        settings = self._parts.settings
        loop = asyncio.get_running_loop()
        gatherer = Gatherer(self._live.tickets)
        while True:
            records = await gatherer.poll(settings.poll_s, settings.batch_tickets)
            arrived = loop.time()
            alone = bool(records) and self._isolation.isolated(records[0].offset)
            for chunk in chunks(records, 1 if alone else settings.batch_tickets, settings.batch_bytes):
                await self._handle(chunk)
                metrics.BATCH_SECONDS.observe(loop.time() - arrived)

    async def commit(self, works: Sequence[Work], draft: Draft, position: int | None) -> None:
        """Commit works in one transaction, then promote the draft and let the replies leave."""
        parts, live = self._parts, self._live
        read_to = (position, self._intake.places)
        prepared = prepare(parts.author, self._number, live.state, live.heads, works, read_to=read_to)
        # If we crash before this returns, the transaction is wholly there or not at all; the next start finds which.
        await live.writer.commit(prepared.records)
        # From here on it is durable. If we crash now, only replies are lost.
        live.state.promote(prepared.staged)
        live.heads = prepared.heads
        draft.promote()
        self._transactions.inc()
        await self._outbox.send(works)

    @property
    def position(self) -> int:
        """The committed position: every ticket below it has its outcome."""
        return self._live.heads.position or 0

    async def first_duties(self) -> None:
        """What partition 0's owner does before its first ticket: erase orphans, make the first sealing key."""
        parts, live = self._parts, self._live
        await parts.dispatcher.call(lambda: parts.duties.reconcile(live.index))
        first = await parts.dispatcher.call(lambda: parts.duties.first(live.index))
        if first is not None:
            draft = Draft(live.index)
            for record in first.stored:
                draft.fold(record)
            await self.commit([first], draft, live.heads.position)

    async def _handle(self, chunk: Sequence[Inbound]) -> None:
        first, last = chunk[0].offset, chunk[-1].offset
        try:
            works, draft = await self._execute(chunk)
            await self.commit(works, draft, last + 1)
        except (RecordTooLarge, RecordRefused):
            self._isolation.aborted(first, last)
            raise
        except KeyfoldError:
            raise
        except Exception:
            self._isolation.aborted(first, last)
            raise
        self._isolation.committed(last)
        self.batches += 1
        _count(works)

    async def _execute(self, chunk: Sequence[Inbound]) -> tuple[list[Work], Draft]:
        parts, draft = self._parts, Draft(self._live.index)
        tickets = await self._intake.read(chunk)
        if len(chunk) == 1 and self._isolation.given_up(chunk[0].offset):
            return [parts.dispatcher.engine.fail(ticket, InternalError.code) for ticket in tickets], draft
        await parts.keyring.ensure(_sealing_keys(tickets), parts.settings.sealing_key_wait_s)
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
            if command is not None and isinstance(command.data, commands.DataPlaneData):
                metrics.ITEMS.labels(work.ticket.verb).inc(command.data.items)
