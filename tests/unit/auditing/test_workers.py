"""Partitions are divided among processes: the same result as in one, progress is counted, and errors come through."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.audited_log import AuditedLog, KeptOpener, honest
from tests.support.people import DEPLOYMENT

from keyfold.auditing.reports import as_data, totals
from keyfold.auditing.verifying import Wanted, verify
from keyfold.bus import Inbound

LOG = (14, 90)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _tests_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes get the path of this one; what opens the log must be found there."""
    monkeypatch.syspath_prepend(str(ROOT))


def test_several_processes_find_what_one_finds() -> None:
    """Roots, counts and findings; each record is counted once for whoever watches."""
    log = honest(*LOG).copy()
    log.kept[3] = [*log.kept[3][:20], *log.kept[3][21:]]
    counted: Counter[int] = Counter()

    def note(partition: int, records: int) -> None:
        counted[partition] += records

    alone = asyncio.run(verify(log, Wanted(DEPLOYMENT)))
    together = asyncio.run(verify(log, Wanted(DEPLOYMENT, processes=2), note, KeptOpener(log.kept, log.notes)))
    assert as_data(together) == as_data(alone)
    assert totals(together)["signatures"] > 100
    assert dict(counted) == {partition: len(kept) for partition, kept in log.kept.items() if kept}


class Patient(AuditedLog):
    """A log that this process does not get to read in time: others have to."""

    async def records(self, partition: int, start: int | None = None) -> AsyncIterator[list[Inbound]]:
        if partition:
            await asyncio.sleep(100)
        async for batch in super().records(partition, start):
            yield batch


@dataclass(frozen=True)
class Dying:
    """Opens nothing: the process that tries to ends."""

    def __call__(self) -> AuditedLog:
        os._exit(3)


def test_an_error_in_a_process_ends_the_verification() -> None:
    """Nothing is reported as holding that was not read."""
    kept = honest(*LOG)
    opener = KeptOpener(kept.kept, kept.notes, failing=2)
    with pytest.raises(KeyError):
        asyncio.run(verify(Patient(kept.kept, kept.notes), Wanted(DEPLOYMENT, processes=2), opener=opener))


def test_a_process_that_dies_ends_the_verification() -> None:
    """What it had to verify is not taken for verified."""
    kept = honest(*LOG)
    with pytest.raises(BrokenProcessPool):
        asyncio.run(verify(Patient(kept.kept, kept.notes), Wanted(DEPLOYMENT, processes=2), opener=Dying()))
