"""The exchange: sends orders, takes replies, sends the same bytes again until an answer, and asks again where it may.

Everything that is in flight is in one table by command id. What an answer means is decided in `flights`, whether it is
one in `answers`. Replies that are not authentic are counted and change nothing.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from keyfold.bus import Bus, Inbound, PositionLost, Sender
from keyfold.client.alarm import NEVER, Alarm
from keyfold.client.answers import Answer, open_reply, receipt_of
from keyfold.client.directory import Directory
from keyfold.client.errors import ClientClosed, DirectoryIncomplete, overdue, refused
from keyfold.client.flights import Flight, Step, failure_code, next_step
from keyfold.client.identifiers import RANDOM_BYTES, uuid7
from keyfold.client.intents import Intent
from keyfold.client.orders import OrderWriter, ReplyPlace, Stamp
from keyfold.client.outbox import Outbox
from keyfold.client.parcels import Parcel
from keyfold.client.settings import ClientSettings
from keyfold.client.tail import Tail
from keyfold.events.errors import (
    AliasMoved,
    AlreadyExecuted,
    InvalidCommand,
    KeyfoldError,
    NotFound,
    RateLimited,
    RecordError,
    SealingKeyRetired,
)
from keyfold.events.replies import CORRELATION_HEADER
from keyfold.events.trust import Trust
from keyfold.telemetry import tracing
from keyfold.telemetry.tracing import NO_SPAN, Span

logger = logging.getLogger(__name__)
_LAST_ANSWER_S = 5.0


def wall_clock_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _nothing() -> None:
    pass


class Exchange:
    """Orders in flight of one client. Counters: `unauthentic` replies, `resent` and `retried` orders."""

    def __init__(
        self,
        bus: Bus,
        sender: Sender,
        directory: Directory,
        *,
        writer: OrderWriter,
        place: ReplyPlace,
        settings: ClientSettings,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._bus, self._place, self._settings = bus, place, settings
        self._directory, self._writer, self._clock_ms = directory, writer, clock_ms
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(sender)
        self._inbox = Tail(bus, place.topic, place.partition, committed=False, deliver=self._receive)
        self._flights: dict[str, Flight] = {}
        self._paused: dict[Parcel, KeyfoldError] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.alarm = Alarm(self._ring)
        self.expire_waiting: Callable[[float], float] = lambda _now: NEVER
        self.registry_revision = 0
        self.tracer = tracing.of_program()
        self.unauthentic = self.resent = self.retried = 0

    async def start(self) -> None:
        """Stand at the end of the reply partition, then begin to send: no reply can be missed."""
        await self._inbox.start_at_end()
        self._outbox.start()

    async def stop(self) -> None:
        """Fail what is in flight with `ClientClosed` and release everything."""
        self._closed = True
        self.alarm.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for flight in self._flights.values():
            flight.span.end(ClientClosed.code)
        for parcel in [*self._paused, *(flight.parcel for flight in self._flights.values())]:
            parcel.fail(ClientClosed("the client was closed before the answer came"))
        self._flights.clear()
        await self._outbox.stop()
        await self._inbox.stop()

    def dispatch(
        self,
        intent: Intent,
        parcel: Parcel,
        *,
        finished: Callable[[], None] = _nothing,
        attempt: int = 0,
        callers: Sequence[bytes] | None = None,
    ) -> None:
        """Write an order and send it. `finished` is called once: when it is answered, asked again or given up.

        `callers` are the traces that the record's calls belong to; by default that of who calls this.
        """
        key = self._directory.view.sealing_key
        if self._closed or key is None:
            message = "there is no sealing key; check that the HSM worker runs, then call again"
            parcel.fail(ClientClosed("the client is closed") if self._closed else DirectoryIncomplete(message))
            finished()
            return
        if callers is None:
            ambient = self.tracer.ambient()
            callers = () if ambient is None else (ambient,)
        span = self._span(intent, parcel, callers)
        stamp = self._stamp(intent.command_id, span.header)
        order = self._writer.write(intent, list(parcel.items), list(parcel.contexts), key, stamp)
        now, settings = self._loop.time(), self._settings
        flight = Flight(
            order,
            intent,
            parcel,
            attempt,
            self._inbox.position,
            now + settings.resend_initial_s,
            settings.resend_initial_s,
            now + settings.command_lifetime_s + _LAST_ANSWER_S,
            finished,
            span=span,
            callers=callers,
        )
        span.set(command=order.id, attempt=attempt)
        self._flights[order.id] = flight
        self._send(flight)
        self.alarm.before(min(flight.resend_at, parcel.earliest))

    def new_id(self) -> str:
        """Return a fresh UUIDv7."""
        return uuid7(self._clock_ms(), os.urandom(RANDOM_BYTES))

    def now_ms(self) -> int:
        """Return the time by this client's clock, in milliseconds since 1970."""
        return self._clock_ms()

    def _span(self, intent: Intent, parcel: Parcel, callers: Sequence[bytes]) -> Span:
        """Begin the span of one command: below its first caller's, with links to the others'."""
        if not self.tracer.records:
            return NO_SPAN
        first = callers[0] if callers else None
        span = self.tracer.begin("client.request", "client", parent=first, links=callers[1:])
        span.set(verb=intent.verb, items=len(parcel.items))
        return span

    def _stamp(self, command_id: str | None, trace: bytes | None) -> Stamp:
        now = self._clock_ms()
        fresh = os.urandom(32 + RANDOM_BYTES)
        expires = now + int(self._settings.command_lifetime_s * 1000)
        identifier = command_id or uuid7(now, fresh[32:])
        return Stamp(identifier, fresh[:32], now, expires, self.registry_revision, trace)

    def _send(self, flight: Flight) -> None:
        self._outbox.put(flight.order.record, lambda error: self._give_up(flight, error))

    def _give_up(self, flight: Flight, error: KeyfoldError) -> None:
        if self._leave(flight, error.code):
            flight.parcel.fail(error)

    def _leave(self, flight: Flight, code: str | None = None) -> bool:
        """Take a flight out of the table; False if it was out before."""
        if self._flights.pop(flight.order.id, None) is None:
            return False
        flight.span.end(code)
        flight.finished()
        return True

    # Replies

    def _receive(self, records: Sequence[Inbound]) -> None:
        for record in records:
            correlation = record.header(CORRELATION_HEADER) or b""
            flight = self._flights.get(correlation.decode("ascii", "replace"))
            if flight is not None:
                self._receive_one(flight, record)

    def _receive_one(self, flight: Flight, record: Inbound) -> None:
        trust = self._directory.view.trust
        if trust is None:
            return
        try:
            answer = open_reply(flight.order, record, trust, self._clock_ms())
        except (RecordError, InvalidCommand) as error:
            self.unauthentic += 1
            logger.warning("client.reply-ignored command=%s reason=%s", flight.order.id, error)
            return
        self.registry_revision = max(self.registry_revision, answer.data.registry_revision or 0)
        if self._take(flight, answer) in {Step.DELIVER, Step.FAIL}:
            self._collect(flight, record, trust)

    def _collect(self, flight: Flight, record: Inbound, trust: Trust) -> None:
        """Hand the receipt over. One that is not believed does not spoil the result: it is left out, and told."""
        try:
            receipt = receipt_of(flight.order, record, trust)
        except RecordError as error:
            self.unauthentic += 1
            logger.warning("client.receipt-ignored command=%s reason=%s", flight.order.id, error)
            return
        if receipt is not None and flight.intent.collector is not None:
            flight.intent.collector.receipts.append(receipt)

    def _take(self, flight: Flight, answer: Answer) -> Step:
        step = next_step(flight, answer, self._settings.retry_attempts)
        if step is Step.RECOVER:
            flight.recovering = True
            self._spawn(self._recover(flight))
            return step
        if step is Step.IGNORE:
            return step
        parcel, intent, identifier = flight.parcel, flight.intent, flight.order.id
        if step is Step.DELIVER:
            parcel.answer(answer, lambda code: refused(code, intent, identifier, item=True))
        elif step is Step.FAIL:
            parcel.fail(refused(failure_code(answer), intent, identifier))
        elif step is Step.RETRY:
            self._spawn(self._ask_again(flight, answer.data.code or ""))
        else:
            self._divide(flight, step, answer)
        self._leave(flight, None if step is Step.DELIVER else failure_code(answer))
        return step

    def _divide(self, flight: Flight, step: Step, answer: Answer) -> None:
        parts = flight.parcel.by_context() if step is Step.DIVIDE_CONTEXTS else flight.parcel.halves()
        if len(parts) == 1:
            flight.parcel.fail(refused(failure_code(answer), flight.intent, flight.order.id))
            return
        for part in parts:
            self.dispatch(flight.intent, part, attempt=flight.attempt, callers=flight.callers)

    # Again

    async def _ask_again(self, flight: Flight, code: str) -> None:
        """Ask under a new id after a pause; first learn what the refusal says is out of date."""
        self.retried += 1
        parcel, intent = flight.parcel, flight.intent
        limited = code == RateLimited.code
        self._paused[parcel] = refused(code, intent, flight.order.id) if limited else overdue(intent, None)
        self.alarm.before(parcel.earliest)
        try:
            await asyncio.sleep(self._pause_s(flight.attempt, limited=limited))
            if code == SealingKeyRetired.code:
                await self._directory.refresh()
            if code == AliasMoved.code and intent.alias is not None:
                await self._directory.refresh(intent.alias)
            intent = self.resolve_again(intent)
        except KeyfoldError as error:
            parcel.fail(error)
            return
        finally:
            self._paused.pop(parcel, None)
        if parcel.alive():
            self.dispatch(intent, parcel, attempt=flight.attempt + 1, callers=flight.callers)

    def resolve_again(self, intent: Intent) -> Intent:
        """Return the intent on the key that its alias points to now. Raises `NotFound` where it points nowhere."""
        if intent.alias is None:
            return intent
        key_id = self._directory.view.key_of(intent.alias)
        if key_id is None:
            raise NotFound(f"{intent.verb}: {intent.alias} points to no key any more; check the alias")
        return intent.on_key(key_id)

    async def _recover(self, flight: Flight) -> None:
        """A data verb was executed, but its result did not arrive: look for it, else ask anew, naming the lost one."""
        await asyncio.sleep(self._settings.recovery_grace_s)
        if flight.order.id in self._flights:
            await self._read_again(flight)
        if self._leave(flight) and flight.parcel.alive():
            if flight.intent.proposal is not None:
                flight.parcel.fail(refused(AlreadyExecuted.code, flight.intent, flight.order.id))
                return
            self.retried += 1
            again = replace(flight.intent, retry_of=flight.order.id)
            self.dispatch(again, flight.parcel, attempt=flight.attempt + 1, callers=flight.callers)

    async def _read_again(self, flight: Flight) -> None:
        reader = self._bus.reader(self._place.topic, self._place.partition, committed=False)
        try:
            await reader.start(flight.position)
            async for records in reader.read_to_end():
                self._receive(records)
        except PositionLost:
            return
        except KeyfoldError as error:
            logger.warning("client.recovery-incomplete reason=%s", error)
        finally:
            await reader.stop()

    def _pause_s(self, attempt: int, *, limited: bool) -> float:
        settings = self._settings
        first, most = (
            (settings.rate_limit_initial_s, settings.rate_limit_max_s)
            if limited
            else (settings.retry_initial_s, settings.retry_max_s)
        )
        longest = min(first * float(1 << attempt), most)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  (spreads load; nothing secret)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Time

    def _ring(self, now: float) -> float:
        """Resend and expire what is due; return when something is due next."""
        nearest = self.expire_waiting(now)
        for parcel, error in self._paused.items():
            parcel.expire(now, error)
            nearest = min(nearest, parcel.earliest)
        for flight in list(self._flights.values()):
            nearest = min(nearest, self._ring_one(flight, now))
        return nearest

    def _ring_one(self, flight: Flight, now: float) -> float:
        parcel, error = flight.parcel, overdue(flight.intent, flight.order.id)
        if parcel.earliest <= now:
            parcel.expire(now, error)
        if not parcel.alive() or flight.last_at <= now:
            self._give_up(flight, error)
            return NEVER
        if flight.resend_at <= now:
            self._resend(flight, now)
        return min(flight.resend_at, flight.last_at, parcel.earliest)

    def _resend(self, flight: Flight, now: float) -> None:
        flight.resend_pause_s = min(2 * flight.resend_pause_s, self._settings.resend_max_s)
        flight.resend_at = now + flight.resend_pause_s
        if now < flight.last_at - _LAST_ANSWER_S:
            self.resent += 1
            self._send(flight)
