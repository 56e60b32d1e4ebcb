"""Dividing partitions among processes: each opens the source for itself, and sends back what it found.

What they share is what root said and the registry, sent once; trust is made anew in each. Progress is counted in shared
memory. A process that dies ends the verification with an error; nothing is left running.
"""

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from keyfold.auditing.partition import Note, Task, Verified, verify_partition
from keyfold.auditing.registry_history import RegistryHistory
from keyfold.auditing.rooted import Rooted
from keyfold.auditing.sources import Opener
from keyfold.events.trust import Trust

_LOOK_S: Final = 0.2


@dataclass(slots=True)
class _Worker:
    """What one process works with."""

    opener: Opener
    trust: Trust
    registry: RegistryHistory
    counts: Any


_worker: _Worker | None = None


class Workers:
    """Some processes, for one verification."""

    def __init__(self, opener: Opener, rooted: Rooted, registry: RegistryHistory, processes: int) -> None:
        self._opener, self._rooted, self._registry, self._processes = opener, rooted, registry, processes

    async def verify(self, tasks: Sequence[Task], note: Note) -> list[Verified]:
        """Verify partitions, in the order of the tasks."""
        if not tasks:
            return []
        spawn = multiprocessing.get_context("spawn")
        counts = spawn.Array("Q", 1 + max(task.partition for task in tasks), lock=False)
        setting = (self._opener, self._rooted, self._registry, counts)
        processes = min(self._processes, len(tasks))
        pool = ProcessPoolExecutor(processes, mp_context=spawn, initializer=_begin, initargs=setting)
        try:
            loop = asyncio.get_running_loop()
            running = [loop.run_in_executor(pool, _verify, task) for task in tasks]
            told = [0] * len(counts)
            watching = asyncio.create_task(_watch(counts, told, note))
            try:
                return list(await asyncio.gather(*running))
            finally:
                watching.cancel()
                _tell(counts, told, note)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


async def _watch(counts: Any, told: list[int], note: Note) -> None:
    while True:
        await asyncio.sleep(_LOOK_S)
        _tell(counts, told, note)


def _tell(counts: Any, told: list[int], note: Note) -> None:
    """Tell what was counted since, and note that it was told."""
    for partition, count in enumerate(counts):
        if count > told[partition]:
            note(partition, count - told[partition])
            told[partition] = count


def _begin(opener: Opener, rooted: Rooted, registry: RegistryHistory, counts: Any) -> None:
    global _worker  # noqa: PLW0603 - a process of the pool has one, made when it starts
    _worker = _Worker(opener, rooted.trust(), registry, counts)


def _verify(task: Task) -> Verified:
    if _worker is None:
        raise RuntimeError("this process was not made for verifying")
    worker = _worker

    def note(partition: int, records: int) -> None:
        worker.counts[partition] += records

    return asyncio.run(verify_partition(worker.opener(), worker.trust, task, worker.registry, note))
