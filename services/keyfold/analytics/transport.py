"""Faust's Kafka transport, made to read committed records only and to say how far it has read.

Faust reads uncommitted records unless the whole application is transactional. Here the consumer that it makes is told
to read committed ones before it starts; there is no public setting for that, so what Faust's and aiokafka's objects
look like is checked, and a test watches aborted records on a real broker.

After each fetch the consumer's place in the sources is noted: whether everything up to the partition's end is read can
only be told by comparing that with what was handled (`Reached`).
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from inspect import iscoroutine
from typing import Any, ClassVar, Final, NamedTuple

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.services import WaitResults

READ_COMMITTED: Final = "read_committed"
_PAUSE_S: Final = 0.05
FETCH_WAIT_MS: Final = 50
FETCH_BYTES: Final = 4 * 1024 * 1024
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024


class Reached(NamedTuple):
    """Where the consumer stood in a partition after a fetch: the last record that it handed out (-1: none), the next
    offset, the broker's end then, of committed records and of all, and the local (monotonic) time of that, in s."""

    last: int
    position: int
    stable: int
    highwater: int
    local_s: float

    @property
    def at_end(self) -> bool:
        """Tell whether nothing lay behind, not even an open transaction."""
        return self.position >= self.highwater and self.stable >= self.highwater


class CommittedThread(driver.AIOKafkaConsumerThread):
    """The thread of Faust's consumer."""

    app: Any

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        if consumer._isolation_level != "read_uncommitted":
            raise TypeError("aiokafka's consumer no longer keeps its isolation level where it is set here")
        consumer._isolation_level = READ_COMMITTED
        # One fetch at a time is under way to a broker: while it waits for idle partitions, busy ones wait for it.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def _fetch_records(self, consumer: Any, active_partitions: Any, *rest: Any, **options: Any) -> Any:
        reached, watched, changelogs = self.app.reached, self.app.watched, self.app.tables.changelog_topics
        # Faust lets streams go on a moment before it seeks; what is fetched meanwhile stands elsewhere, and what
        # follows it would be taken for known. So nothing is fetched, and nothing handed out, before it is sought.
        active = {tp for tp in active_partitions if tp.topic in changelogs or self._counts(tp, reached.sought)}
        if not active:  # aiokafka takes none for all
            await asyncio.sleep(_PAUSE_S)
            return {}
        records = dict(await super()._fetch_records(consumer, active, *rest, **options))
        for tp in [tp for tp in records if tp.topic not in changelogs and not self._counts(tp, reached.sought)]:
            dropped = records.pop(tp)
            if dropped and self._counts(tp, reached.standing):
                consumer.seek(tp, dropped[0].offset)  # a fetch of before, that ended after the seek
        for tp, found in records.items():
            if tp.topic in watched and found:
                reached.last[tp] = found[-1].offset
        self._note(consumer)
        return records

    def _note(self, consumer: Any) -> None:
        """Note where the consumer stands in the sources."""
        reached, watched = self.app.reached, self.app.watched
        now_s, now_ms = time.monotonic(), time.time() * 1000
        for tp in consumer.assignment():
            if tp.topic in watched:
                state = consumer._subscription.subscription.assignment.state_value(tp)
                if state is not None and state.has_valid_position and state.highwater is not None:
                    age_s = max(0.0, now_ms - (state.timestamp or 0)) / 1000
                    reached.places[tp] = Reached(
                        reached.last.get(tp, -1), state.position, state.lso, state.highwater, now_s - age_s
                    )

    def _counts(self, tp: Any, sought: tuple[int, frozenset[Any]]) -> bool:
        era, assigned = sought
        return era == self.app.era and tp in assigned

    async def stand(self, era: int, starts: Mapping[Any, int], fresh: frozenset[Any], assigned: frozenset[Any]) -> None:
        """Seek in this thread, between two fetches: where told, and to the start where nothing was ever committed.

        It counts for the era of the assignment that it was begun in; where another has begun since, for none.
        """
        consumer = self._ensure_consumer()
        if first := [tp for tp in consumer.assignment() if tp in fresh]:
            await consumer.seek_to_beginning(*first)
        for tp, offset in starts.items():
            consumer.seek(tp, offset)
        reached = self.app.reached
        for tp in assigned:  # what was handed out before does not come again: nobody is to wait for it
            reached.last.pop(tp, None)
            reached.places.pop(tp, None)
        reached.standing = era, assigned


