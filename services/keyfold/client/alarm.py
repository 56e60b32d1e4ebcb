"""One timer for many deadlines: no timer per call. It rings at the earliest time that was asked for."""

import asyncio
from collections.abc import Callable
from typing import Final

NEVER: Final = float("inf")
_SHORTEST_S: Final = 0.005


class Alarm:
    """`ring(now)` does what is due and returns when to ring next (`NEVER` for not before somebody asks)."""

    def __init__(self, ring: Callable[[float], float]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.when = NEVER

    def before(self, when: float) -> None:
        """Ring at this time at the latest."""
        if when >= self.when:
            return
        if self._timer is not None:
            self._timer.cancel()
        # Rings that are due together are rung together: nothing rings more often than every few milliseconds.
        self.when = when
        self._timer = self._loop.call_at(max(when, self._loop.time() + _SHORTEST_S), self._fire)

    def stop(self) -> None:
        """Never ring again."""
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        self._timer, self.when = None, NEVER
        self.before(self._ring(self._loop.time()))
