"""What is looked at to say how a projector is: what it waits for, its partitions, and whether it follows the log."""

import time
from collections.abc import Iterator, Mapping
from typing import Final

from keyfold.bus import Bus
from keyfold.events import topics
from keyfold.projector import metrics
from keyfold.projector.process import Projector
from keyfold.projector.worker import PartitionWorker
from keyfold.telemetry.lag import LagWatch
from keyfold.telemetry.partitions import STANDBY_SECONDS
from keyfold.telemetry.serving import Served
from keyfold.telemetry.vitals import Check, stepping

READY_LAG: Final = 10_000
"""Offsets of one partition. Who reads the projections sees a past that is older than a few seconds beyond that."""


class ProjectorVitals:
    """The checks of one process."""

    def __init__(self, bus: Bus, projector: Projector) -> None:
        self._bus, self._projector = bus, projector
        self._idle_since_s = time.monotonic()

    def tell(self, served: Served) -> None:
        """Have it looked at from now on."""
        served.vitals.add(self.checks)
        served.watch(LagWatch(self._bus, topics.EVENTS, self.positions, most=READY_LAG))

    def checks(self) -> Iterator[Check]:
        """Look at everything. A rebuild beside the live schema makes nobody wait."""
        waiting, workers, now_s = self._projector.waiting, self._projector.workers, time.monotonic()
        live = [worker for worker in workers if worker.is_live]
        metrics.REBUILDING.set(len(live) != len(workers))
        yield Check("connected", waiting is None, f"waits for {waiting}" if waiting else "")
        yield self._served(live, now_s)
        halted = {worker.partition: worker.halted.code for worker in workers if worker.halted is not None}
        metrics.HALTED.set(len(halted))
        yield Check("halted", not halted, _told(halted))
        troubled = {worker.partition: worker.trouble for worker in live if worker.trouble}
        trouble = "; ".join(filter(None, (self._projector.trouble, _told(troubled))))
        yield Check("store", not trouble, trouble)
        steps = [stepping("main-loop", worker.stepped_s, now_s) for worker in workers]
        yield next((step for step in steps if not step.ok), stepping("main-loop", None, now_s))

    def positions(self) -> Mapping[int, int]:
        """Up to where each partition is in the live schema."""
        live = [worker for worker in self._projector.workers if worker.is_live]
        return {worker.partition: worker.position for worker in live if worker.position is not None}

    def _served(self, live: list[PartitionWorker], now_s: float) -> Check:
        if live:
            self._idle_since_s = now_s
            missing = [str(worker.partition) for worker in live if not worker.serving.is_set()]
            return Check("partitions", not missing, f"not restored yet: {', '.join(missing)}" if missing else "")
        waits = now_s - self._idle_since_s < STANDBY_SECONDS
        return Check("partitions", not waits, "none is assigned here" + (" yet" if waits else "; standing by"))


def _told(codes: Mapping[int, str]) -> str:
    return "; ".join(f"partition {partition}: {code}" for partition, code in sorted(codes.items()))