class CommittedConsumer(driver.Consumer):
    """Faust's consumer; what is begun again, begins where the application says."""

    app: Any
    _thread: CommittedThread

    def _new_consumer_thread(self) -> CommittedThread:
        return CommittedThread(self, loop=self.loop, beacon=self.beacon)

    async def wait_first(self, *awaitables: Any, **options: Any) -> Any:
        """Wait for the first of several, as Faust does for each message: until it is handed on, or the flow stops.

        Faust makes four tasks for that, at a tenth of the time that a worker has for a record. Handing on waits only
        where a stream's buffer is full; where it does not, nothing else needs to be waited for.
        """
        if not options and len(awaitables) == 2 and all(map(iscoroutine, awaitables)):
            handing_on, stopping = awaitables
            try:
                waits_for = handing_on.send(None)
            except StopIteration as end:
                stopping.close()
                return WaitResults([handing_on], [end.value], False)
            except BaseException:
                stopping.close()
                raise
            awaitables = _Begun(handing_on, waits_for), stopping
        return await super().wait_first(*awaitables, **options)

    async def perform_seek(self) -> None:
        """Stand where the group has committed; once all is restored, in the sources where their own rows say."""
        era = self.app.era
        await super().perform_seek()
        if not self.app.restored or era != self.app.era:
            return
        self.app.restored = False
        assigned = frozenset(tp for tp in self.assignment() if not self._is_changelog_tp(tp))
        starts = self.app.starts(assigned)
        self._read_offset.update({tp: offset or None for tp, offset in starts.items()})
        fresh = frozenset(tp for tp in assigned if tp not in starts and self._read_offset[tp] is None)
        await self._thread.call_thread(self._thread.stand, era, starts, fresh, assigned)


class _Begun:
    """A coroutine that was begun without a task, and waits for something: awaiting this goes on with it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> None:
        self._coroutine, self._waits_for = coroutine, waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            while True:
                try:
                    told = yield self._waits_for
                except BaseException as error:  # noqa: BLE001 - it is the coroutine's, the task's cancellation too
                    self._waits_for = self._coroutine.throw(error)
                else:
                    self._waits_for = self._coroutine.send(told)
        except StopIteration as end:
            return end.value


class CommittedTransport(driver.Transport):
    """Faust's transport with that consumer."""

    Consumer: ClassVar[Any] = CommittedConsumer


class Reach:
    """What the consumer's thread notes. Whole values are put and taken, so no lock is needed."""

    def __init__(self) -> None:
        self.standing: tuple[int, frozenset[Any]] = 0, frozenset()
        self.sought = self.standing
        self.last: dict[Any, int] = {}
        self.places: dict[Any, Reached] = {}

    def of(self, topic: str, partition: int) -> Reached | None:
        """Return the place in a partition, as it was noted last."""
        return self.places.get(TP(topic, partition))


class Application(faust.App):
    """A Faust application that reads committed records.

    `watched` names the topics whose places are noted; they are read from when it is said where to stand. `begin` is
    asked for that, for the partitions that are assigned then, whenever reading begins anew. `turn` is called when
    partitions are to move and when they are restored: what was sought before counts no more.
    """

    def __init__(self, *args: Any, watched: frozenset[str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.watched = watched
        self.reached = Reach()
        self.era, self.restored = 1, False
        self.begin: Callable[[frozenset[tuple[str, int]]], Mapping[tuple[str, int], int]] = lambda _assigned: {}

    def turn(self, *, restored: bool) -> None:
        """Begin another era."""
        self.era += 1
        self.restored = restored

    def on_rebalance_end(self) -> None:
        """Let what was sought be read. Not before: Faust empties its queues when it resumes after seeking."""
        super().on_rebalance_end()
        self.reached.sought = self.reached.standing

    def starts(self, assignment: Any) -> dict[Any, int]:
        """Ask where to stand."""
        starts = self.begin(frozenset((tp.topic, tp.partition) for tp in assignment))
        return {TP(topic, partition): offset for (topic, partition), offset in starts.items()}

    def _new_transport(self) -> CommittedTransport:
        return CommittedTransport(self.conf.broker_consumer, self)
