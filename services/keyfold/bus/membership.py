"""Group membership on Kafka: one static member that never reads a record and only says which partitions are wanted.

The consumer keeps polling with everything paused. Callbacks only note the new set; restoring and closing happen
elsewhere, because exceptions in a rebalance callback are swallowed and heartbeats stop while it runs.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from keyfold.bus import teardown
from keyfold.bus.assignment import decode_claim, encode_claim, share_out
from keyfold.bus.errors import BusError
from keyfold.bus.settings import BusSettings
from keyfold.logging import get_logger

_POLL_MS: Final = 500
_REJOIN_PAUSE_S: Final = 1.0


class KafkaMembership:
    """See `keyfold.bus.ports.Membership`."""

    def __init__(self, settings: BusSettings, group: str, topic: str, instance_id: str) -> None:
        self._settings = settings
        self._group, self._topic, self._instance = group, topic, instance_id
        self._wanted: frozenset[int] = frozenset()
        self._told: frozenset[int] = frozenset()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._consumer: Any = None

    async def start(self) -> None:
        """Start the background task that joins, polls, and joins again after any failure."""
        if self._task is not None:
            raise BusError("this membership was started before")
        self._task = asyncio.create_task(self._run())

    @property
    def wanted(self) -> frozenset[int]:
        """The last known assignment."""
        return self._wanted

    async def wait_change(self, known: frozenset[int] | None = None) -> frozenset[int]:
        """Return the wanted set as soon as it differs from what is known."""
        compare_with = self._told if known is None else known
        while self._wanted == compare_with:
            self._changed.clear()
            await self._changed.wait()
        self._told = self._wanted
        return self._wanted

    async def stop(self) -> None:
        """End the task and close the consumer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def note(self, partitions: frozenset[int]) -> None:
        """Take in a new assignment. Called in the rebalance callback: nothing here may wait or fail."""
        if partitions != self._wanted:
            get_logger().info("assignment", group=self._group, partitions=sorted(partitions))
        self._wanted = partitions
        self._changed.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._join_and_poll()
            except Exception as error:  # noqa: BLE001 - whatever ends a consumer, the answer is another one
                get_logger().warning("membership lost", group=self._group, reason=repr(error))
            await asyncio.sleep(_REJOIN_PAUSE_S)

    async def _join_and_poll(self) -> None:
        consumer = self._new_consumer()
        try:
            consumer.subscribe([self._topic], listener=_Listener(self, consumer))
            # Joining waits for the other members to notice, at most for the rebalance timeout (the session's).
            async with asyncio.timeout(self._settings.start_timeout_s + self._settings.session_timeout_s):
                await consumer.start()
            while True:
                await consumer.getmany(timeout_ms=_POLL_MS)
        finally:
            await teardown.close_consumer(consumer, self._settings.stop_timeout_s)

    def _new_consumer(self) -> Any:
        session_ms = int(self._settings.session_timeout_s * 1000)
        return AIOKafkaConsumer(
            **self._settings.connection() | {"request_timeout_ms": 2 * session_ms},
            group_id=self._group,
            group_instance_id=self._instance,
            session_timeout_ms=session_ms,
            rebalance_timeout_ms=session_ms,
            heartbeat_interval_ms=int(self._settings.heartbeat_interval_s * 1000),
            partition_assignment_strategy=(_Assignor(self._topic, self._instance, self),),
            enable_auto_commit=False,
            # Nothing is ever read: without stored offsets "none" would be an error, "latest" is only a place to wait.
            auto_offset_reset="latest",
            fetch_max_bytes=1,
            max_partition_fetch_bytes=1,
        )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Revocation is ignored: until the next assignment is known, nobody else can have taken over."""

    def __init__(self, membership: KafkaMembership, consumer: Any) -> None:
        self._membership = membership
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        pass

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        with contextlib.suppress(Exception):
            self._consumer.pause(*assigned)
        self._membership.note(frozenset(place.partition for place in assigned))


class _Assignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """Carries `share_out` over the group protocol; each member names itself and what it holds."""

    name = "keyfold-sticky-1"

    def __init__(self, topic: str, instance: str, membership: KafkaMembership) -> None:
        self._topic, self._instance, self._membership = topic, instance, membership

    def metadata(self, topics: Any) -> ConsumerProtocolMemberMetadata:
        claim = encode_claim(self._instance, self._membership.wanted)
        return ConsumerProtocolMemberMetadata(1, list(topics), claim)

    def assign(
        self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        claims = {member: decode_claim(metadata.user_data, member) for member, metadata in members.items()}
        # Ordered by instance, so that a member that comes back under a new id changes nothing.
        names = {member: f"{instance}\0{member}" for member, (instance, _) in claims.items()}
        shares = share_out(
            cluster.partitions_for_topic(self._topic) or (),
            {names[member]: held for member, (_, held) in claims.items()},
        )
        return {
            member: ConsumerProtocolMemberAssignment(1, [(self._topic, shares[names[member]])], b"")
            for member in members
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        pass
