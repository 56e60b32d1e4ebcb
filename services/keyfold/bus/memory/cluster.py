"""The broker in memory: topics, the fencing of transactional ids, group membership, and faults on request."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from keyfold.bus.assignment import share_out
from keyfold.bus.errors import BusUnavailable
from keyfold.bus.memory.log import Log, Outcome, Transaction
from keyfold.bus.topic_plan import Plan, plan
from keyfold.events.topics import TOPICS, Topic

Note = Callable[[frozenset[int]], None]


class Fault(Enum):
    """What happens to a commit. Each raises InDoubt (or RecordRefused) to its caller."""

    LOST = "aborted, and reported as failed"
    LANDED = "committed, but reported as failed"
    HANGING = "left open, as by a crash: the next writer of the id aborts it"
    REFUSED = "aborted, because the broker refuses a record"
    UNMARKED = "decided, but its end was left out of the log: it stays open until the id ends it"


@dataclass(slots=True)
class _Owner:
    epoch: int = 0
    transaction: Transaction | None = None
    unmarked: list[Transaction] = field(default_factory=list)


class MemoryCluster:
    """What all processes of one test share. `clock_ms` stamps records; `down` makes everything unavailable."""

    def __init__(
        self,
        partitions: int = 4,
        *,
        topics: Iterable[Topic] = TOPICS,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        session_timeout_s: float = 0.2,
    ) -> None:
        self.clock_ms = clock_ms
        self.down = False
        self.session_timeout_s = session_timeout_s
        self.plans: dict[str, Plan] = {}
        self._logs: dict[str, list[Log]] = {}
        self._owners: dict[str, _Owner] = {}
        self._faults: list[tuple[str | None, Fault]] = []
        self._groups: dict[str, dict[str, tuple[frozenset[int], Note]]] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        for row in plan(partitions, topics):
            self.create(row)

    def create(self, row: Plan) -> bool:
        """Create a topic; False if it exists."""
        if row.name in self._logs:
            return False
        self.plans[row.name] = row
        self._logs[row.name] = [Log(row.name, partition) for partition in range(row.partitions)]
        return True

    def alter(self, name: str, settings: Mapping[str, str]) -> None:
        """Set settings of a topic."""
        known = self.plans[name]
        self.plans[name] = Plan(known.name, known.partitions, {**known.configs, **settings})

    def log(self, topic: str, partition: int) -> Log:
        """Return a partition's log; unavailable while the cluster is down or for an unknown place."""
        self.require_up()
        logs = self._logs.get(topic, [])
        if not 0 <= partition < len(logs):
            raise BusUnavailable(f"there is no {topic}-{partition}")
        return logs[partition]

    def partitions_of(self, topic: str) -> int | None:
        """Return how many partitions a topic has."""
        return len(self._logs[topic]) if topic in self._logs else None

    def require_up(self) -> None:
        """Raise while the cluster is down."""
        if self.down:
            raise BusUnavailable("the cluster is down")

    # Transactions

    def fail_next_commit(self, fault: Fault, transactional_id: str | None = None) -> None:
        """Let the next commit (of this id, or of any) meet a fault. Several are met one after the other."""
        self._faults.append((transactional_id, fault))

    def take_fault(self, transactional_id: str) -> Fault | None:
        """Return and forget the first fault that is meant for this id."""
        for place, (meant_for, fault) in enumerate(self._faults):
            if meant_for in {None, transactional_id}:
                del self._faults[place]
                return fault
        return None

    def fence(self, transactional_id: str) -> int:
        """Abort what the id has open and give it a new epoch."""
        self.require_up()
        owner = self._owners.setdefault(transactional_id, _Owner())
        if owner.transaction is not None:
            self.finish(transactional_id, Outcome.ABORTED)
        owner.epoch += 1
        return owner.epoch

    def is_current(self, transactional_id: str, epoch: int) -> bool:
        """Say whether no later writer of this id has started."""
        return self._owners[transactional_id].epoch == epoch

    def begin(self, transactional_id: str) -> Transaction:
        """Open the id's transaction."""
        transaction = Transaction()
        self._owners[transactional_id].transaction = transaction
        return transaction

    def finish(self, transactional_id: str, outcome: Outcome) -> None:
        """Close the id's transaction."""
        owner = self._owners[transactional_id]
        if owner.transaction is not None:
            owner.transaction.finish(outcome)
            owner.transaction = None
        self.wake()

    def leave_unmarked(self, transactional_id: str) -> None:
        """Take the id's transaction for over, and leave it open in the log."""
        owner = self._owners[transactional_id]
        if owner.transaction is not None:
            owner.unmarked.append(owner.transaction)
            owner.transaction = None
        self.wake()

    def end_unmarked(self, transactional_id: str, places: Iterable[tuple[str, int]], outcome: Outcome) -> None:
        """End what the id has left open in these places; a marker falls into each, whether or not anything was."""
        wanted = {id(log): log for log in (self.log(topic, partition) for topic, partition in places)}
        for transaction in self._owners[transactional_id].unmarked:
            if any(id(log) in wanted for log in transaction.logs) and transaction.outcome is Outcome.OPEN:
                transaction.finish(outcome)
                for log in transaction.logs:
                    wanted.pop(id(log), None)
        for log in wanted.values():
            log.append_marker(Transaction(outcome))
        self.wake()

    # Waiting for records

    def wake(self) -> None:
        """Let every waiting reader look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def changed(self, timeout_s: float) -> None:
        """Wait until something was written, at most this long."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        await asyncio.wait([waiter], timeout=timeout_s)
        self._waiters.discard(waiter)

    # Groups

    def join(self, group: str, topic: str, instance: str, note: Note) -> None:
        """Add or replace a static member. One that comes back in time gets what it had, and nobody else moves."""
        members = self._groups.setdefault(f"{group}\0{topic}", {})
        if instance in members:
            held, _ = members[instance]
            members[instance] = (held, note)
            note(held)
            return
        members[instance] = (frozenset(), note)
        self._share(group, topic)

    def expire(self, group: str, topic: str, instance: str, note: Note) -> None:
        """End a member's session, unless the same instance has joined again meanwhile."""
        members = self._groups.get(f"{group}\0{topic}", {})
        if instance in members and members[instance][1] == note:
            del members[instance]
            self._share(group, topic)

    def _share(self, group: str, topic: str) -> None:
        members = self._groups[f"{group}\0{topic}"]
        shares = share_out(range(len(self._logs[topic])), {name: held for name, (held, _) in members.items()})
        for name, share in shares.items():
            members[name] = (frozenset(share), members[name][1])
        for held, note in list(members.values()):
            note(held)
