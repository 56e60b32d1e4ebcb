"""How far a process is behind: asks the brokers for the ends of a topic now and then, beside the work.

One request for all partitions every few seconds, on a connection of its own, so that nothing is counted per record.
That the brokers answer is itself a sign of health.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from keyfold.bus import Admin, Bus
from keyfold.events.errors import KeyfoldError
from keyfold.logging import get_logger
from keyfold.telemetry.metrics import LAG
from keyfold.telemetry.vitals import Check

PAUSE_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 20.0
_log = get_logger()


class LagWatch:
    """Watches one topic. `positions` are the next offsets to be done, of the partitions that are this process's now.

    More than `most` offsets in one partition make the process not ready; None for who may be behind: a burst waits.
    """

    def __init__(
        self,
        bus: Bus,
        topic: str,
        positions: Callable[[], Mapping[int, int]],
        *,
        committed: bool = True,
        most: int | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus, self._topic, self._positions = bus, topic, positions
        self._committed, self._most, self._clock_s = committed, most, clock_s
        self._behind: Mapping[int, int] = {}
        self._answered_s: float | None = None
        self._trouble = ""
        self._shown: set[int] = set()

    async def run(self) -> None:
        """Ask again and again until cancelled. Whatever goes wrong is tried again with a new connection."""
        while True:
            admin = self._bus.admin()
            try:
                await admin.start()
                while True:
                    await self.ask(admin)
                    await asyncio.sleep(PAUSE_SECONDS)
            except KeyfoldError as error:
                self._failed(error.code)
            except Exception as error:  # noqa: BLE001 - whoever looks must not end what is looked at
                self._failed(type(error).__name__)
            finally:
                await admin.stop()
            await asyncio.sleep(PAUSE_SECONDS)

    async def ask(self, admin: Admin) -> None:
        """Ask once, and show what was found."""
        self._behind = await admin.lag(self._topic, self._positions(), committed=self._committed)
        self._answered_s, self._trouble = self._clock_s(), ""
        for partition, behind in self._behind.items():
            LAG.labels(self._topic, partition).set(behind)
        for partition in self._shown - self._behind.keys():
            LAG.remove(self._topic, partition)
        self._shown = set(self._behind)

    def checks(self) -> Iterator[Check]:
        """Whether the brokers answer, and whether the work follows."""
        silent_s = None if self._answered_s is None else self._clock_s() - self._answered_s
        if silent_s is None:
            yield Check("brokers", False, self._trouble or "no answer yet")
        else:
            ok = silent_s <= PATIENCE_SECONDS
            yield Check("brokers", ok, "" if ok else f"no answer for {silent_s:.0f} s {self._trouble}".rstrip())
        if self._most is not None:
            late = {partition: behind for partition, behind in self._behind.items() if behind > self._most}
            told = ", ".join(f"partition {partition}: {behind}" for partition, behind in sorted(late.items()))
            yield Check("lag", not late, f"behind in {self._topic}: {told}" if late else "")

    def _failed(self, code: str) -> None:
        if code != self._trouble:
            _log.warning("lag-unknown", topic=self._topic, code=code)
        self._trouble = code
