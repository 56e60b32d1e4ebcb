"""One partition of the events topic, folded into one schema: restore, then batch after batch.

A schema that is being built is filled one batch ahead: the next is folded while Postgres writes the one before it. One
that is live is not: what is told to others was committed.

A step, and what is true if we crash after each part of it:
 1. read and fold a batch: nothing happened; it is read again.
 2. apply it in one Postgres transaction with the partition's offsets: rows, audit and offsets are there, the directory
    may lack what is new; the mark `published` still says so, and restoring publishes it again.
 3. publish the directory's part and wait for its delivery: all is there; the mark is written with the next batch, so
    the same records may be published once more.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from keyfold.bus import Bus, Inbound, Reader
from keyfold.events import topics
from keyfold.events.errors import KeyfoldError
from keyfold.log import TrustKeeper
from keyfold.logging import get_logger
from keyfold.projections.fold import Batch
from keyfold.projections.ports import PartitionStore
from keyfold.projections.positions import Offsets
from keyfold.projector import metrics
from keyfold.projector.folding import Folding
from keyfold.projector.pace import Retry, TokenBucket
from keyfold.projector.publisher import Publisher
from keyfold.projector.settings import ProjectorSettings

_log = get_logger()
_PAGE = 200


class PartitionWorker:
    """Owns a partition in one schema as long as the stored offsets say so. `serving` is set when it was restored.

    `position` is the next offset to be folded, once known; `stepped_s` when the loop last came round (monotonic), None
    while there is none; `trouble` the code of what interrupted it, until it works again.
    """

    def __init__(
        self,
        bus: Bus,
        keeper: TrustKeeper,
        store: PartitionStore,
        publisher: Publisher,
        *,
        partition: int,
        partitions: int,
        name: str,
        is_live: Callable[[], bool],
        settings: ProjectorSettings,
    ) -> None:
        self._bus, self._keeper, self._store, self._publisher = bus, keeper, store, publisher
        self.partition, self._partitions = partition, partitions
        self._is_live, self._schema = is_live, name
        self._settings = settings
        self._pace = TokenBucket(max(4.0, settings.commits_per_s / partitions), settings.burst)
        self._retry = Retry(settings.first_retry_s, settings.longest_retry_s)
        self._log = _log.bind(partition=partition, schema=name)
        self._published = 0
        self._writing: asyncio.Task[None] | None = None
        self.serving = asyncio.Event()
        self.halted: KeyfoldError | None = None
        self.position: int | None = None
        self.stepped_s: float | None = None
        self.trouble = ""

    @property
    def is_live(self) -> bool:
        """Whether its schema is the one that is read."""
        return self._is_live()

    async def run(self) -> None:
        """Work until cancelled; return when the partition must stop. Never raises for what a restart can cure."""
        while True:
            try:
                await self._follow()
            except KeyfoldError as error:
                if not error.retriable:
                    await self._halt(error)
                    return
                self._note(error.code)
                self._log.warning("partition-interrupted", code=error.code, reason=str(error))
            except Exception as error:  # noqa: BLE001 - a defect costs this partition time, never the others
                self._note(type(error).__name__)
                self._log.exception("partition-failed")
            await asyncio.sleep(self._retry.pause_s())

    def _note(self, code: str) -> None:
        self.trouble = code
        metrics.INTERRUPTED.labels(code).inc()

    async def _follow(self) -> None:
        reader = self._bus.reader(topics.EVENTS, self.partition, committed=True)
        try:
            folding = await self._restore(reader)
            live = False
            while True:
                if self._is_live() and not live:
                    await self._written()
                    await self._publish_backlog(folding.offsets)
                    live = True
                self.serving.set()
                self.stepped_s, self.position = time.monotonic(), folding.offsets.next
                await self._step(reader, folding, live=live)
                self._retry.reset()
                self.trouble = ""
        finally:
            self.stepped_s = None
            await self._give_up_writing()
            await reader.stop()

    async def _restore(self, reader: Reader) -> Folding:
        offsets = await self._store.offsets(self.partition)
        folding = Folding(self._keeper, self._store, self._partitions, offsets, cached=self._settings.cached_entities)
        await reader.start(offsets.next)
        self._published = offsets.published
        self._log.info("partition-restored", offset=offsets.next, position=offsets.position)
        return folding

    async def _step(self, reader: Reader, folding: Folding, *, live: bool) -> None:
        most = self._settings.max_records if live else self._settings.max_records_building
        records = await reader.poll(self._settings.idle_poll_s, most)
        offsets = folding.offsets
        if not records and reader.position() <= offsets.next and self._published == offsets.published:
            await self._written()
            return
        more = not live and len(records) >= self._settings.max_records  # there is more, most likely
        await self._commit(folding, records, reader.position(), live=live, more=more)
        if records and live:
            await asyncio.sleep(self._pace.delay(asyncio.get_running_loop().time()))

    async def _commit(
        self, folding: Folding, records: Sequence[Inbound], position: int, *, live: bool, more: bool
    ) -> None:
        try:
            with metrics.FOLD.time():
                batch, gap = await folding.fold(records, position, more=more)
        except KeyfoldError:
            await self._written()
            raise
        await self._written()
        batch = replace(batch, after=replace(batch.after, published=self._published))
        folding.promote(batch)
        metrics.BATCH_RECORDS.observe(len(records))
        metrics.RECORDS.labels(self._schema).inc(len(records))
        if batch.reports:
            metrics.REPORTS.inc(len(batch.reports))
        self._writing = asyncio.create_task(self._write(batch, live=live), name=f"projector-write-{self.partition}")
        if not more or gap is not None:
            await self._written()
        if gap is not None:
            raise gap

    async def _write(self, batch: Batch, *, live: bool) -> None:
        with metrics.APPLY.time():
            await self._store.apply(batch)
        # If we crash here, the batch counts; restoring publishes its part of the directory.
        if live:
            with metrics.PUBLISH.time():
                await self._publisher.publish(batch.directory)
            # If we crash here, the same records are published again.
            self._published = batch.after.next
        await self._publisher.report(batch.reports)

    async def _written(self) -> None:
        """Wait for the batch that is being written. Raises what kept it from being written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                await writing  # who is cancelled here cancels it too
            finally:
                await asyncio.wait({writing})

    async def _give_up_writing(self) -> None:
        """Whether a batch that was under way is there is seen when the offsets are read again."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.cancel()
            await asyncio.wait({writing})
            if not writing.cancelled():
                writing.exception()  # heard, and nothing is to be done about it

    async def _publish_backlog(self, offsets: Offsets) -> None:
        since = offsets.published
        while since < offsets.next:
            records = await self._store.unpublished(self.partition, since, _PAGE)
            await self._publisher.publish(records)
            since = records[-1].kafka_offset + 1 if len(records) == _PAGE else offsets.next
        self._published = since

    async def _halt(self, error: KeyfoldError) -> None:
        """Stop loudly: in the log, and in the offsets for whoever looks at the projections."""
        self.halted = error
        self._log.critical("partition-stopped", code=error.code, reason=str(error))
        try:
            await self._store.halt(await self._store.offsets(self.partition), f"{error.code}: {error}"[:1000])
        except KeyfoldError as refused:
            self._log.warning("halt-not-noted", code=refused.code, reason=str(refused))
        self.serving.set()
