"""From observations to findings, entity by entity: ticks are filled, closed in order, and looked at. Pure.

The same code runs live, over history and in simulations. What makes the result the same each time: an observation that
was taken in before is known by its place (`seen`) and not counted twice; ticks are closed by event time only, when all
sources have come so far; detectors see ticks in order. An observation that comes after its tick was closed is named in
the first tick that is still to come, and not summed there (`late`): nobody is lost, and what came at once in an hour's
stead makes no burst.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import Any

from keyfold.analytics.detectors.detector import Detector
from keyfold.analytics.findings import Finding, Signal, finding
from keyfold.analytics.observations import KEY, Observation
from keyfold.analytics.ticks import TICK_MS, Tick, tick_of


@dataclass(slots=True)
class EntityState:
    """What is known of one entity: open ticks by their start, and each detector's memory.

    `seen` is the highest Kafka offset that was taken in of each source partition, `closed_ms` the end of the last
    closed tick, `late` how many observations came behind it.
    """

    seen: dict[int, int] = field(default_factory=dict)
    ticks: dict[int, Tick] = field(default_factory=dict)
    memories: dict[str, Any] = field(default_factory=dict)
    closed_ms: int = 0
    late: int = 0

    @property
    def seen_ms(self) -> int:
        """The end of the last tick in which something was seen."""
        return max([self.closed_ms, *(start + TICK_MS for start in self.ticks)])


class Engine:
    """All detectors, and how an entity's state moves on.

    A detector that raises costs that one look of its; `report` is told once for each detector, with an action and what
    happened. Without `report`, what it raises is passed on.
    """

    def __init__(self, detectors: Sequence[Detector[Any]], report: Callable[[str, str], None] | None = None) -> None:
        self._report = report
        self._broken: set[str] = set()
        self.detectors: Mapping[str, tuple[Detector[Any], ...]] = {
            scope: tuple(each for each in detectors if scope in each.scopes) for scope in ("principal", "key")
        }

    def of(self, entity: str) -> tuple[Detector[Any], ...]:
        """Return the detectors that look at an entity."""
        return self.detectors["key" if entity.startswith(KEY) else "principal"]

    def take(self, entity: str, state: EntityState, observations: Iterable[Observation]) -> None:
        """Take in observations of an entity; those of one source partition in the order of their offsets."""
        if not state.seen and entity.startswith(KEY):
            # A key begins with what was allowed, if only to create it: keys that somebody makes up are none, and would
            # drive out the memories of others.
            observations = dropwhile(lambda seen: seen.result != "authorized", observations)
        for seen in observations:
            ref = seen.ref
            if ref.offset <= state.seen.get(ref.partition, -1):
                continue
            state.seen[ref.partition] = ref.offset
            start = tick_of(ref.time_ms)
            late = start < state.closed_ms
            if late:
                state.late += 1
                start = state.closed_ms
            tick = state.ticks.get(start)
            if tick is None:
                tick = state.ticks[start] = Tick(start)
            tick.add(entity, seen, late=late)

    def close(self, entity: str, state: EntityState, watermark_ms: int) -> list[Finding]:
        """Close the ticks that end at or before a time up to which all sources have come, and return what is found."""
        found: list[Finding] = []
        detectors = self.of(entity)
        for start in sorted(start for start in state.ticks if start + TICK_MS <= watermark_ms):
            tick = state.ticks.pop(start)
            state.closed_ms = tick.end_ms
            for detector in detectors:
                memory = state.memories.get(detector.name)
                if memory is None:
                    memory = state.memories[detector.name] = detector.begin()
                found += (finding(detector.name, entity, each) for each in self._look(detector, entity, tick, memory))
        return found

    def _look(self, detector: Detector[Any], entity: str, tick: Tick, memory: Any) -> Sequence[Signal]:
        try:
            return list(detector.look(entity, tick, memory))
        except Exception as error:
            if self._report is None:
                raise
            if detector.name not in self._broken:
                self._broken.add(detector.name)
                self._report("detector-failed", f"{detector.name} on {entity}: {type(error).__name__}")
            return ()
