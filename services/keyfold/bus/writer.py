"""The transactional writer on Kafka: one transaction call, and no second life after a doubt.

It never aborts and never retries: what is in doubt is settled by the next writer's start, which fences this one.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from enum import Enum
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka

from keyfold.bus import backoff, batches, teardown
from keyfold.bus.errors import Fenced, InDoubt, RecordRefused, WriterUnusable, start_failure
from keyfold.bus.records import Outbound
from keyfold.bus.settings import BusSettings

_T = TypeVar("_T")
_FENCING: Final = (
    kafka.ProducerFenced,
    kafka.InvalidProducerEpoch,
    kafka.InvalidProducerIdMapping,
    kafka.InvalidTxnState,
    kafka.TransactionalIdAuthorizationFailed,
)
_REFUSALS: Final = (
    kafka.MessageSizeTooLargeError,
    kafka.RecordListTooLargeError,
    kafka.CorruptRecordException,
    kafka.InvalidTimestampError,
)


class _State(Enum):
    NEW = "not started"
    READY = "ready"
    BUSY = "in a transaction"
    DOUBT = "in doubt"
    STOPPED = "stopped"


class KafkaWriter:
    """See `keyfold.bus.ports.Writer`."""

    def __init__(self, settings: BusSettings, transactional_id: str) -> None:
        self._settings = settings
        self._id = transactional_id
        self._state = _State.NEW
        self._producer: Any = None

    async def start(self) -> None:
        """Connect, and ask the coordinator for a new epoch of this transactional id.

        The answer comes only when the predecessor's transaction is committed or aborted. If we crash before it,
        nothing has changed; if we crash after it, the next start settles the same way.
        """
        self._require(_State.NEW)
        backoff.shorten()
        self._producer = AIOKafkaProducer(
            **self._settings.connection(),
            transactional_id=self._id,
            transaction_timeout_ms=self._settings.transaction_timeout_ms,
            acks="all",
            linger_ms=0,
            max_batch_size=batches.MAX_BATCH_BYTES,
            max_request_size=batches.MAX_RECORD_BYTES,
        )
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                await self._producer.start()
        except BaseException as error:
            await self.stop()
            if isinstance(error, Exception):
                raise start_failure(f"the writer {self._id}", error) from error
            raise
        self._state = _State.READY

    async def commit(self, records: Sequence[Outbound]) -> list[int]:
        """Write all records in one transaction; see the port for what a failure means."""
        self._require(_State.READY)
        if not records:
            return []
        packed = batches.pack(self._producer.create_batch, records)
        return await self._or_doubt(self._transact(packed, len(records)))

    async def end_open(self, places: Sequence[tuple[str, int]], *, commit: bool) -> None:
        """Commit or abort a transaction that has the partitions and no records; see the port."""
        self._require(_State.READY)
        await self._or_doubt(self._end(places, commit=commit))

    async def stop(self) -> None:
        """Drop the connection. An open transaction is left to its successor, or to its timeout at the broker."""
        self._state = _State.STOPPED
        producer, self._producer = self._producer, None
        if producer is not None:
            await teardown.close_producer(producer, self._settings.stop_timeout_s)

    async def _or_doubt(self, transaction: Coroutine[Any, Any, _T]) -> _T:
        self._state = _State.BUSY
        try:
            async with asyncio.timeout(self._settings.commit_timeout_s):
                result = await transaction
        except BaseException as error:
            # Cancelled, failed, or too late: the records may be committed, aborted or still open. We cannot know,
            # and must not act as if we did.
            self._state = _State.DOUBT
            if isinstance(error, Exception):
                raise self._doubt(error) from error
            raise
        self._state = _State.READY
        return result

    async def _end(self, places: Sequence[tuple[str, int]], *, commit: bool) -> None:
        await self._producer.begin_transaction()
        for topic, partition in places:
            # What `send` does for a record, without one.
            self._producer._txn_manager.maybe_add_partition_to_txn(TopicPartition(topic, partition))
        await (self._producer.commit_transaction() if commit else self._producer.abort_transaction())

    async def _transact(self, packed: Sequence[batches.Batch], count: int) -> list[int]:
        # 1. Begin. Local; the broker learns of it when partitions are added.
        await self._producer.begin_transaction()
        # 2. Send all.
        futures = []
        ordered = batches.sending_order(packed)
        for batch in ordered:
            futures.append(await self._producer.send_batch(batch.builder, batch.topic, partition=batch.partition))
        # 3. Await every one. aiokafka's commit only waits for them: it would commit although a record failed.
        results = await asyncio.gather(*futures, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        offsets = _offsets(ordered, results, count)
        # 4. Commit. If we crash before the coordinator has written it, everything is aborted when the next writer
        #    starts; if we crash after, everything stands. Both ends are found by restoring, never by remembering.
        await self._producer.commit_transaction()
        return offsets

    def _require(self, state: _State) -> None:
        if self._state is not state:
            raise WriterUnusable(f"the writer {self._id} is {self._state.value}; stop it and start a new one")

    def _doubt(self, error: Exception) -> InDoubt:
        """Name the cause: the sender task knows more than the exception that reached the caller."""
        kind: type[InDoubt] = InDoubt
        task = self._producer._sender.sender_task
        reasons = _chain(error)
        if task is not None and task.done() and not task.cancelled():
            reasons += _chain(task.exception())
        if any(isinstance(reason, _FENCING) for reason in reasons):
            kind = Fenced
        elif any(isinstance(reason, _REFUSALS) for reason in reasons):
            kind = RecordRefused
        fatal = " (fatal)" if self._producer._txn_manager.is_fatal_error() else ""
        return kind(f"a transaction of {self._id} is in doubt{fatal}: {error!r}; start a new writer and restore")


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None:
        found.append(error)
        error = error.__cause__
    return found


def _offsets(ordered: Sequence[batches.Batch], results: Sequence[Any], count: int) -> list[int]:
    offsets = [-1] * count
    for batch, result in zip(ordered, results, strict=True):
        if result is None or result.offset < 0:
            # Landed by a retry that the broker no longer remembers: where, nobody can say.
            raise kafka.KafkaError(f"no offset known for {batch.topic}-{batch.partition}")
        for place, index in enumerate(batch.indexes):
            offsets[index] = result.offset + place
    return offsets
