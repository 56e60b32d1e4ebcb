"""The second stage: keeps entities, closes ticks when all sources have come so far, and sends what is found.

1. Gather observations for a moment, take them in, and close the ticks that are over; make the rows of what changed,
   which may close more, where they would be too large.
2. Send the findings, and wait until they are durable. If we crash before, they are found again, under the same ids.
3. Write the rows, then acknowledge. If we crash in between, what is read again is known by its place.
"""

import asyncio

from keyfold.analytics import metrics
from keyfold.analytics.engine import Engine
from keyfold.analytics.findings import Finding
from keyfold.analytics.observing import Parts, findings_record
from keyfold.analytics.packing import Unreadable, pack_findings, unpack
from keyfold.analytics.sending import Inbox, Message
from keyfold.analytics.shard import Shard
from keyfold.analytics.tables import SealedTable
from keyfold.events import topics
from keyfold.logging import get_logger

_log = get_logger()


class Detecting:
    """Works on the partitions of entities that are assigned to this worker."""

    def __init__(self, parts: Parts, table: SealedTable, engine: Engine) -> None:
        self._parts, self._table, self._engine = parts, table, engine
        self._inbox = Inbox(parts.app, topics.ANALYTICS_OBSERVATIONS, acks=True)
        self.lock = asyncio.Lock()
        self._shards: dict[int, Shard] = {}

    def low_ms(self) -> int:
        """Return up to when all sources were read, as far as it is known here; 0 where nothing is."""
        return max((shard.watermarks.low_ms for shard in self._shards.values()), default=0)

    def marks(self) -> dict[int, int]:
        """Return the watermarks of all sources, as far as they are known here."""
        found: dict[int, int] = {}
        for shard in self._shards.values():
            for source, mark in shard.watermarks.marks.items():
                found[source] = max(mark, found.get(source, 0))
        return found

    def begin(self, assigned: frozenset[tuple[str, int]]) -> None:
        """Take the partitions that are assigned now from their rows."""
        self._forget()
        parts = self._parts
        sources = range(parts.partitions + 1)
        for topic, partition in sorted(assigned):
            if topic == topics.ANALYTICS_OBSERVATIONS:
                rows = self._table.rows(partition)
                self._shards[partition] = Shard(
                    partition, parts.partitions, sources, self._engine, parts.settings, rows, report
                )

    def release(self) -> None:
        """Give up what is assigned; nothing of it is under way while the lock is held."""
        self._forget()

    async def run(self) -> None:
        """Work until cancelled. Raises what ends the process."""
        while True:
            messages = await self._gather()
            turns = self._inbox.turns
            async with self.lock:
                if messages and turns == self._inbox.turns:
                    await self._work(messages)

    async def _gather(self) -> list[Message]:
        settings = self._parts.settings
        return await self._inbox.gather(settings.take_messages, settings.take_s)

    async def _work(self, messages: list[Message]) -> None:
        shards = dict(self._shards)
        messages = [message for message in messages if message.record.partition in shards]
        touched = await self._take(shards, messages)
        found: list[Finding] = []
        for shard in touched.values():
            found += shard.close()
            await asyncio.sleep(0)
        rows = {}
        for partition, shard in touched.items():
            rows[partition] = shard.changes()
            found += shard.early()
            await asyncio.sleep(0)
        # If we crash before the findings are durable, they are found again, under the same ids.
        seal, sending = self._parts.seal, self._parts.sending
        await sending.send(findings_record(seal, content) for content in pack_findings(found))
        await asyncio.gather(*(self._table.write(sending, partition, changes) for partition, changes in rows.items()))
        await self._inbox.done(messages)
        self._count(touched, found)

    async def _take(self, shards: dict[int, Shard], messages: list[Message]) -> dict[int, Shard]:
        """Take in what was gathered; return whom it was for."""
        touched: dict[int, Shard] = {}
        refused: list[str] = []
        for message in messages:
            record = message.record
            shard = shards[record.partition]
            try:
                shard.take(
                    unpack(self._parts.seal.open(record.topic, record.partition, record.key or b"", record.value))
                )
            except Unreadable as error:
                refused.append(str(error))
            touched[record.partition] = shard
            await asyncio.sleep(0)
        if refused:
            metrics.EVENTS.labels("unreadable").inc(len(refused))
            _log.warning("observations-passed-over", records=len(refused), last=refused[-1])
        return touched

    def _count(self, touched: dict[int, Shard], found: list[Finding]) -> None:
        for each in found:
            metrics.FINDINGS.labels(each.detector, each.signal.severity).inc()
        for partition, shard in touched.items():
            metrics.OBSERVATIONS.inc(shard.taken)
            metrics.LATE.inc(shard.late)
            metrics.FORGOTTEN.inc(shard.forgotten)
            shard.taken = shard.late = shard.forgotten = 0
            metrics.ENTITIES.labels(partition).set(len(shard))
            metrics.WATERMARK.labels(partition).set(shard.watermarks.low_ms / 1000)

    def _forget(self) -> None:
        self._inbox.turn()
        self._shards.clear()


def report(action: str, what: str) -> None:
    """Tell what is to be told of an entity or a detector."""
    _log.warning(action, what=what)
