"""History through the same code as live: the log is read and believed, merged by event time, and looked at in memory.

Partitions are read side by side as live (`sources`), and ticks are closed (`engine`) when all of them have come as far,
so the same events give the same findings as live processing gave. What may differ: events whose time is behind that of
others before them by more than the lateness, entities that were forgotten because there were too many, and the ids of
incidents whose first findings were told in another order. Nothing is written, signed or acted on.
"""

import heapq
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from keyfold.analytics.acts import Act
from keyfold.analytics.ages import Forgetting
from keyfold.analytics.detectors.detector import Detector
from keyfold.analytics.engine import Engine, EntityState
from keyfold.analytics.incidents import Changed, Incidents
from keyfold.analytics.observations import Observation
from keyfold.analytics.packing import partition_of_entity
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.analytics.sources import Noticed, Source, read_dead_letters
from keyfold.analytics.ticks import TICK_MS
from keyfold.auditing.rooted import read_root
from keyfold.auditing.sources import RecordSource
from keyfold.bus import Inbound
from keyfold.events.trust import Trust

Seen = Observation | Act
Place = tuple[int, int, int]
"""When, which source, and the number of what it says: the order in which everything is taken in."""


@dataclass(slots=True)
class Told:
    """What a run has read so far: observations, acts, and records by what became of them; beside these, how many
    detectors broke (`detector-failed`)."""

    observations: int = 0
    acts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


class Watch:
    """Observations and acts in the order of event time go in, what follows from them comes out. No I/O.

    Entities are forgotten as live, in each of `partitions` for itself.
    """

    def __init__(
        self,
        detectors: Sequence[Detector[Any]],
        settings: AnalyticsSettings,
        report: Callable[[str, str], None] | None = None,
        *,
        partitions: int = 1,
    ) -> None:
        """`report` is told of detectors that break, see `Engine`."""
        self._engine, self._settings = Engine(detectors, report), settings
        self._states: dict[str, EntityState] = {}
        self._forgetting = [Forgetting(settings) for _ in range(partitions)]
        self._ends: dict[int, set[str]] = {}
        self._incidents = Incidents()
        self._low_ms = 0

    def take(self, time_ms: int, seen: Seen) -> list[Changed]:
        """Take in what was seen at a time; times never fall."""
        changes = self.reach(time_ms)
        if isinstance(seen, Act):
            return [*changes, *self._incidents.act(seen)]
        for entity in seen.entities():
            state = self._states.get(entity)
            if state is None:
                state = self._states[entity] = EntityState()
            self._engine.take(entity, state, (seen,))
            partition = self._forgetting[partition_of_entity(entity, len(self._forgetting))]
            partition.saw(entity.encode(), state.seen_ms)
            self._open(entity, state)
            self._forget(partition)
        return changes

    def reach(self, time_ms: int) -> list[Changed]:
        """Close the ticks that are over when all sources have come to a time."""
        before_ms, self._low_ms = self._low_ms, max(self._low_ms, time_ms - self._settings.lateness_ms)
        if self._low_ms // TICK_MS == before_ms // TICK_MS:
            return []
        changes: list[Changed] = []
        for end in sorted(end for end in self._ends if end <= self._low_ms):
            for entity in sorted(self._ends.pop(end)):
                state = self._states[entity]
                for found in self._engine.close(entity, state, self._low_ms):
                    changes += self._incidents.take(found)
                self._open(entity, state)
        for partition in self._forgetting:
            self._forget(partition)
        return changes

    def finish(self, time_ms: int) -> list[Changed]:
        """Close all ticks up to a time, as an idle log would when it has passed."""
        return self.reach(time_ms + 2 * TICK_MS + self._settings.lateness_ms)

    def _open(self, entity: str, state: EntityState) -> None:
        if state.ticks:
            self._ends.setdefault(min(state.ticks) + TICK_MS, set()).add(entity)

    def _forget(self, partition: Forgetting) -> None:
        for name in partition.due(self._low_ms, self._is_open):
            del self._states[name.decode()]

    def _is_open(self, name: bytes) -> bool:
        return any(name.decode() in entities for entities in self._ends.values())


