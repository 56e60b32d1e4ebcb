"""The bus as processes see it: what is guaranteed, in prose. Kafka and memory both pass one contract suite.

There is one order of starting, for every owner of a partition (design, section 5, rule 3):

    writer.start()  →  state reader: read_to_end()  →  input readers: start(stored position)  →  work

No method waits for ever: each has a deadline from the settings and then raises `BusUnavailable` (or `InDoubt`).
"""

from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from typing import Protocol

from keyfold.bus.records import Inbound, Outbound
from keyfold.events.topics import TOPICS, Topic

MAX_POLL_RECORDS = 500


class Writer(Protocol):
    """The one writer of a transactional id, used by one task, one transaction at a time."""

    async def start(self) -> None:
        """Fence the predecessor and settle its transaction: afterwards it can commit nothing any more.

        Whoever reads to the end after this has read everything that the predecessor ever committed.
        """

    async def commit(self, records: Sequence[Outbound]) -> list[int]:
        """Write all records in one transaction and return their offsets, in the order given.

        Returns only when the decision to commit is durable at the minimum in-sync replicas. Committed readers see
        the records a moment later, when the markers are written: an `end_offset` asked right after a commit may
        still lie before it (only a successor's `start` waits for markers).

        `RecordTooLarge` is raised before anything begins and leaves the writer usable. Any other failure, a deadline
        and a cancellation leave the transaction **in doubt**: it may be committed or not. `InDoubt` (or a subclass; a
        cancellation stays a `CancelledError`) is raised, and the writer is unusable: stop it, start a new one,
        restore. No records: no transaction.
        """

    async def end_open(self, places: Sequence[tuple[str, int]], *, commit: bool) -> None:
        """Write a transaction's end, and no records, into these places (topic, partition).

        It also ends what an earlier writer of the id left open there: a coordinator skips the end of a transaction in
        a partition that has no leader at that moment, and does not come back to it. Failures are those of `commit`.
        """

    async def stop(self) -> None:
        """Release everything, at once and without talking to the broker. May be called at any time, and again."""


class Reader(Protocol):
    """Reads exactly one topic partition, from a position that its owner keeps. Has no group and commits nothing.

    `committed` readers see committed transactions only, up to the first open one. Others see everything, also what
    will be aborted, and no open transaction holds them up.
    """

    async def start(self, position: int | None) -> None:
        """Stand at `position`, or at the start of the log for None. `PositionLost` if the log does not have it."""

    async def poll(self, timeout_s: float, max_records: int = MAX_POLL_RECORDS) -> list[Inbound]:
        """Return what comes next, as soon as there is something; [] after `timeout_s`. `PositionLost` on a gap.

        Offsets may skip: markers of transactions, aborted and compacted records take places too.
        """

    async def end_offset(self) -> int:
        """Ask for the offset behind the last record that this reader can see now (committed: last stable offset)."""

    def position(self) -> int:
        """Return the offset that is read next. Moves in `poll`, over invisible places too."""

    def caught_up_at(self) -> float | None:
        """Return when (event loop time) the latest high watermark was seen that the position has passed since.

        None before the first. The high watermark counts open transactions: behind one, this stands still.
        """

    def read_to_end(self) -> AsyncIterator[list[Inbound]]:
        """Yield batches until `position()` has reached the end offset as it is at the call."""

    async def seek(self, position: int) -> None:
        """Continue at `position`; `PositionLost` if the log does not have it."""

    async def stop(self) -> None:
        """Release everything. May be called at any time, and again."""


class Sender(Protocol):
    """Sends records that belong to no transaction: at most once each, in order per partition, durable when awaited."""

    async def start(self) -> None:
        """Connect and learn the cluster's topics."""

    async def send(self, record: Outbound) -> Awaitable[int]:
        """Enqueue a record; the result may be awaited for its offset, or left alone.

        Waits only while a partition's buffer is full (`BusUnavailable` at the deadline). `UnknownDestination`
        comes from cached metadata and starts a refresh in the background. `RecordTooLarge` before it is sent.
        """

    def partitions_of(self, topic: str) -> int | None:
        """Return the cached number of partitions; None for an unknown topic, which is then looked up behind."""

    async def flush(self) -> None:
        """Wait until everything sent so far is delivered or failed."""

    async def stop(self) -> None:
        """Deliver what is enqueued, within a deadline, and release everything."""


class Membership(Protocol):
    """One member of a group that shares the partitions of one topic. It only says which are wanted here.

    Losing a partition is not announced before the next assignment is known, and wanting is not owning: only the
    fencing of a `Writer` makes an owner. A member that dies is replaced after the session timeout.
    """

    async def start(self) -> None:
        """Join the group; returns before the first assignment."""

    @property
    def wanted(self) -> frozenset[int]:
        """The partitions of the last known assignment; empty before the first."""

    async def wait_change(self, known: frozenset[int] | None = None) -> frozenset[int]:
        """Return `wanted` as soon as it differs from `known` (default: from what this returned last, first: empty)."""

    async def stop(self) -> None:
        """Stop heartbeats. A static member keeps its partitions until the session times out: come back before."""


class Admin(Protocol):
    """Creates and checks topics, and asks for offsets. `start` first, `stop` last."""

    async def start(self) -> None:
        """Connect."""

    async def create_topics(
        self,
        partitions: int,
        *,
        replication_factor: int,
        min_insync_replicas: int,
        topics: Iterable[Topic] = TOPICS,
        reply_names: Iterable[str] = (),
    ) -> list[str]:
        """Create what is missing of the table (and reply topics by client name); return the names created."""

    async def verify_topics(
        self,
        partitions: int,
        *,
        min_insync_replicas: int | None = None,
        topics: Iterable[Topic] = TOPICS,
        reply_names: Iterable[str] = (),
    ) -> None:
        """Raise `TopicMismatch` with every difference between the cluster and the table."""

    async def alter_topics(
        self,
        partitions: int,
        *,
        min_insync_replicas: int | None = None,
        topics: Iterable[Topic] = TOPICS,
        reply_names: Iterable[str] = (),
    ) -> list[str]:
        """Set what differs, where no record is lost by it or read otherwise; return a sentence for each alteration.

        Raises `TopicMismatch` with all that may not be altered, and why: then nothing was. Topics that are missing are
        passed over.
        """

    async def delete_records(self, topic: str, partition: int, before_offset: int) -> int:
        """Delete what lies below `before_offset`; return the new start of the log. Never more than exists."""

    async def start_offsets(self, topic: str) -> Mapping[int, int]:
        """Return each partition's first offset."""

    async def end_offsets(self, topic: str, *, committed: bool = True) -> Mapping[int, int]:
        """Return each partition's end: the last stable offset, or the high watermark."""

    async def lag(self, topic: str, positions: Mapping[int, int], *, committed: bool = True) -> Mapping[int, int]:
        """Return how many offsets each given position is behind its partition's end (never negative)."""

    async def stop(self) -> None:
        """Disconnect."""


class Bus(Protocol):
    """Makes ports; the only thing that a composition root takes from this package."""

    def writer(self, transactional_id: str) -> Writer: ...

    def reader(self, topic: str, partition: int, *, committed: bool) -> Reader: ...

    def sender(self) -> Sender: ...

    def membership(self, group: str, topic: str, instance_id: str) -> Membership: ...

    def admin(self) -> Admin: ...
