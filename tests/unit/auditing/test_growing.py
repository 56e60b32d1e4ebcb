"""A log that grows while it is verified, as every log in use does: what is written meanwhile is left for the next time.

The log is an honest one, given out stage by stage: each call to the source lets it grow.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any

from tests.support.audited_log import AuditedLog, Honest
from tests.support.notary_log import NotaryKeys
from tests.support.people import DEPLOYMENT, PARTITIONS, certificate
from tests.unit.auditing.test_database import projected

from keyfold.auditing.database import compare
from keyfold.auditing.rooted import read_root
from keyfold.auditing.verifying import Wanted, verify
from keyfold.bus import Inbound
from keyfold.projections.memory import MemorySnapshots

STAGES = 24


@cache
def lived() -> tuple[AuditedLog, tuple[dict[int, int], ...]]:
    """A whole log, and how long each partition was at each of its stages."""
    made = Honest(random.Random(14))  # noqa: S311 - choices of a test
    made.live(40)
    stages = []
    for _ in range(STAGES):
        made.live(4)
        made._write("root", [certificate("policy")])
        stages.append({partition: len(leaves) for partition, leaves in made.log.items()})
    return AuditedLog.of(made, NotaryKeys()), tuple(stages)


@dataclass
class Growing(AuditedLog):
    """A log whose readers see one stage more with each call. `calls` tells what was asked at which stage."""

    stages: tuple[dict[int, int], ...] = ()
    stage: Iterator[int] = field(default_factory=count)
    calls: list[tuple[str, int]] = field(default_factory=list)

    def grown(self, what: str) -> dict[int, int]:
        self.calls.append((what, min(next(self.stage), len(self.stages) - 1)))
        return self.stages[self.calls[-1][1]]

    async def records(self, partition: int, start: int | None = None) -> AsyncIterator[list[Inbound]]:
        size = self.grown(f"records {partition}")[partition]
        yield [record for record in self.kept[partition][:size] if record.offset >= (start or 0)]

    async def ends(self) -> dict[int, int]:
        """Brokers are not asked at one instant: partition 0 before the others."""
        before, after = self.grown("ends"), self.grown("ends")
        return {**after, 0: before[0]}


def growing() -> Growing:
    log, stages = lived()
    return Growing(log.kept, keys=log.keys, stages=stages)


def test_an_honest_log_that_grows_holds() -> None:
    """Each partition is verified up to where it ended at the beginning; decisions made since are not looked at."""
    log = growing()
    report = asyncio.run(verify(log, Wanted(DEPLOYMENT)))
    assert [str(each) for each in report.findings] == []
    asked = [stage for what, stage in log.calls if what == "ends"]
    found = [part.leaves for part in report.partitions]
    assert found == [log.stages[asked[2] if p == 0 else asked[1]][p] for p in range(PARTITIONS)]
    assert found[1] < len(log.kept[1])


def test_projections_that_know_what_root_said_later_are_compared() -> None:
    """The snapshot is opened long after the log was verified: what root said until then counts in it."""
    whole, _ = lived()
    early_log = AuditedLog({0: whole.kept[0][:1]})

    async def scene() -> Any:
        schemas = await projected(whole)
        early = (await read_root(early_log, DEPLOYMENT)).trust()
        return (await compare(whole, early, MemorySnapshots(schemas))).findings.kept

    assert asyncio.run(scene()) == []
