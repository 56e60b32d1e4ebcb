"""The reader of one partition on Kafka: group-less, at positions that its owner keeps, never reset by itself."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka

from keyfold.bus import offsets, teardown
from keyfold.bus.errors import BusError, BusUnavailable, PositionLost, start_failure, unavailable
from keyfold.bus.freshness import CatchUp
from keyfold.bus.ports import MAX_POLL_RECORDS
from keyfold.bus.records import Inbound
from keyfold.bus.settings import BusSettings

_SHORTEST_LOOK_S: Final = 0.005
_LONGEST_LOOK_S: Final = 0.1


class KafkaReader:
    """See `keyfold.bus.ports.Reader`."""

    def __init__(self, settings: BusSettings, topic: str, partition: int, *, committed: bool) -> None:
        self._settings = settings
        self._place = TopicPartition(topic, partition)
        self._committed = committed
        self._consumer: Any = None
        self._state: Any = None
        self._catch_up = CatchUp()
        self._looked_at = 0.0
        self._answered_ms: int | None = None

    async def start(self, position: int | None) -> None:
        """Connect, check the position against the log, and stand there."""
        if self._consumer is not None:
            raise BusError(f"the reader of {self._name} was started before; stop it first")
        self._consumer = AIOKafkaConsumer(
            **self._settings.connection(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed" if self._committed else "read_uncommitted",
            fetch_max_wait_ms=self._settings.fetch_max_wait_ms,
            fetch_max_bytes=self._settings.fetch_max_bytes,
            max_partition_fetch_bytes=self._settings.fetch_max_bytes,
        )
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                await self._consumer.start()
            await self._stand_at(position)
        except BaseException as error:
            await self.stop()
            if isinstance(error, TimeoutError | kafka.KafkaError):
                raise start_failure(f"the reader of {self._name}", error) from error
            raise

    async def poll(self, timeout_s: float, max_records: int = MAX_POLL_RECORDS) -> list[Inbound]:
        """Return the next records; see the port."""
        consumer = self._running()
        try:
            _raise_if_over(consumer._fetcher.error_future)
            found = await consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        except (kafka.OffsetOutOfRangeError, kafka.NoOffsetForPartitionError) as error:
            raise PositionLost(self._place.topic, self._place.partition, self.position()) from error
        except kafka.ConsumerStoppedError as error:
            raise BusError(f"the reader of {self._name} was stopped while it read") from error
        except kafka.KafkaError as error:
            raise unavailable(f"{self._name} cannot be read", error) from error
        self._note_watermark()
        return [_inbound(record) for record in found.get(self._place, ())]

    async def end_offset(self) -> int:
        """Ask the leader: the last stable offset, or the high watermark when everything is read."""
        return await self._ask(offsets.LATEST)

    def position(self) -> int:
        """Return the next offset."""
        self._running()
        return int(self._state.position)

    def caught_up_at(self) -> float | None:
        """Return the time of the latest high watermark that was passed."""
        return self._catch_up.at

    async def read_to_end(self) -> AsyncIterator[list[Inbound]]:
        """Yield batches up to the end as it is now. What ends the loop is the position, not a record: the last
        places of a log are often markers or aborted records, which no reader ever returns.
        """
        end = await self.end_offset()
        look_s = _SHORTEST_LOOK_S
        stuck = _Stuck(self._settings.query_timeout_s)
        while self.position() < end:
            before = self.position()
            if records := await self.poll(look_s):
                yield records
            if self.position() != before:
                look_s, stuck = _SHORTEST_LOOK_S, _Stuck(self._settings.query_timeout_s)
            elif stuck.nothing_lies_ahead(self._state.timestamp):
                self._consumer.seek(self._place, end)
            else:
                look_s = min(2 * look_s, _LONGEST_LOOK_S)

    async def seek(self, position: int) -> None:
        """Start anew at the position: a fetch that is under way would hold a plain seek up for half a second."""
        self._running()
        await self.stop()
        await self.start(position)

    async def stop(self) -> None:
        """Close the consumer."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await teardown.close_consumer(consumer, self._settings.stop_timeout_s)

    @property
    def _name(self) -> str:
        return f"{self._place.topic}-{self._place.partition}"

    def _running(self) -> Any:
        if self._consumer is None or self._state is None:
            raise BusError(f"the reader of {self._name} is not started")
        return self._consumer

    async def _stand_at(self, position: int | None) -> None:
        first = await self._ask(offsets.EARLIEST)
        where = first if position is None else position
        if where < first:
            raise PositionLost(self._place.topic, self._place.partition, where, f" (it starts at {first})")
        if where > first:
            await self._check_end(where)
        # In one step, without an await: an assignment without a position would be looked up in the group's offsets.
        self._consumer.assign([self._place])
        self._consumer.seek(self._place, where)
        self._state = self._consumer._subscription.subscription.assignment.state_value(self._place)
        self._answered_ms, self._looked_at = None, asyncio.get_running_loop().time()

    async def _check_end(self, position: int) -> None:
        """Raise PositionLost if the log ends before the position, and still does a moment later.

        A new leader may for a moment know a lower high watermark than the old one had announced.
        """
        for patience_s in (0.1, 0.4, 0):
            end = await self._ask(offsets.LATEST, committed=False)
            if position <= end:
                return
            await asyncio.sleep(patience_s)
        raise PositionLost(self._place.topic, self._place.partition, position, f" (it ends at {end})")

    async def _ask(self, which: int, *, committed: bool | None = None) -> int:
        topic, partition = self._place
        answer = await offsets.ask_offsets(
            self._consumer._client,
            topic,
            [partition],
            which,
            committed=self._committed if committed is None else committed,
            timeout_s=self._settings.query_timeout_s,
        )
        return answer[partition]

    def _note_watermark(self) -> None:
        """Date a new answer back to the last look: it came since then, and is never called newer than it is."""
        seen_at, self._looked_at = self._looked_at, asyncio.get_running_loop().time()
        new = self._state.timestamp != self._answered_ms
        self._answered_ms = self._state.timestamp
        self._catch_up.saw(self._state.position, self._state.highwater if new else None, seen_at)


def _raise_if_over(fetching: asyncio.Future[None]) -> None:
    """Raise what ended the background fetching; without this a reader would stay silent for ever."""
    if fetching.done():
        raise kafka.KafkaError("fetching has ended") from (None if fetching.cancelled() else fetching.exception())


class _Stuck:
    """Tells a compacted tail from a broker that does not answer.

    Compaction may remove the very last records, and then the position never reaches the end: fetches come back
    empty. Two empty answers below the end say so; no answer at all until the deadline is an error.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._answers: set[int] = set()

    def nothing_lies_ahead(self, answered_ms: int | None) -> bool:
        if answered_ms is not None:
            self._answers.add(answered_ms)
        if len(self._answers) > 3:  # one from before, one that may have been under way, two since
            return True
        if asyncio.get_running_loop().time() > self._deadline:
            raise BusUnavailable(f"no progress for {self._timeout_s} s below the end of a partition")
        return False


def _inbound(record: Any) -> Inbound:
    return Inbound(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, record.headers
    )
