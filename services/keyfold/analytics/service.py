"""The analytics process put together from its parts: Faust's application, and trust that is followed beside it."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

from keyfold.analytics.app import Stages
from keyfold.analytics.transport import Application
from keyfold.events.errors import KeyfoldError, Unavailable
from keyfold.log import TrustKeeper
from keyfold.logging import get_logger
from keyfold.telemetry.vitals import Check, stepping

_log = get_logger()
_LOOK_S: Final = 0.2
_REST_S: Final = 4.0
_STOP_S: Final = 5.0


class AnalyticsStopped(Unavailable):
    """A stage of analytics ended by an error; whoever starts the process again lets it go on."""

    code = "AnalyticsStopped"


class Service:
    """Runs the stages until cancelled."""

    def __init__(
        self, app: Application, stages: Stages, keeper: TrustKeeper, interval_s: float, ready: Callable[[], None]
    ) -> None:
        self._app, self._stages, self._keeper = app, stages, keeper
        self._interval_s, self._ready = interval_s, ready
        self._stepped_s: float | None = None

    def checks(self) -> Iterator[Check]:
        """What is looked at to say how analytics is: its partitions are assigned and restored, and the job goes on."""
        began, lost = self._stages.began.is_set(), self._app.should_stop
        yield Check("restored", began, "" if began else "partitions are not assigned, or not restored yet")
        yield Check("stages", not lost, "a stage has ended; see the log" if lost else "")
        yield stepping("main-loop", self._stepped_s, time.monotonic())

    async def run(self) -> None:
        """Serve until cancelled. Raises `AnalyticsStopped`, or what breaks the trust."""
        self._app.finalize()
        follow = asyncio.create_task(self._keeper.follow(self._interval_s))
        start = asyncio.create_task(self._app.start())
        told = False
        try:
            while True:
                self._stepped_s = time.monotonic()
                if not told and self._stages.began.is_set():
                    told = True
                    self._ready()
                for task in (follow, start):
                    if task.done():
                        task.result()
                self._look()
                await asyncio.sleep(_LOOK_S)
        finally:
            await self._rest()
            for task in (follow, start):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, KeyfoldError):
                    await task
            await self._stop()

    async def _rest(self) -> None:
        """Let what is under way come to its end, within a deadline: else all of it would be told again."""
        try:
            await self._stages.rest(_REST_S)
        except TimeoutError:
            _log.warning("stop-failed", code="TimeoutError")

    async def _stop(self) -> None:
        """Stop Faust within a deadline. Its threads may be gone already: what is lost is done again by who comes."""
        try:
            async with asyncio.timeout(_STOP_S):
                await self._app.stop()
        except Exception as error:  # noqa: BLE001 - whatever Faust meets, the process ends
            _log.warning("stop-failed", code=type(error).__name__)

    def _look(self) -> None:
        """Raise where Faust has given up."""
        if self._app.should_stop:
            reason = self._app.crash_reason
            raise AnalyticsStopped(f"analytics stopped: {reason!r}; see the lines before, then start it again") from (
                reason if isinstance(reason, Exception) else None
            )
