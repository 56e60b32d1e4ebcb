"""Watches the token: checks it, opens it again where it was lost, and lets those wait who need it while it is down.

Who uses the token says so (`using`); opening it again waits until nobody does, and nobody begins meanwhile, because
handles of before may name other keys afterwards. It is done once for all who wait, and no sooner than the pause says.
What a state means is `health`'s; what checking and opening are is the `Tokens`' that it was made with.

Everything here runs on the event loop; checking and opening run in a thread of their own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol

from keyfold.hsm import metrics
from keyfold.hsm.health import Health, Pauses, State
from keyfold.hsm.settings import HsmSettings
from keyfold.logging import get_logger
from keyfold.token.errors import SessionsBusy

Publish = Callable[[dict[str, Any]], None]
_log = get_logger()


class Tokens(Protocol):
    """What is watched. Both methods block and raise the errors of `keyfold.token`."""

    @property
    def is_lost(self) -> bool:
        """Whether it must be opened again."""

    @property
    def sessions(self) -> tuple[int, int]:
        """How many sessions use keys, and how many were wished for."""

    def check(self) -> float:
        """Raise unless the token is there and answers; return the seconds that an answer took."""

    def reopen(self) -> None:
        """Open it again; nobody else uses it meanwhile."""


class Untended:
    """Nothing to check and nothing to open: the token is known by its answers to tickets alone."""

    is_lost = False
    sessions = (1, 1)

    def check(self) -> float:
        return 0.0

    def reopen(self) -> None:
        return


class TokenWatch:
    """One per process. `publish` takes the state as a JSON object, at every change."""

    def __init__(
        self,
        settings: HsmSettings,
        tokens: Tokens | None = None,
        publish: Publish = lambda _: None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._tokens, self._publish, self._clock_s = settings, tokens or Untended(), publish, clock_s
        self._pauses = Pauses(settings.first_retry_s, settings.longest_retry_s)
        self._users = 0
        self._may_use, self._unused = asyncio.Event(), asyncio.Event()
        self._may_use.set()
        self._unused.set()
        self._look: asyncio.Task[None] | None = None
        self._told: tuple[State, str] | None = None
        self.health = Health()

    @property
    def state(self) -> State:
        """What the token is now."""
        return self.health.state(self._clock_s())

    @property
    def code(self) -> str:
        """The error's code where it is not healthy; else empty."""
        return self.health.code(self._clock_s())

    @property
    def is_down(self) -> bool:
        """Whether the token has been down for longer than a batch waits: tickets that need it are not begun."""
        return self.health.is_lasting(self._clock_s(), self._settings.token_retry_s)

    @asynccontextmanager
    async def using(self) -> AsyncIterator[None]:
        """To be held while threads ask the token."""
        while not self._may_use.is_set():
            await self._may_use.wait()
        self._users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    def failed(self, error: Exception) -> None:
        """A ticket failed because of the token."""
        now = self._clock_s()
        if isinstance(error, SessionsBusy):
            self._set(self.health.slowed(now + self._settings.slow_memory_s))
        else:
            self._set(self.health.noticed(error, now, self._pauses))

    def worked(self, seconds: float) -> None:
        """An item, or a check, took so long in the token."""
        if seconds > self._settings.slow_call_s:
            self._set(self.health.slowed(self._clock_s() + self._settings.slow_memory_s))

    async def available(self) -> None:
        """Wait while the token is down for longer than a batch waits; see that it is tried meanwhile."""
        while self.is_down:
            await self.look()
            if self.is_down:
                await asyncio.sleep(self._until_next_try())

    async def look(self) -> None:
        """Check the token, or open it again where it was lost, unless it is too early. Callers share one look.

        Cancelled, a caller leaves, and the look goes on: others may wait for it, and an opening is not cut off.
        """
        if self._look is None or self._look.done():
            if not self.health.is_due(self._clock_s()):
                return
            self._look = asyncio.create_task(self._look_once())
        await asyncio.shield(self._look)

    async def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work to its end, or until cancelled, and check the token meanwhile."""
        checking = asyncio.create_task(self.run())
        try:
            await work
        finally:
            checking.cancel()
            await asyncio.wait([checking])

    async def run(self) -> None:
        """Check now and then until cancelled; then wait for the look that is under way."""
        self._tell()
        try:
            while True:
                pause = self._settings.token_check_s
                await asyncio.sleep(pause if self.health.failure is None else min(pause, self._until_next_try()))
                await self.look()
                self._tell()
        finally:
            if self._look is not None:
                await asyncio.wait([self._look])

    async def _look_once(self) -> None:
        was_lost = self._tokens.is_lost
        try:
            if was_lost:
                await self._reopen()
            took = await asyncio.to_thread(self._tokens.check)
        except Exception as error:  # noqa: BLE001 - whatever it was, the token cannot be relied on
            if isinstance(error, SessionsBusy) and self.health.failure is None:
                self.failed(error)
            else:
                self._set(self.health.tried(error, self._clock_s(), self._pauses))
            return
        if was_lost:
            metrics.TOKEN_REOPENED.inc()
        self._set(self.health.answered(self._clock_s()).pooled(*self._tokens.sessions))
        self.worked(took)

    async def _reopen(self) -> None:
        self._may_use.clear()
        try:
            await self._unused.wait()
            await asyncio.to_thread(self._tokens.reopen)
        finally:
            self._may_use.set()

    def _until_next_try(self) -> float:
        failure = self.health.failure
        return 0.0 if failure is None else max(0.0, failure.next_try_s - self._clock_s())

    def _set(self, health: Health) -> None:
        self.health = health
        self._tell()

    def _tell(self) -> None:
        """State it: in the log and by `publish` where it changed, in the metrics always."""
        now = self._clock_s()
        state, code = self.health.state(now), self.health.code(now)
        metrics.TOKEN_SESSIONS.set(self.health.sessions)
        if (state, code) == self._told:
            return
        changed = self._told is None or self._told[0] is not state
        self._told = (state, code)
        for each in State:
            metrics.TOKEN_STATE.labels(each.value).set(each is state)
        if changed:
            metrics.TOKEN_CHANGES.labels(state.value).inc()
        reason = "" if self.health.failure is None else self.health.failure.reason
        pool = {"sessions": self.health.sessions, "sessions_wished": self.health.wished}
        facts: dict[str, Any] = {"state": state.value, "code": code, "reason": reason, **pool}
        if state is State.HEALTHY:
            _log.info("token-health", **facts)
        else:
            _log.warning("token-health", **facts)
        self._publish(facts)