class Backtest:
    """One run over a log. `letters` are batches of dead letters, where there are any to read.

    `see` is told every observation, in their order, for whoever shows more than what was found.
    """

    def __init__(
        self,
        source: RecordSource,
        detectors: Sequence[Detector[Any]],
        settings: AnalyticsSettings,
        letters: AsyncIterator[list[Inbound]] | None = None,
        see: Callable[[Observation], None] | None = None,
    ) -> None:
        self._source, self._letters, self._see = source, letters, see
        self._lateness_ms = settings.lateness_ms
        self.told = Told()
        self._watch = Watch(
            detectors,
            settings,
            lambda action, _what: self.told.outcomes.update((action,)),
            partitions=source.partitions,
        )

    async def run(self, deployment: str, until_ms: int | None = None) -> AsyncGenerator[Changed, None]:
        """Yield what changes, from the beginning of the log to its end or a time.

        `deployment` is the fingerprint that is trusted. Raises `NotRooted`, and what the source raises.
        """
        trust = (await read_root(self._source, deployment)).trust()
        last_ms = 0
        async with aclosing(self._merged(trust)) as merged:
            async for time_ms, seen in merged:
                if until_ms is not None and time_ms >= until_ms:
                    break
                last_ms = time_ms
                self._note(seen)
                for change in self._watch.take(time_ms, seen):
                    yield change
        for change in self._watch.finish(last_ms):
            yield change

    async def _merged(self, trust: Trust) -> AsyncGenerator[tuple[int, Seen], None]:
        """Yield what all sources say, by event time; of equal times the lower source first."""
        partitions = self._source.partitions
        streams = [self._partition(trust, partition) for partition in range(partitions)]
        if self._letters is not None:
            streams.append(self._dead_letters(partitions, self._letters))
        heads: list[tuple[Place, Seen, AsyncGenerator[tuple[Place, Seen], None]]] = []
        try:
            for stream in streams:
                async for place, seen in stream:
                    heads.append((place, seen, stream))
                    break
            heapq.heapify(heads)
            while heads:
                (time_ms, _, _), seen, stream = heads[0]
                yield time_ms, seen
                following = await anext(stream, None)
                if following is None:
                    heapq.heappop(heads)
                else:
                    heapq.heapreplace(heads, (*following, stream))
        finally:
            for stream in streams:
                await stream.aclose()

    async def _partition(self, trust: Trust, partition: int) -> AsyncGenerator[tuple[Place, Seen], None]:
        reading = Source(partition, self._source.partitions)
        order = _Order(partition)
        async with aclosing(_whole(self._source.records(partition))) as batches:
            async for records in batches:
                for each in order.of(self._noted(reading.read(trust, records, self._lateness_ms))):
                    yield each

    async def _dead_letters(
        self, source: int, batches: AsyncIterator[list[Inbound]]
    ) -> AsyncGenerator[tuple[Place, Seen], None]:
        order = _Order(source)
        async with aclosing(_whole(batches)) as letters:
            async for records in letters:
                for each in order.of(self._noted(read_dead_letters(source, records))):
                    yield each

    def _note(self, seen: Seen) -> None:
        if isinstance(seen, Act):
            self.told.acts += 1
            return
        self.told.observations += 1
        if self._see is not None:
            self._see(seen)

    def _noted(self, noticed: Noticed) -> Noticed:
        self.told.outcomes.update(noticed.outcomes)
        return noticed


class _Order:
    """Gives what a source says its places: its times never fall there, as the source's do not while it is read."""

    def __init__(self, source: int) -> None:
        self._source, self._number, self._time_ms = source, 0, 0

    def of(self, noticed: Noticed) -> list[tuple[Place, Seen]]:
        """Keep observations in the order of the log, by which those are known that were seen before."""
        first_ms = self._time_ms
        timed: list[tuple[int, Seen]] = []
        for each in noticed.observations:
            self._time_ms = max(self._time_ms, each.ref.time_ms)
            timed.append((self._time_ms, each))
        timed += [(max(first_ms, act.time_ms), act) for act in noticed.acts]
        timed.sort(key=itemgetter(0))
        made: list[tuple[Place, Seen]] = []
        for time_ms, seen in timed:
            self._time_ms, self._number = time_ms, self._number + 1
            made.append(((time_ms, self._source, self._number), seen))
        return made


async def _whole(batches: AsyncIterator[list[Inbound]]) -> AsyncGenerator[list[Inbound], None]:
    """Yield batches, and end their reader when nobody wants more."""
    try:
        async for batch in batches:
            yield batch
    finally:
        if isinstance(batches, AsyncGenerator):
            await batches.aclose()
