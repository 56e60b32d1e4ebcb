"""Verifying one partition of the log in one pass: tree, signatures, chains, decisions, outcomes. In constant memory.

Hashing is never cut short: it is what the signed tree heads are compared with. Contents are believed record by record;
where a chain breaks, nothing behind it can be in its place, so the looking at contents ends there and is told.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from keyfold.auditing.batches import by_statement
from keyfold.auditing.findings import Finding, Findings, Illegal
from keyfold.auditing.legality import Legality
from keyfold.auditing.registry_history import RegistryHistory
from keyfold.auditing.rooted import Assumed
from keyfold.auditing.settling import Settling
from keyfold.auditing.signed import Checker, OwnChecker, Pending
from keyfold.auditing.sources import RecordSource
from keyfold.bus import Inbound
from keyfold.deciding.replaying import Leaf
from keyfold.events import facts
from keyfold.events.chains import Accepted, ChainGap
from keyfold.events.entities import Entity
from keyfold.events.errors import RecordError
from keyfold.events.evolve import evolve
from keyfold.events.statements import UntrustedRecord
from keyfold.events.times import nearest_text
from keyfold.events.tree import CompactRange
from keyfold.events.trust import Trust
from keyfold.events.view import Changes
from keyfold.log.believing import Believer, event_of, leaves_of

Note = Callable[[int, int], None]
"""Is told a partition and how many more of its records are verified."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is looked at in full: leaves from `first` and below `end`, of broker times (ms) from `since`, below `until`.

    What lies outside is hashed, and state is folded from it.
    """

    first: int = 0
    end: int | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def holds(self, leaf: int, timestamp_ms: int) -> bool:
        """Tell whether a record is looked at in full."""
        if leaf < self.first or (self.end is not None and leaf >= self.end):
            return False
        if self.since_ms is not None and timestamp_ms < self.since_ms:
            return False
        return self.until_ms is None or timestamp_ms < self.until_ms


WHOLE: Final = Window()


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be verified of a partition: signed roots by size, and the window. It can be sent to a process.

    Records at and behind `end_offset` (a Kafka offset; None: there is no end) are left alone.
    """

    partition: int
    roots: dict[int, bytes] = field(default_factory=dict)
    window: Window = WHOLE
    end_offset: int | None = None


@dataclass(slots=True)
class Verified:
    """What was found in a partition. `covered` is the size of the largest checkpoint that it agrees with.

    `position` counts authentic records. `waiting` are accepted commands without an outcome yet. `unread` is the leaf
    from which on contents were not looked at, because a chain breaks there. `differs` is (size that agreed last,
    size that did not) where the tree is another one than was signed, `signed` the root of the latter.
    """

    partition: int
    leaves: int = 0
    position: int = 0
    full: int = 0
    last_offset: int | None = None
    root: bytes = b""
    statements: int = 0
    decisions: int = 0
    signatures: int = 0
    outcomes: int = 0
    waiting: int = 0
    checkpoints: int = 0
    covered: int = 0
    unread: int | None = None
    differs: tuple[int, int] | None = None
    signed: bytes | None = None
    findings: Findings = field(default_factory=Findings)
    registry: RegistryHistory | None = None


async def verify_partition(
    source: RecordSource,
    trust: Trust,
    task: Task,
    registry: RegistryHistory | None,
    note: Note,
    *,
    checker: Checker | None = None,
) -> Verified:
    """Verify one partition; `registry` is None for partition 0, whose result has it for the others.

    Others of this process have their turn between batches.
    """
    verifying = PartitionVerifier(trust, source.partitions, task, registry, checker=checker)
    async for batch in by_statement(_until(source.records(task.partition), task.end_offset)):
        verifying.take(batch)
        note(task.partition, len(batch))
        await asyncio.sleep(0)
    return verifying.finish()


async def _until(batches: AsyncIterator[list[Inbound]], end_offset: int | None) -> AsyncIterator[list[Inbound]]:
    async for batch in batches:
        within = [record for record in batch if end_offset is None or record.offset < end_offset]
        yield within
        if len(within) < len(batch):
            return


