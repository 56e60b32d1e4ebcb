"""The dispatcher: where a batch is executed. On the event loop what is pure computing, in threads what asks the token.

With one session, a batch goes to a thread once, from its first ticket that needs the token to its end, in order. With
several, data-plane tickets that follow each other are executed by as many threads at the same time; every other ticket
is a barrier (`keyfold.hsm.batch`). Results stand in the tickets' order in any case.

While the token does not answer, a batch is tried again for a bounded time in all (what is done stays done, and between
the tries a lost token is opened again); then each of its tickets gets one more try and fails as `TokenUnavailable`. A
partition is late by that much, and no command waits for ever.

In an outage that lasts longer than that, failing the whole topic batch by batch would help nobody. So a batch that
needs the token is not begun while the token is down: its partition takes no further tickets, nothing fails and nothing
is lost, and it goes on by itself when the token is back. A command that is stuck there is told nothing until then; its
caller's deadline bounds its wait, and a data-plane ticket whose command expired meanwhile ends as `Expired`. Facts that
policy has decided (disable, destroy, create, ...) are carried out however late it is.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar

from keyfold.events import facts
from keyfold.events.errors import TokenUnavailable
from keyfold.hsm import metrics
from keyfold.hsm.batch import Batch, is_data_plane
from keyfold.hsm.control_verbs import makes_something
from keyfold.hsm.engine import Engine, Work
from keyfold.hsm.errors import TokenNeeded
from keyfold.hsm.keystore import Draft
from keyfold.hsm.settings import HsmSettings
from keyfold.hsm.tickets import Ticket
from keyfold.hsm.watch import TokenWatch

T = TypeVar("T")
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Silence:
    """The token did not answer to the ticket at this place."""

    place: int
    error: TokenUnavailable


class Dispatcher:
    """Executes the batches of all partitions; each partition hands in one at a time.

    `sessions` is how many tickets may ask the token at once: the size of its session pool, and of `threads`.
    """

    def __init__(
        self,
        engine: Engine,
        threads: Executor,
        settings: HsmSettings,
        watch: TokenWatch | None = None,
        sessions: int = 1,
    ) -> None:
        self.engine, self._threads, self._settings, self._sessions = engine, threads, settings, sessions
        self.watch = watch or TokenWatch(settings)

    async def run(self, tickets: Sequence[Ticket], draft: Draft) -> list[Work]:
        """Return the work of each ticket, in order."""
        batch = Batch(tickets)
        await self._run_here(batch, draft)
        if batch.undone:
            await self._pause(tickets[0].partition)
            await self._run_on(batch, draft)
        return batch.works

    async def call(self, act: Callable[[], T]) -> T:
        """Do something that asks the token in a thread; cancelled, it waits for its end."""
        async with self.watch.using():
            future = asyncio.get_running_loop().run_in_executor(self._threads, act)
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                await asyncio.wait([future])
                raise
            except TokenUnavailable as error:
                self.watch.failed(error)
                raise

    async def _pause(self, partition: int) -> None:
        """Wait while the token is down; the partition takes no further tickets meanwhile."""
        if self.watch.is_down:
            paused = metrics.TOKEN_PAUSED.labels(partition)
            paused.set(1)
            try:
                await self.watch.available()
            finally:
                paused.set(0)

    async def _run_here(self, batch: Batch, draft: Draft) -> None:
        """Execute on the event loop up to the first ticket that needs the token, letting others run in between."""
        loop = asyncio.get_running_loop()
        yield_at = loop.time() + self._settings.slice_s
        for place, ticket in enumerate(batch.tickets):
            if ticket.asks_token:
                return
            try:
                batch.put(place, self.engine.execute(ticket, draft, token=False))
            except TokenNeeded:
                return
            if loop.time() >= yield_at:
                await asyncio.sleep(0)
                yield_at = loop.time() + self._settings.slice_s

    async def _run_on(self, batch: Batch, draft: Draft) -> None:
        """Execute the rest in threads, as often as it takes, for a bounded time."""
        loop = asyncio.get_running_loop()
        give_up_at: float | None = None
        pause = _FIRST_PAUSE_S
        while batch.undone:
            silences = await self._run_there(batch, draft)
            if not silences:
                continue
            metrics.TOKEN_RETRIES.inc()
            now = loop.time()
            give_up_at = now + self._settings.token_retry_s if give_up_at is None else give_up_at
            if now >= give_up_at:
                for silence in silences:
                    await self._give_up(batch, silence.place)
            else:
                await asyncio.sleep(min(pause, give_up_at - now))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                await self.watch.look()

    async def _give_up(self, batch: Batch, place: int) -> None:
        """End a ticket that the token does not answer to. What policy has decided as a fact is carried out later."""
        ticket = batch.tickets[place]
        if ticket.only_uses_keys or makes_something(ticket):
            batch.put(place, self.engine.fail(ticket, TokenUnavailable.code))
            return
        await asyncio.sleep(_LONGEST_PAUSE_S)
        await self._pause(ticket.partition)

    async def _run_there(self, batch: Batch, draft: Draft) -> list[_Silence]:
        """Execute in threads what comes next; return where the token did not answer.

        Where it is silent to one ticket, those under way are finished and none is begun. Cancelled, it waits for what
        is under way: nobody else may touch the draft or the handles before.
        """
        places = batch.undone if self._sessions == 1 else batch.abreast() or batch.barriers()
        threads = min(self._sessions, len(places)) if is_data_plane(batch.tickets[places[0]]) else 1
        waiting, stop, loop = deque(places), threading.Event(), asyncio.get_running_loop()
        async with self.watch.using():
            metrics.TOKEN_BUSY.inc(threads)
            futures = [
                loop.run_in_executor(self._threads, self._work, batch, draft, waiting, stop) for _ in range(threads)
            ]
            try:
                await asyncio.wait(futures)
            except asyncio.CancelledError:
                stop.set()
                await asyncio.wait(futures)
                raise
            finally:
                metrics.TOKEN_BUSY.dec(threads)
        return self._heard(future.result() for future in futures)

    def _work(
        self, batch: Batch, draft: Draft, waiting: deque[int], stop: threading.Event
    ) -> tuple[float, _Silence | None]:
        """Take one place after the other, in a thread; return the slowest item's seconds, and what ended it."""
        slowest = 0.0
        while not stop.is_set():
            try:
                place = waiting.popleft()
            except IndexError:
                break
            ticket, began = batch.tickets[place], time.monotonic()
            try:
                batch.put(place, self.engine.execute(ticket, draft, token=True))
            except TokenUnavailable as error:
                stop.set()
                return slowest, _Silence(place, error)
            slowest = max(slowest, _seconds_per_item(ticket, time.monotonic() - began))
        return slowest, None

    def _heard(self, results: Iterable[tuple[float, _Silence | None]]) -> list[_Silence]:
        """Tell the watch what the threads met; on the event loop."""
        silences: list[_Silence] = []
        for slowest, silence in results:
            if slowest:
                metrics.TOKEN_ITEM_SECONDS.observe(slowest)
                self.watch.worked(slowest)
            if silence is not None:
                self.watch.failed(silence.error)
                silences.append(silence)
        return silences


def _seconds_per_item(ticket: Ticket, seconds: float) -> float:
    """What one item took in the token; 0 where it was not asked, or made keys, which take what they take."""
    event = ticket.event
    if not isinstance(event, facts.CommandAuthorized) or ticket.verb.startswith("GenerateDataKeyPair"):
        return 0.0
    in_token = event.data.protection == "HSM" or ticket.verb == "GenerateRandom"
    return seconds / max(1, event.data.items) if in_token else 0.0
