"""Dividing partitions among processes: each opens the source for itself, and sends back what it found.

This process is one of them, so that work begins while the others start. What they share is what root said and the
registry, pickled once; trust is made anew in each. Who has no partition left verifies signatures for those that have
(`sharing`). Progress is counted in shared memory. A process that dies ends the verification with an error; nothing is
left running.
"""

import asyncio
import multiprocessing
import pickle
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from keyfold.auditing.partition import Note, Task, Verified, verify_partition
from keyfold.auditing.registry_history import RegistryHistory
from keyfold.auditing.rooted import Rooted
from keyfold.auditing.sharing import SharedChecker, Sharing, help_others
from keyfold.auditing.sources import Opener, RecordSource
from keyfold.collecting import collect_rarely
from keyfold.events.trust import Trust

_LOOK_S: Final = 0.2
_REGISTRY_PHASE, _PARTITIONS_PHASE, _OVER = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Known:
    """What all partitions but 0 are verified with. `pickled` is what the other processes make the same from."""

    trust: Trust
    registry: RegistryHistory
    pickled: bytes

    @classmethod
    def of(cls, rooted: Rooted, registry: RegistryHistory, trust: Trust) -> "Known":
        """Pickle it once."""
        return cls(trust, registry, pickle.dumps((rooted, registry)))

    @classmethod
    def made(cls, pickled: bytes) -> "Known":
        """Make it from what another process of this program pickled."""
        rooted, registry = pickle.loads(pickled)  # noqa: S301 - it comes from the process that started this one
        return cls(rooted.trust(), registry, pickled)


@dataclass(slots=True)
class _Worker:
    """What one process works with."""

    opener: Opener
    counts: Any
    sharing: Sharing
    checker: SharedChecker
    known: Known | None = None


_worker: _Worker | None = None


class Workers:
    """Some processes, for one verification. Made by `workers`."""

    def __init__(self, pool: ProcessPoolExecutor, sharing: Sharing, counts: Any, others: int) -> None:
        self._pool, self._sharing, self._counts, self._others = pool, sharing, counts, others
        self._told = [0] * len(counts)
        self._walks = 0
        self.checker = SharedChecker(sharing, sharing.join())
        for _ in range(others):
            pool.submit(_help, _REGISTRY_PHASE)

    async def verify(self, source: RecordSource, known: Known, tasks: Sequence[Task], note: Note) -> list[Verified]:
        """Verify partitions; return what was found in the order of the tasks. The largest are begun first."""
        self._sharing.phase.value = _PARTITIONS_PHASE
        waiting = deque(sorted(tasks, key=lambda task: -(task.end_offset or 0)))
        found: dict[int, Verified] = {}
        self._walks = len(waiting)
        lanes = [asyncio.create_task(self._lane(known, waiting, found)) for _ in range(self._others)]
        lanes.append(asyncio.create_task(self._own_lane(source, known, waiting, found, note)))
        watching = asyncio.create_task(self._watch(note))
        try:
            await asyncio.gather(*lanes)
        finally:
            for each in (*lanes, watching):
                each.cancel()
            self._tell(note)
        return [found[task.partition] for task in tasks]

    async def _lane(self, known: Known, waiting: deque[Task], found: dict[int, Verified]) -> None:
        loop = asyncio.get_running_loop()
        while waiting:
            task = waiting.popleft()
            found[task.partition] = await loop.run_in_executor(self._pool, _verify, task, known.pickled)
            self._walked()
        if self._walks:
            await loop.run_in_executor(self._pool, _help, _PARTITIONS_PHASE)

    async def _own_lane(
        self, source: RecordSource, known: Known, waiting: deque[Task], found: dict[int, Verified], note: Note
    ) -> None:
        while waiting:
            task = waiting.popleft()
            found[task.partition] = await verify_partition(
                source, known.trust, task, known.registry, note, checker=self.checker
            )
            self._walked()
        if self._walks:
            await asyncio.to_thread(help_others, self._sharing, _PARTITIONS_PHASE)

    def _walked(self) -> None:
        self._walks -= 1
        if not self._walks:
            self._sharing.phase.value = _OVER

    async def _watch(self, note: Note) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self._tell(note)

    def _tell(self, note: Note) -> None:
        """Tell what others counted since, and note that it was told."""
        for partition, count in enumerate(self._counts):
            if count > self._told[partition]:
                note(partition, count - self._told[partition])
                self._told[partition] = count


@asynccontextmanager
async def workers(opener: Opener, partitions: int, processes: int) -> AsyncIterator[Workers]:
    """Start processes beside this one; until there is more for them, they verify signatures for it."""
    spawn = multiprocessing.get_context("spawn")
    others = max(1, min(processes, partitions - 1) - 1)
    sharing = Sharing(spawn, others + 1)
    counts = spawn.Array("Q", partitions, lock=False)
    pool = ProcessPoolExecutor(others, mp_context=spawn, initializer=_begin, initargs=(opener, counts, sharing))
    try:
        yield Workers(pool, sharing, counts, others)
    finally:
        sharing.phase.value = _OVER
        pool.shutdown(wait=False, cancel_futures=True)


def _begin(opener: Opener, counts: Any, sharing: Sharing) -> None:
    global _worker  # noqa: PLW0603 - a process of the pool has one, made when it starts
    _worker = _Worker(opener, counts, sharing, SharedChecker(sharing, sharing.join()))
    collect_rarely()


def _this() -> _Worker:
    if _worker is None:
        raise RuntimeError("this process was not made for verifying")
    return _worker


def _help(phase: int) -> None:
    help_others(_this().sharing, phase)


def _verify(task: Task, pickled: bytes) -> Verified:
    worker = _this()
    if worker.known is None or worker.known.pickled != pickled:
        worker.known = Known.made(pickled)
    known = worker.known

    def note(partition: int, records: int) -> None:
        worker.counts[partition] += records

    return asyncio.run(
        verify_partition(worker.opener(), known.trust, task, known.registry, note, checker=worker.checker)
    )
