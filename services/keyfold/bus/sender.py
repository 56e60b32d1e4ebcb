"""The sender on Kafka: an idempotent producer outside transactions, for commands, replies, directory, dead letters.

It does not persist what it could not deliver: whoever needs delivery awaits it and sends again.
"""

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka

from keyfold.bus import batches, teardown
from keyfold.bus.errors import BusError, BusUnavailable, UnknownDestination, start_failure, unavailable
from keyfold.bus.records import Outbound
from keyfold.bus.settings import BusSettings
from keyfold.events.errors import KeyfoldError
from keyfold.logging import get_logger

_REFRESH_PAUSE_S: Final = 1.0


class KafkaSender:
    """See `keyfold.bus.ports.Sender`. `undelivered` counts records that the cluster did not take."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._producer: Any = None
        self._refreshed_at = 0.0
        self._revival: asyncio.Task[None] | None = None
        self._stopped = False
        self.undelivered = 0

    async def start(self) -> None:
        """Connect and load the metadata of all topics, so that no later `send` waits for it."""
        self._stopped = False
        producer = self._new_producer()
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                await producer.start()
                await producer.client.force_metadata_update()
        except BaseException as error:
            await teardown.close_producer(producer, self._settings.stop_timeout_s)
            if isinstance(error, Exception):
                raise start_failure("the sender", error) from error
            raise
        self._producer = producer

    async def send(self, record: Outbound) -> Awaitable[int]:
        """Enqueue one record; see the port."""
        producer = self._alive()
        batches.check_size(record, 0)
        if not 0 <= record.partition < (self.partitions_of(record.topic) or 0):
            raise UnknownDestination(record.topic, record.partition)
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                future = await producer.send(
                    record.topic,
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                    timestamp_ms=record.timestamp_ms,
                )
        except (TimeoutError, kafka.KafkaError) as error:
            raise unavailable(f"{record.topic}-{record.partition} takes no records", error) from error
        future.add_done_callback(self._note)
        return _Delivery(future)

    def partitions_of(self, topic: str) -> int | None:
        """Look the topic up in cached metadata; an unknown one causes at most one refresh per second."""
        if self._producer is None:
            return None
        known = self._producer.client.cluster.partitions_for_topic(topic)
        if known:
            return len(known)
        now = asyncio.get_running_loop().time()
        if now - self._refreshed_at >= _REFRESH_PAUSE_S:
            # All topics are asked for, never this one by name: names come from strangers and would pile up.
            self._refreshed_at = now
            self._producer.client.force_metadata_update()
        return None

    async def flush(self) -> None:
        """Wait for the outcome of everything sent; BusUnavailable at the deadline."""
        if self._producer is not None:
            try:
                async with asyncio.timeout(self._settings.send_timeout_s):
                    await self._producer.flush()
            except TimeoutError as error:
                raise BusUnavailable("records are still undelivered at the deadline") from error

    async def stop(self) -> None:
        """Flush within the stop deadline, then close."""
        self._stopped = True
        if self._revival is not None:
            self._revival.cancel()
            await asyncio.wait([self._revival])
            self._revival = None
        producer, self._producer = self._producer, None
        if producer is not None:
            await teardown.within(producer.flush(), self._settings.stop_timeout_s)
            await teardown.close_producer(producer, self._settings.stop_timeout_s)

    def _new_producer(self) -> Any:
        return AIOKafkaProducer(
            **self._settings.connection(),
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=batches.MAX_BATCH_BYTES,
            max_request_size=batches.MAX_RECORD_BYTES,
        )

    def _alive(self) -> Any:
        if self._producer is None:
            raise BusError("the sender is not started")
        task = self._producer._sender.sender_task
        if task.done():
            if self._revival is None or self._revival.done():
                self._revival = asyncio.create_task(self._revive())
            raise BusUnavailable("the sender lost its producer and starts another one; send again")
        return self._producer

    async def _revive(self) -> None:
        """Replace a producer whose background task died (for example after the broker lost its sequence numbers)."""
        dead = self._producer
        task = dead._sender.sender_task
        reason = "cancelled" if task.cancelled() else repr(task.exception())
        get_logger().warning("producer lost", action="sender.revive", reason=reason)
        try:
            await self.start()
        except KeyfoldError as error:  # the next `send` tries again
            get_logger().warning("producer not replaced", action="sender.revive", reason=str(error))
            return
        await teardown.close_producer(dead, self._settings.stop_timeout_s)

    def _note(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            self.undelivered += 1


class _Delivery:
    """Awaitable for one record's offset. Nobody has to await it."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, int]:
        return self._wait().__await__()

    async def _wait(self) -> int:
        try:
            return int((await asyncio.shield(self._future)).offset)
        except kafka.KafkaError as error:
            raise unavailable("a record was not delivered", error) from error
