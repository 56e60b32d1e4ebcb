"""The first stage: reads the log and the dead letters, believes, and sends observations to where entities are kept.

1. Gather records; hold back sources that are ahead of the others in event time.
2. Read them (`sources`), send each observation to the partitions of its entities, with the watermarks of all sources
   that are read here; acts of operators to the findings. Wait until all of it is durable.
3. Write where each source goes on. If we crash before, the same is sent again, and known by its place.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from keyfold.analytics import metrics
from keyfold.analytics.packing import Unreadable, pack, pack_act, targets, write
from keyfold.analytics.sealing import Seal
from keyfold.analytics.sending import Inbox, Message, Record, Sending
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.analytics.sources import Noticed, Source, read_dead_letters
from keyfold.analytics.tables import SealedTable
from keyfold.analytics.transport import Application
from keyfold.bus import Inbound
from keyfold.events import topics
from keyfold.log import TrustKeeper
from keyfold.logging import get_logger

ROW: Final = b"source"
_KEY: Final = b""
_log = get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """What all stages work with. `partitions` is the deployment's N, and stands for the dead letters as a source."""

    app: Application
    sending: Sending
    seal: Seal
    settings: AnalyticsSettings
    partitions: int


class Observing:
    """Works on the sources that are assigned to this worker."""

    def __init__(
        self, parts: Parts, keeper: TrustKeeper, table: SealedTable, known: Callable[[], dict[int, int]]
    ) -> None:
        """`known` tells the watermarks of all sources, by whomever they are read, as far as they are known here."""
        self._parts, self._keeper, self._table, self._known = parts, keeper, table, known
        self._events = Inbox(parts.app, topics.EVENTS, acks=False)
        self._letters = Inbox(parts.app, topics.DEAD_LETTERS, acks=True)
        self.lock = asyncio.Lock()
        self._sources: dict[int, Source] = {}
        self._waiting: dict[int, deque[Inbound]] = {}
        self._letters_done: int | None = None
        self._letters_mark = 0
        self._told_s = 0.0

    def begin(self, assigned: frozenset[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Take the sources that are assigned now from their rows; return where to stand in them."""
        self._forget()
        self._letters_done = -1 if (topics.DEAD_LETTERS, 0) in assigned else None
        for topic, partition in sorted(assigned):
            if topic == topics.EVENTS:
                self._sources[partition] = self._restored(partition)
                self._waiting[partition] = deque()
        return {(topics.EVENTS, partition): source.next_offset for partition, source in self._sources.items()}

    def release(self) -> None:
        """Give up what is assigned; nothing of it is under way while the lock is held."""
        self._forget()

    async def run(self) -> None:
        """Work until cancelled. Raises what ends the process."""
        settings = self._parts.settings
        while True:
            backlog = any(self._chosen())
            messages = await self._events.gather(settings.batch_events, 0.0 if backlog else settings.batch_s)
            # No other task runs between these two: nothing is gathered to wait with.
            letters = await self._letters.gather(settings.batch_events, 0.0)
            turns = self._events.turns
            async with self.lock:
                if turns == self._events.turns:
                    await self._work(messages, letters)
            await asyncio.sleep(0)

    async def _work(self, messages: list[Message], letters: list[Message]) -> None:
        for message in messages:
            waiting = self._waiting.get(message.record.partition)
            if waiting is not None:
                waiting.append(message.record)
        read = [await self._read(source, records) for source, records in list(self._chosen())]
        noticed = [each for _, each in read]
        if letters:
            noticed.append(self._read_letters([message.record for message in letters]))
        self._rise_at_ends()
        self._count(noticed)
        # If we crash before all of this is durable, the same is sent again, and known by its place.
        await self._parts.sending.send(self._records(noticed))
        rows = [self._table.write(self._parts.sending, source.partition, {ROW: source.row()}) for source, _ in read]
        await asyncio.gather(*rows)
        await self._letters.done(letters)
        self._pace()

    def _chosen(self) -> Iterator[tuple[Source, list[Inbound]]]:
        """Yield sources that have something and are not too far ahead of the last one, with some of their records."""
        if not self._sources:
            return
        own = {source.partition: source.mark_ms for source in self._sources.values()}
        floor = min((self._known() | own).values())
        ready = [
            source
            for source in self._sources.values()
            if self._waiting[source.partition] and source.mark_ms <= floor + self._parts.settings.skew_ms
        ]
        most = max(1, self._parts.settings.batch_events // max(len(ready), 1))
        for source in ready:
            waiting = self._waiting[source.partition]
            yield source, [waiting[at] for at in range(min(most, len(waiting)))]

    async def _read(self, source: Source, records: list[Inbound]) -> tuple[Source, Noticed]:
        lateness_ms = self._parts.settings.lateness_ms
        before = source.row()
        noticed = source.read(self._keeper.trust, records, lateness_ms)
        if noticed.outcomes["not-believed"]:
            # Perhaps root has said something since: whoever writes was certified before.
            trust = await self._keeper.catch_up()
            source = Source.of_row(source.partition, self._parts.partitions, before)
            noticed = source.read(trust, records, lateness_ms)
            self._sources[source.partition] = source
        waiting = self._waiting[source.partition]
        for _ in records:
            waiting.popleft()
        return source, noticed

    def _read_letters(self, records: list[Inbound]) -> Noticed:
        lateness_ms = self._parts.settings.lateness_ms
        self._letters_done = records[-1].offset
        self._letters_mark = max(self._letters_mark, *(record.timestamp_ms - lateness_ms for record in records))
        return read_dead_letters(self._parts.partitions, records)

    def _rise_at_ends(self) -> None:
        """Where a source is read to its end, the broker's time of that counts."""
        reached = self._parts.app.reached
        for source in self._sources.values():
            place = reached.of(topics.EVENTS, source.partition)
            if place is not None:
                metrics.SOURCE_OFFSET.labels(source.partition).set(source.next_offset)
                metrics.SOURCE_LAG.labels(source.partition).set(max(0, place.stable - source.next_offset))
                if place.at_end and place.last < source.next_offset and not self._waiting[source.partition]:
                    source.rise(self._settled_ms(place.local_s))
        letters = reached.of(topics.DEAD_LETTERS, 0)
        done = self._letters_done
        if done is not None and letters is not None and letters.at_end and letters.last <= done:
            self._letters_mark = max(self._letters_mark, self._settled_ms(letters.local_s))

    def _settled_ms(self, local_s: float) -> int:
        now_ms = self._parts.sending.clock.at(local_s)
        return 0 if now_ms is None else now_ms - self._parts.settings.lateness_ms

    def _records(self, noticed: list[Noticed]) -> Iterator[Record]:
        """Yield what is to be sent: observations and watermarks by target, then acts."""
        parts = self._parts
        rows: dict[int, list[str]] = {}
        for each in noticed:
            for seen in each.observations:
                text = write(seen)
                for target in targets(seen, parts.partitions):
                    rows.setdefault(target, []).append(text)
        due = time.monotonic() - self._told_s >= parts.settings.heartbeat_s
        if due:
            self._told_s = time.monotonic()
        marks = self._marks()
        for target in range(parts.partitions) if due and self._is_working() else sorted(rows):
            for content in pack(rows.get(target, ()), marks):
                value = parts.seal.close(topics.ANALYTICS_OBSERVATIONS, target, _KEY, content)
                yield topics.ANALYTICS_OBSERVATIONS, target, _KEY, value
        for act in (act for each in noticed for act in each.acts):
            yield findings_record(parts.seal, pack_act(act))

    def _marks(self) -> Mapping[int, int]:
        marks = {source.partition: source.mark_ms for source in self._sources.values() if source.mark_ms}
        if self._letters_done is not None and self._letters_mark:
            marks[self._parts.partitions] = self._letters_mark
        return marks

    def _is_working(self) -> bool:
        return bool(self._sources) or self._letters_done is not None

    def _count(self, noticed: list[Noticed]) -> None:
        problems: dict[str, int] = {}
        for each in noticed:
            for outcome, number in each.outcomes.items():
                metrics.EVENTS.labels(outcome).inc(number)
                if outcome != "read":
                    problems[outcome] = problems.get(outcome, 0) + number
        if problems:
            last = next(each.problem for each in reversed(noticed) if each.problem is not None)
            _log.warning("records-passed-over", last=last, **problems)

    def _pace(self) -> None:
        """Let sources of which much waits pause, and go on when half of it is done."""
        from faust.types import TP

        most = self._parts.settings.waiting_events
        consumer = self._parts.app.consumer
        for partition, waiting in self._waiting.items():
            if len(waiting) >= most:
                consumer.on_buffer_full(TP(topics.EVENTS, partition))
            elif len(waiting) <= most // 2:
                consumer.on_buffer_drop(TP(topics.EVENTS, partition))

    def _restored(self, partition: int) -> Source:
        row = self._table.rows(partition).get(ROW)
        try:
            return Source.of_row(partition, self._parts.partitions, row)
        except Unreadable as error:
            _log.warning("source-begins-anew", partition=partition, reason=str(error))
            return Source(partition, self._parts.partitions)

    def _forget(self) -> None:
        self._events.turn()
        self._letters.turn()
        self._sources.clear()
        self._waiting.clear()
        self._letters_done, self._letters_mark = None, 0


def findings_record(seal: Seal, content: bytes) -> Record:
    """Return the record of a finding or an act."""
    return (
        topics.ANALYTICS_FINDINGS, 0, _KEY, seal.close(topics.ANALYTICS_FINDINGS, 0, _KEY, content)
    )  # fmt: skip