class PartitionVerifier:
    """The state of one pass. Give it the batches in their order, then take the result."""

    def __init__(
        self,
        trust: Trust,
        partitions: int,
        task: Task,
        registry: RegistryHistory | None,
        *,
        checker: Checker | None = None,
    ) -> None:
        self._trust, self._assumed = trust, Assumed.of(trust)
        self._task = task
        self._sizes = sorted(task.roots, reverse=True)
        self._tree = CompactRange()
        self._believer = Believer(task.partition, partitions)
        self._legality = Legality(task.partition, registry)
        self._own = RegistryHistory() if registry is None else None
        self._view: dict[str, Entity] = {}
        self._told: Verified = Verified(task.partition, registry=self._own)
        self._settling = Settling(self._told.findings, checker or OwnChecker())
        self._check_size()

    def take(self, records: Sequence[Inbound]) -> None:
        """Verify the next records. What is found may be told later, in its order."""
        first = self._tree.size
        self._grow(leaves_of(records), records)
        if self._told.unread is None:
            for start, run, full in self._runs(first, records):
                self._contents(start, run, full=full)
                if self._told.unread is not None:
                    break
        if records:
            self._told.last_offset = records[-1].offset
        self._settling.close()

    def finish(self) -> Verified:
        """Return what was found, after comparing the end with checkpoints that say more."""
        told, legality = self._told, self._legality
        self._tell(max(0, self._tree.size - 1), None, legality.finish() if told.unread is None else ())
        told.leaves, told.root = self._tree.size, self._tree.root()
        told.decisions, told.signatures, told.outcomes = legality.decisions, legality.signatures, legality.outcomes
        told.waiting = len(legality.tickets)
        if self._sizes:
            most = self._sizes[0]
            end = f"offset {told.last_offset}" if told.last_offset is not None else "no record"
            found = f"the log ends at leaf {told.leaves} ({end})"
            self._settling.add(self._tree_finding("Truncated", f"{most} leaves, as a checkpoint says", found))
        self._settling.finish()
        return told

    # The tree

    def _grow(self, leaves: Sequence[bytes], records: Sequence[Inbound]) -> None:
        """Add leaf hashes, and stop at each size for which a root was signed."""
        at = 0
        while at < len(leaves):
            step = len(leaves) - at
            if self._sizes:
                step = min(step, self._sizes[-1] - self._tree.size)
            self._tree.extend(leaves[at : at + step])
            at += step
            self._told.last_offset = records[at - 1].offset
            self._check_size()

    def _check_size(self) -> None:
        size, told = self._tree.size, self._told
        if not self._sizes or self._sizes[-1] != size:
            return
        self._sizes.pop()
        told.checkpoints += 1
        expected, found = self._task.roots[size], self._tree.root()
        if found == expected:
            told.covered = size
        elif told.differs is None:  # once it is another tree, it stays one
            told.differs, told.signed = (told.covered, size), expected
            expectation = f"root {expected.hex()} of {size} leaves, as a checkpoint says"
            self._settling.add(self._tree_finding("RootDiffers", expectation, self._range(size, found)))

    def _range(self, size: int, root: bytes) -> str:
        return (
            f"root {root.hex()}: a record from leaf {self._told.covered} to {size - 1} is not the one that was signed"
        )

    def _tree_finding(self, code: str, expected: str, found: str) -> Finding:
        return Finding(self._task.partition, None, None, "", code, expected, found)

    # Contents

    def _runs(self, first: int, records: Sequence[Inbound]) -> Iterator[tuple[int, Sequence[Inbound], bool]]:
        """Cut a batch where the window begins or ends."""
        window, start = self._task.window, 0
        if window == WHOLE:
            yield first, records, True
            return
        within = [window.holds(first + index, record.timestamp_ms) for index, record in enumerate(records)]
        for index in range(1, len(records) + 1):
            if index == len(records) or within[index] != within[start]:
                yield first + start, records[start:index], within[start]
                start = index

    def _contents(self, first: int, records: Sequence[Inbound], *, full: bool) -> None:
        trust = self._trust if full else self._assumed
        accepted = self._believer.accept_all(trust, records)
        for index, (record, result) in enumerate(zip(records, accepted, strict=True)):
            leaf = first + index
            self._told.full += full
            if isinstance(result, RecordError):
                self._settling.add(self._finding(leaf, record, result))
                if isinstance(result, ChainGap):
                    self._told.unread = leaf
                    return
                continue
            self._believed(leaf, record, result, full=full)

    def _believed(self, leaf: int, record: Inbound, accepted: Accepted, *, full: bool) -> None:
        position = self._told.position
        self._told.position += 1
        self._told.statements += full and accepted.place.leaf == 0
        if self._own is not None:
            self._own.leaves = position + 1
        try:
            event = event_of(accepted)
        except UntrustedRecord as error:
            self._settling.add(self._finding(leaf, record, error))
            return
        known = Leaf(self._task.partition, position, accepted.role, accepted.place.head.n, event, accepted.entry.value)
        self._tell(leaf, record, self._legality.take(known, full=full))
        if self._own is not None:
            self._own.note(position + 1, self._folded(event))

    def _tell(self, leaf: int, record: Inbound | None, found: Iterable[Illegal | Pending]) -> None:
        for each in found:
            if isinstance(each, Pending):
                self._settling.wait(each, partial(self._finding, leaf, record))
            else:
                self._settling.add(self._finding(leaf, record, each))

    def _folded(self, event: facts.Event) -> Changes:
        """Fold the registry in the order of the log, as all who follow it do: what does not follow is passed over."""
        try:
            changes = evolve(self._view, event)
        except KeyError:
            return {}
        for name, entity in changes.items():
            if entity is None:
                self._view.pop(name, None)
            else:
                self._view[name] = entity
        return changes

    def _finding(self, leaf: int, record: Inbound | None, error: RecordError) -> Finding:
        time = "" if record is None else nearest_text(record.timestamp_ms)
        offset = None if record is None else record.offset
        place = (self._task.partition, leaf, offset, time)
        if isinstance(error, Illegal):
            return Finding(*place, error.rule, error.expected, error.found)
        return Finding(*place, error.code, _EXPECTED.get(error.code, "an authentic record"), str(error))


_EXPECTED: Final = {
    "UntrustedRecord": "an authentic record",
    "ChainRepeat": "each record once",
    "ChainGap": "the next record of its author's chain",
}
