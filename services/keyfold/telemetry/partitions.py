"""What is looked at of a process that owns partitions: which are its, which it owns already, whether they move on."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from keyfold.telemetry.metrics import OWNED
from keyfold.telemetry.vitals import Check, stepping

STANDBY_SECONDS: Final = 30.0
"""Who was assigned nothing for so long stands by, and is ready to: there may be more processes than partitions."""

_MOST_NAMED: Final = 10


class Runner(Protocol):
    """One partition's work; `running` is set while it is owned, `stepped_s` is when its loop last came round."""

    running: asyncio.Event

    @property
    def stepped_s(self) -> float | None: ...


class Owns(Protocol):
    """Which partitions there are work for, and which were given up until the process is started again."""

    @property
    def working(self) -> Mapping[int, Runner]: ...

    @property
    def stopped(self) -> frozenset[int]: ...


class Partitions:
    """The checks of such a process. `clock_s` is monotonic."""

    def __init__(self, ownership: Owns, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._ownership, self._clock_s = ownership, clock_s
        self._idle_since_s = clock_s()
        self._shown: set[int] = set()

    def checks(self) -> Iterator[Check]:
        """Look at all of them, and show which are owned."""
        working, stopped, now_s = self._ownership.working, self._ownership.stopped, self._clock_s()
        self._show(working)
        if working:
            self._idle_since_s = now_s
        yield self._owned(working, now_s)
        yield Check("stopped", not stopped, f"{_named(stopped)} stopped; see the log" if stopped else "")
        steps = [stepping("main-loop", runner.stepped_s, now_s) for runner in working.values()]
        yield next((step for step in steps if not step.ok), stepping("main-loop", None, now_s))

    def _owned(self, working: Mapping[int, Runner], now_s: float) -> Check:
        if not working:
            waits = now_s - self._idle_since_s < STANDBY_SECONDS
            return Check("partitions", not waits, "none is assigned here" + (" yet" if waits else "; standing by"))
        missing = [partition for partition, runner in working.items() if not runner.running.is_set()]
        return Check("partitions", not missing, f"{_named(missing)} not owned yet" if missing else "")

    def _show(self, working: Mapping[int, Runner]) -> None:
        for partition, runner in working.items():
            OWNED.labels(partition).set(runner.running.is_set())
        for partition in self._shown - working.keys():
            OWNED.remove(partition)
        self._shown = set(working)


def _named(partitions: frozenset[int] | list[int]) -> str:
    first = ", ".join(str(partition) for partition in sorted(partitions)[:_MOST_NAMED])
    more = len(partitions) - _MOST_NAMED
    return f"partitions {first}" + (f" and {more} more" if more > 0 else "")
