"""kill -9 of every process under load: exactly once, nothing lost, and the projections equal the log afterwards.

`KEYFOLD_SEED` repeats the choices of a run, `KEYFOLD_FAULTS` multiplies the faults (for a soak).
"""

import asyncio
import os
import random
import secrets
import time
from pathlib import Path

import pytest
from tests.support.kill_load import Load
from tests.support.log_checker import explain
from tests.support.log_snapshot import TicketRecorder
from tests.support.whole_system import WholeSystem, whole_system

TARGETS = ("policy", "hsm", "projector", "kafka", "policy", "hsm", "projector", "kafka", "policy hsm", "hsm kafka")


@pytest.mark.stack
@pytest.mark.timeout(600)
async def test_killing_any_process_at_any_moment_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """After kill -9 of policy, worker, projector and broker under load, every rule of the checker holds."""
    seed = int(os.environ.get("KEYFOLD_SEED") or secrets.randbelow(1_000_000))
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    async with whole_system(tmp_path / "data") as system:
        async with TicketRecorder(system.bus(), system.config.partitions) as recorder:
            load = Load(system, seed, tmp_path)
            try:
                await load.start()
                await _break_everything(system, load, seed)
                await load.finish()
            finally:
                await load.close()
            await system.quiet()
            story = await system.check(load.tally.acknowledged, recorder)
        tally = load.tally
        print(f"calls {len(tally.served)}, errors {dict(tally.errors)}")  # noqa: T201
        counts = {name: sum(len(found) for found in getattr(story, name).values()) for name in ("events", "tickets")}
        print(f"log {counts}, aborted {sum(len(log.aborted) for log in story.logs.values())}")  # noqa: T201
        assert not tally.wrong, f"seed {seed}: {tally.wrong[:20]}"
        assert not story.findings, f"seed {seed}: {explain(story.findings)}"
        assert len(tally.served) > 100
        assert not set(tally.errors) - _EXPECTED, tally.errors


_EXPECTED = {
    "DeadlineExceeded", "Unavailable", "BusUnavailable",
    "KeyDisabled", "KeyPendingDeletion", "KeyVersionUnusable", "InvalidState", "NotFound", "AlreadyExists",
    "AccessDenied",
}  # fmt: skip


async def _break_everything(system: WholeSystem, load: Load, seed: int) -> None:
    source = random.Random(f"{seed}/faults")  # noqa: S311 - choices of a test
    targets = [target.split() for target in TARGETS] * int(os.environ.get("KEYFOLD_FAULTS") or 1)
    source.shuffle(targets)
    for names in targets:
        await asyncio.sleep(source.uniform(0.5, 2.5))
        broken = time.monotonic()
        for name in names:
            await system.kill(name)
            await asyncio.sleep(source.uniform(0, 0.2))
        await asyncio.sleep(source.uniform(0, 0.5))
        for name in reversed(names):  # the broker is killed last and must be there first
            await system.start(name)
        serving = time.monotonic()
        print(f"{'+'.join(names)}: serving after {serving - broken:.1f} s", end="", flush=True)  # noqa: T201
        print(f", recovered after {await load.recovered(broken):.1f} s")  # noqa: T201
