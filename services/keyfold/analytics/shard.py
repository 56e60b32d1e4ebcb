"""One partition of entities: observations go in, findings come out, rows say what to remember. No I/O.

`rows` is what was written and is there again after a restart; what changed since is told by `changes`, once. Entities
are parsed when something of them comes; a bounded number stays parsed. Entities that were not seen for long are
forgotten, and of too many those that were seen least lately.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from keyfold.analytics.ages import Forgetting
from keyfold.analytics.clock import Watermarks
from keyfold.analytics.codec import Live, dump, load, read_head
from keyfold.analytics.engine import Engine
from keyfold.analytics.findings import Finding
from keyfold.analytics.observations import Observation
from keyfold.analytics.packing import Packed, Unreadable, partition_of_entity
from keyfold.analytics.settings import AnalyticsSettings

MARKS: Final = b"\x00marks"
VERSION: Final = 1
MAX_ROW: Final = 768 * 1024

Report = Callable[[str, str], None]
"""Called with an action and an entity, where something is to be told."""


class Shard:
    """The entities of one partition among `partitions`, whose observations come from `sources`."""

    def __init__(  # noqa: PLR0917 - all of it is needed, and each has a type of its own
        self,
        partition: int,
        partitions: int,
        sources: range,
        engine: Engine,
        settings: AnalyticsSettings,
        rows: Mapping[bytes, bytes],
        report: Report,
    ) -> None:
        self.partition = partition
        self._partitions, self._engine, self._settings, self._report = partitions, engine, settings, report
        self._rows = rows
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._dirty: set[str] = set()
        self._ends: dict[int, set[str]] = {}
        self._forgetting = Forgetting(settings)
        self._early: list[Finding] = []
        self.watermarks = Watermarks(sources, _marks_of(rows.get(MARKS)))
        self._written = self.watermarks.marks
        self.taken = self.late = self.forgotten = 0
        self._index()

    def __len__(self) -> int:
        return len(self._forgetting)

    def take(self, packed: Packed) -> bool:
        """Take in a record of the observations topic; tell whether another tick is over."""
        by_entity: dict[str, list[Observation]] = {}
        for seen in packed.observations:
            for entity in seen.entities():
                if partition_of_entity(entity, self._partitions) == self.partition:
                    by_entity.setdefault(entity, []).append(seen)
        for entity, observations in by_entity.items():
            self._take(entity, observations)
        return self.watermarks.saw(packed.marks)

    def close(self) -> list[Finding]:
        """Close all ticks that are over, and return what is found."""
        found = self.early()
        low_ms = self.watermarks.low_ms
        for end in sorted(end for end in self._ends if end <= low_ms):
            for entity in sorted(self._ends.pop(end)):
                found += self._close(entity, low_ms)
        return found

    def early(self) -> list[Finding]:
        """Return what was found where ticks were closed before they were over, since this was asked last."""
        found, self._early = self._early, []
        return found

    def changes(self) -> dict[bytes, bytes | None]:
        """Return what changed since the last call, as rows; None for those that are to be deleted.

        A row that would be too large closes ticks early: what they say is to be durable before the rows are. The
        watermarks are the last: if only a part is written, they never say more than the entities know.
        """
        changed: dict[bytes, bytes | None] = {}
        for entity in self._dirty:
            live = self._live[entity]
            name = entity.encode()
            changed[name] = self._row(entity, live)
            self._forgetting.saw(name, live.head().seen_ms)
        self._dirty.clear()
        changed.update(dict.fromkeys(self._forgotten()))
        while len(self._live) > self._settings.live_entities:
            self._live.popitem(last=False)
        marks = self.watermarks.marks
        if changed or marks != self._written:
            self._written = marks
            changed[MARKS] = json.dumps({"v": VERSION, "marks": sorted(marks.items())}).encode()
        return changed

    def _take(self, entity: str, observations: list[Observation]) -> None:
        live = self._parsed(entity)
        late, known = live.state.late, dict(live.state.seen)
        self._engine.take(entity, live.state, observations)
        if live.state.seen == known:
            return  # all of it was here before
        self._dirty.add(entity)
        self.taken += len(observations)
        self.late += live.state.late - late
        while len(live.state.ticks) > self._settings.open_ticks:
            self._close_first(entity, live)
        self._open(entity, live)

    def _close(self, entity: str, low_ms: int) -> list[Finding]:
        live = self._parsed(entity)
        closed_ms = live.state.closed_ms
        found = self._engine.close(entity, live.state, low_ms)
        if live.state.closed_ms != closed_ms:
            live.memories = None
            self._dirty.add(entity)
        self._open(entity, live)
        return found

    def _row(self, entity: str, live: Live) -> bytes:
        """Return an entity's row; where open ticks make it too large, the oldest are closed early."""
        row = dump(self._engine, entity, live)
        while len(row) > MAX_ROW and live.state.ticks:
            self._close_first(entity, live)
            row = dump(self._engine, entity, live)
        return row

    def _close_first(self, entity: str, live: Live) -> None:
        first = min(live.state.ticks.values(), key=lambda tick: tick.start_ms)
        self._early += self._engine.close(entity, live.state, first.end_ms)
        live.memories = None

    def _open(self, entity: str, live: Live) -> None:
        if live.state.ticks:
            self._ends.setdefault(live.head().open_ms, set()).add(entity)

    def _parsed(self, entity: str) -> Live:
        live = self._live.get(entity)
        if live is not None:
            self._live.move_to_end(entity)
            return live
        row = self._rows.get(entity.encode())
        live = Live()
        if row is not None:
            try:
                live = load(self._engine, entity, row)
            except Unreadable as error:
                self._report("entity-begins-anew", f"{entity}: {error}")
        self._live[entity] = live
        return live

    def _forgotten(self) -> list[bytes]:
        """Forget whose time has come."""
        gone = self._forgetting.due(self.watermarks.low_ms, lambda name: self._is_open(name.decode()))
        for name in gone:
            self._live.pop(name.decode(), None)
        self.forgotten += len(gone)
        return gone

    def _is_open(self, entity: str) -> bool:
        return any(entity in entities for entities in self._ends.values())

    def _index(self) -> None:
        """Read the heads of all rows: who has open ticks, and who was seen when."""
        for name, row in self._rows.items():
            if name == MARKS:
                continue
            try:
                head = read_head(row)
                entity = name.decode()
            except (Unreadable, UnicodeDecodeError):
                continue
            self._forgetting.saw(name, head.seen_ms)
            if head.open_ms:
                self._ends.setdefault(head.open_ms, set()).add(entity)


def _marks_of(row: bytes | None) -> dict[int, int]:
    """Read the row of the watermarks; of another version, nothing is known: all sources tell theirs soon."""
    try:
        document = json.loads(row or b"{}")
        if document.get("v") != VERSION:
            return {}
        return {int(source): int(mark) for source, mark in document["marks"]}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
