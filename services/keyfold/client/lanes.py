"""Lanes: where single calls of the same verb, key, arguments and reason gather into records.

Calls that want receipts gather with those only whose receipts go to the same place.
The rules are in `coalescing`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from keyfold.client.alarm import NEVER
from keyfold.client.coalescing import NOTHING, NOW, SOON, Limits, Queue, Wish
from keyfold.client.errors import ClientClosed, overdue
from keyfold.client.exchange import Exchange
from keyfold.client.intents import Intent
from keyfold.client.parcels import Calls, Result
from keyfold.client.receipts import Collector
from keyfold.client.settings import ClientSettings
from keyfold.client.sizes import most_items
from keyfold.events.errors import KeyfoldError

_MANY: Final = 4096

LaneName = tuple[str, str, str, str | None, Collector | None]
"""Verb, key as the caller names it, arguments, reason, and where receipts go."""


class Lane:
    """One queue and its timers."""

    __slots__ = (
        "_alarm", "_callers", "_exchange", "_intent", "_linger_s", "_loop", "_new_future", "_now", "_tracer", "queue",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, intent: Intent, limits: Limits, linger_s: float) -> None:
        self._exchange, self._intent, self._linger_s = exchange, intent, linger_s
        self._alarm = exchange.alarm
        self._loop = asyncio.get_running_loop()
        self._new_future: Callable[[], asyncio.Future[Result]] = self._loop.create_future
        self._now = self._loop.time
        self._tracer, self._callers = exchange.tracer, list[bytes | None]()
        self.queue = Queue(limits)

    def submit(self, data: bytes, context: str, timeout_s: float) -> asyncio.Future[Result]:
        """Add a call. Nothing here may cost much: it runs once per call, all else once per record."""
        future = self._new_future()
        deadline = self._now() + timeout_s
        wish = self.queue.add((future, data, context, deadline))
        if self._tracer.records:
            self._callers.append(self._tracer.ambient())
        if deadline < self._alarm.when:
            self._alarm.before(deadline)
        if wish is not NOTHING:
            self._act(wish)
        return future

    def expire(self, now: float) -> float:
        """Fail the waiting calls whose deadline has passed; return the next deadline."""
        nearest = NEVER
        for future, _, _, deadline in self.queue.calls:
            if future.done():
                continue
            if deadline <= now:
                future.set_exception(overdue(self._intent, None))
            else:
                nearest = min(nearest, deadline)
        return nearest

    def close(self) -> None:
        """Fail everything that waits."""
        for future, _, _, _ in self.queue.calls:
            if not future.done():
                future.set_exception(ClientClosed("the client was closed before the call was sent"))
        self.queue.calls.clear()

    def _act(self, wish: Wish) -> None:
        if wish is NOW:
            self._flush()
        elif wish is SOON:
            self._loop.call_soon(self._due)
        elif wish is not NOTHING:
            self._loop.call_later(self._linger_s, self._due)

    def _due(self) -> None:
        self.queue.fired()
        self._flush()

    def _flush(self) -> None:
        while taken := self.queue.take():
            parcel, callers = Calls(taken), self._callers_of(len(taken))
            if not parcel.items:
                self._answered()
                continue
            try:
                intent = self._exchange.resolve_again(self._intent)
            except KeyfoldError as error:
                parcel.fail(error)
                self._answered()
                continue
            self._exchange.dispatch(intent, parcel, finished=self._answered, callers=callers)
        self._act(self.queue.wish())

    def _callers_of(self, count: int) -> list[bytes]:
        """The traces that the next calls belong to, each once: they stand in the order of the queue."""
        taken = self._callers[:count]
        del self._callers[:count]
        return list(dict.fromkeys(caller for caller in taken if caller is not None))

    def _answered(self) -> None:
        self._act(self.queue.answered())


class Lanes:
    """All lanes of a client, by name. Idle ones go when there are many."""

    def __init__(self, exchange: Exchange, settings: ClientSettings, by_name: dict[LaneName, Lane]) -> None:
        self._exchange, self._by_name = exchange, by_name
        self._linger_s = settings.linger_ms / 1000
        self._limits = (
            Limits(settings.max_batch_items, settings.max_batch_bytes, settings.max_in_flight)
            if settings.coalesce
            else Limits(1, settings.max_batch_bytes, 1_000_000)
        )
        exchange.expire_waiting = self._expire

    def open(self, name: LaneName, intent: Intent) -> Lane:
        """Return the lane of this name, new or not."""
        lane = self._by_name.get(name)
        if lane is None:
            if len(self._by_name) >= _MANY or name[-1] is not None:  # who collects receipts is soon gone
                self._drop_idle(of_collectors=len(self._by_name) < _MANY)
            limits = replace(self._limits, max_items=min(self._limits.max_items, most_items(intent)))
            lane = self._by_name[name] = Lane(self._exchange, intent, limits, self._linger_s)
        return lane

    def close(self) -> None:
        """Fail everything that waits."""
        for lane in self._by_name.values():
            lane.close()
        self._by_name.clear()

    def _drop_idle(self, *, of_collectors: bool) -> None:
        idle = [name for name, lane in self._by_name.items() if lane.queue.idle]
        for name in idle:
            if name[-1] is not None or not of_collectors:
                del self._by_name[name]

    def _expire(self, now: float) -> float:
        return min((lane.expire(now) for lane in self._by_name.values()), default=NEVER)
