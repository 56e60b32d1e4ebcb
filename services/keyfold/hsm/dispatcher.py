"""The dispatcher: where a batch is executed. On the event loop what is pure computing, in a thread what asks the token.

A batch goes to a thread once, from its first ticket that needs the token to its end, in order. While the token does not
answer, the batch is tried again for a bounded time in all; then each of its tickets gets one more try and fails as
`TokenUnavailable`. A partition is late by that much at most, and no command waits for ever.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final, TypeVar

from keyfold.events.errors import TokenUnavailable
from keyfold.hsm import metrics
from keyfold.hsm.engine import Engine, Work
from keyfold.hsm.errors import TokenNeeded
from keyfold.hsm.keystore import Draft
from keyfold.hsm.settings import HsmSettings
from keyfold.hsm.tickets import Ticket

T = TypeVar("T")
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


class Dispatcher:
    """Executes the batches of all partitions; each partition hands in one at a time."""

    def __init__(self, engine: Engine, threads: Executor, settings: HsmSettings) -> None:
        self.engine, self._threads, self._settings = engine, threads, settings

    async def run(self, tickets: Sequence[Ticket], draft: Draft) -> list[Work]:
        """Return the work of each ticket, in order."""
        done: list[Work] = []
        await self._run_here(tickets, draft, done)
        loop = asyncio.get_running_loop()
        give_up_at: float | None = None
        pause = _FIRST_PAUSE_S
        while len(done) < len(tickets):
            if not await self._run_there(tickets, draft, done):
                continue
            metrics.TOKEN_RETRIES.inc()
            now = loop.time()
            give_up_at = now + self._settings.token_retry_s if give_up_at is None else give_up_at
            if now >= give_up_at:
                done.append(self.engine.fail(tickets[len(done)], TokenUnavailable.code))
            else:
                await asyncio.sleep(min(pause, give_up_at - now))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        return done

    async def call(self, act: Callable[[], T]) -> T:
        """Do something that asks the token in a thread; cancelled, it waits for its end."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, act)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    async def _run_here(self, tickets: Sequence[Ticket], draft: Draft, done: list[Work]) -> None:
        """Execute on the event loop up to the first ticket that needs the token, letting others run in between."""
        loop = asyncio.get_running_loop()
        yield_at = loop.time() + self._settings.slice_s
        for ticket in tickets:
            if ticket.asks_token:
                return
            try:
                done.append(self.engine.execute(ticket, draft, token=False))
            except TokenNeeded:
                return
            if loop.time() >= yield_at:
                await asyncio.sleep(0)
                yield_at = loop.time() + self._settings.slice_s

    async def _run_there(self, tickets: Sequence[Ticket], draft: Draft, done: list[Work]) -> bool:
        """Execute the rest in a thread; True if the token did not answer.

        Cancelled, it waits for the ticket under way: nobody else may touch the draft or the handles before.
        """
        stop = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._rest, tickets, draft, done, stop)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([future])
            raise

    def _rest(self, tickets: Sequence[Ticket], draft: Draft, done: list[Work], stop: threading.Event) -> bool:
        while len(done) < len(tickets) and not stop.is_set():
            try:
                done.append(self.engine.execute(tickets[len(done)], draft, token=True))
            except TokenUnavailable:
                return True
        return False
