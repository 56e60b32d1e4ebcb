"""kill -9 of analytics at any moment, two workers among them: each tick is found once and whole, and told under one id.

The workers are processes of their own (`tests.support.analytics_process`), with a detector that finds every tick; the
log is a played one, so it is known what is to be found. `KEYFOLD_SEED` repeats the choices of a run, `KEYFOLD_FAULTS`
multiplies the kills.
"""

import asyncio
import os
import random
import secrets
import sys
import time
from asyncio.subprocess import Process
from collections import Counter
from pathlib import Path

import pytest
from tests.integration.test_analytics import PARTITIONS, Scene, published_findings, steady, ticks_of

from keyfold.embedded import Stack

KILLS = 8


@pytest.mark.stack
@pytest.mark.timeout(600)
async def test_killing_analytics_at_any_moment(tmp_path: Path) -> None:
    """What was lost with a process is done again by the next; nothing counts twice, nothing is missing."""
    seed = int(os.environ.get("KEYFOLD_SEED") or secrets.randbelow(1_000_000))
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    source = random.Random(f"{seed}/analytics")  # noqa: S311 - choices of a test
    stack = Stack(tmp_path / "data", development=True)
    workers: dict[str, Process] = {}
    try:
        config = await asyncio.to_thread(stack.start_infrastructure, ["kafka"])
        scene = Scene(config.bootstrap_servers, tmp_path)
        await scene.begin()
        uses = steady(scene.now_ms - 100 * 60_000, 3_000)
        await scene.log.write(uses)
        for name in ("a", "b"):
            workers[name] = await begin(scene, name)
        for _ in range(KILLS * int(os.environ.get("KEYFOLD_FAULTS") or 1)):
            await asyncio.sleep(source.uniform(0.5, 6.0))
            name = source.choice(["a", "b"])
            workers[name].kill()
            await workers[name].wait()
            workers[name] = await begin(scene, name)
        wanted = ticks_of(uses)
        deadline = time.monotonic() + 240
        found = Counter[tuple[str, float]]()
        while found != wanted and time.monotonic() < deadline:
            await asyncio.sleep(2)
            assert all(worker.returncode is None for worker in workers.values())
            found = Counter((alert.subject, alert.data.observed) for alert in await published_findings(scene))
        assert (found - wanted, wanted - found) == (Counter(), Counter())
    finally:
        for worker in workers.values():
            if worker.returncode is None:
                worker.kill()
            await worker.wait()
        await asyncio.to_thread(stack.reset)


async def begin(scene: Scene, name: str) -> Process:
    """Start a worker in a process of its own."""
    program = ("-m", "tests.support.analytics_process", scene.bootstrap_servers, str(scene.directory), name)
    with (scene.directory / f"{name}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, *program, str(PARTITIONS), stdout=log, stderr=log, cwd=Path(__file__).parents[2]
        )
