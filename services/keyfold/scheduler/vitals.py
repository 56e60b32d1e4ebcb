"""What is looked at to say how a scheduler is: whether it is connected, and whether its rounds go round and see."""

import time
from collections.abc import Iterator

from keyfold.scheduler.scheduler import Scheduler
from keyfold.telemetry.vitals import Check, stepping


class SchedulerVitals:
    """The checks of one process. `scheduler` is None while it is not connected, for the reason in `trouble`."""

    def __init__(self) -> None:
        self.scheduler: Scheduler | None = None
        self.trouble = "connecting"

    def checks(self) -> Iterator[Check]:
        """Look at everything."""
        scheduler = self.scheduler
        yield Check("connected", scheduler is not None, "" if scheduler else self.trouble)
        blind = scheduler is not None and scheduler.blind
        yield Check("projections", not blind, "what is due cannot be looked up; is Postgres there?" if blind else "")
        yield stepping("main-loop", scheduler.stepped_s if scheduler else None, time.monotonic())
