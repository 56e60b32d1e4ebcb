"""What is looked at to say how a notary is: whether it works or stands by, and which partitions it signs."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from keyfold.events import topics
from keyfold.notary import metrics
from keyfold.notary.notary import Parts
from keyfold.notary.service import Service
from keyfold.telemetry.lag import LagWatch
from keyfold.telemetry.partitions import STANDBY_SECONDS
from keyfold.telemetry.rising import dead_letters
from keyfold.telemetry.serving import Served
from keyfold.telemetry.vitals import Check, stepping

READY_LAG: Final = 20_000
"""Offsets of one partition without a checkpoint."""


class NotaryVitals:
    """The checks of one process. One notary works; others stand by, which is what they are for."""

    def __init__(self, parts: Parts, service: Service, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._parts, self._service, self._clock_s = parts, service, clock_s
        self._idle_since_s = clock_s()
        self._rising = dead_letters(parts.dead_letters)

    def tell(self, served: Served) -> None:
        """Have it looked at from now on."""
        served.vitals.add(self.checks)
        served.watch(LagWatch(self._parts.bus, topics.EVENTS, self.positions, most=READY_LAG))

    def checks(self) -> Iterator[Check]:
        """Look at everything."""
        for number in self._rising:
            number.take()
        notary = self._service.notary
        yield self._works()
        caught_up = notary.caught_up.is_set() or not self._service.is_wanted
        yield Check("caught-up", caught_up, "" if caught_up else "the log is not read to its end yet")
        stopped = {feed.partition: feed.trouble.code for feed in notary.feeds if feed.trouble is not None}
        for feed in notary.feeds:
            metrics.LEAVES.labels(feed.partition).set(feed.position.tree.size)
            metrics.UNTRUSTED.labels(feed.partition).set(feed.position.untrusted)
            metrics.NOT_SIGNED.labels(feed.partition).set(feed.trouble is not None)
        reasons = "; ".join(f"partition {partition} is not signed: {code}" for partition, code in stopped.items())
        yield Check("stopped", not stopped, reasons)
        yield stepping("main-loop", notary.stepped_s, self._clock_s())

    def _works(self) -> Check:
        notary, now_s = self._service.notary, self._clock_s()
        if self._service.is_wanted:
            self._idle_since_s = now_s
            works = notary.running.is_set()
            return Check("notary", works, "" if works else notary.trouble or "taking over")
        waits = now_s - self._idle_since_s < STANDBY_SECONDS
        return Check("notary", not waits, "another works" + (", or none is assigned yet" if waits else "; standing by"))

    def positions(self) -> Mapping[int, int]:
        """Up to where each partition's tree is committed."""
        return {feed.partition: feed.position.next for feed in self._service.notary.feeds}
