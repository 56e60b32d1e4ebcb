"""What is looked at to say how a policy processor is: its registry, and the partitions that it is to decide on."""

from collections.abc import Iterator, Mapping

from keyfold.events import topics
from keyfold.policy import metrics
from keyfold.policy.processor import Parts, Processor
from keyfold.policy.service import Service
from keyfold.telemetry.lag import LagWatch
from keyfold.telemetry.partitions import Partitions
from keyfold.telemetry.rising import dead_letters
from keyfold.telemetry.serving import Served
from keyfold.telemetry.vitals import Check


class PolicyVitals:
    """The checks of one process."""

    def __init__(self, parts: Parts, service: Service) -> None:
        self._parts, self._service = parts, service
        self._partitions = Partitions(service.ownership)
        self._rising = dead_letters(parts.dead_letters)
        self._shown: set[int] = set()

    def tell(self, served: Served) -> None:
        """Have it looked at from now on."""
        served.vitals.add(self.checks)
        served.watch(LagWatch(self._parts.bus, topics.COMMANDS, self.positions, committed=False))

    def checks(self) -> Iterator[Check]:
        """Look at everything. A registry that is not fresh stops deciding until it is."""
        fresh = self._parts.follower.fresh()
        metrics.REGISTRY_FRESH.set(fresh)
        yield Check("registry", fresh, "" if fresh else "not read to its end within the last 5 s")
        yield from self._partitions.checks()
        for number in self._rising:
            number.take()
        owned = self._owned()
        for partition, processor in owned.items():
            if processor.owned is not None:
                metrics.IN_FLIGHT.labels(partition).set(processor.owned.state.memory.in_flight)
        for partition in self._shown - owned.keys():
            metrics.IN_FLIGHT.remove(partition)
        self._shown = set(owned)

    def positions(self) -> Mapping[int, int]:
        """Up to where each owned partition's commands are decided."""
        heads = {p: processor.owned.state.head for p, processor in self._owned().items() if processor.owned is not None}
        return {partition: head.commands or 0 for partition, head in heads.items()}

    def _owned(self) -> dict[int, Processor]:
        working = self._service.ownership.working.items()
        return {p: one for p, one in working if isinstance(one, Processor) and one.owned is not None}
