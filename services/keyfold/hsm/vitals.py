"""What is looked at to say how an HSM worker is: its registry, its token, and the partitions that it is to execute."""

from collections.abc import Iterator, Mapping
from typing import Final

from keyfold.events import topics
from keyfold.hsm import metrics
from keyfold.hsm.health import State
from keyfold.hsm.partition import Parts
from keyfold.hsm.service import Service
from keyfold.telemetry.lag import LagWatch
from keyfold.telemetry.partitions import Partitions
from keyfold.telemetry.rising import Rising, dead_letters
from keyfold.telemetry.serving import Served
from keyfold.telemetry.vitals import Check

_SERVES: Final = frozenset({State.HEALTHY, State.DEGRADED})


class HsmVitals:
    """The checks of one process."""

    def __init__(self, parts: Parts, service: Service) -> None:
        self._parts, self._service = parts, service
        self._partitions = Partitions(service.ownership)
        cache = parts.cache
        self._rising = (
            *dead_letters(parts.dead_letters),
            Rising(metrics.HANDLE_HITS, lambda: cache.hits),
            Rising(metrics.HANDLE_MISSES, lambda: cache.misses),
        )

    def tell(self, served: Served) -> None:
        """Have it looked at from now on."""
        served.vitals.add(self.checks)
        served.watch(LagWatch(self._parts.bus, topics.AUTHORIZED, self.positions))

    def checks(self) -> Iterator[Check]:
        """Look at everything. A token that is down makes nothing stuck: it is tried again by itself."""
        for number in self._rising:
            number.take()
        metrics.HANDLES.set(len(self._parts.cache))
        fresh = self._parts.follower.fresh()
        yield Check("registry", fresh, "" if fresh else "not read to its end within the last 5 s")
        watch = self._parts.dispatcher.watch
        state, code = watch.state, watch.code
        yield Check("token", state in _SERVES, "" if state is State.HEALTHY else f"{state.value} {code}".rstrip())
        yield from self._partitions.checks()

    def positions(self) -> Mapping[int, int]:
        """Up to where each owned partition's tickets are executed."""
        workers = self._service.workers
        return {p: workers[p].committed for p in self._service.ownership.working if workers[p].running.is_set()}
