"""Two processes of policy and worker share the partitions: when one is killed, the other takes them over."""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.kill_load import Load
from tests.support.log_checker import explain
from tests.support.log_snapshot import TicketRecorder
from tests.support.second_instance import SecondInstance
from tests.support.whole_system import WholeSystem, whole_system


@pytest.mark.stack
@pytest.mark.timeout(400)
async def test_partitions_of_a_killed_process_are_taken_over_and_nothing_is_lost(tmp_path: Path) -> None:
    """Partitions move to a second process, back from it when it dies, and to it when the first dies."""
    seed = int(os.environ.get("KEYFOLD_SEED") or secrets.randbelow(1_000_000))
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    async with whole_system(tmp_path / "data") as system:
        seconds = {name: SecondInstance(system, name) for name in ("policy", "hsm")}
        load = Load(system, seed, tmp_path)
        try:
            async with TicketRecorder(system.bus(), system.config.partitions) as recorder:
                await load.start()
                for name, second in seconds.items():
                    await _move(system, load, name, second)
                await load.finish()
                await load.close()
                await system.quiet()
                story = await system.check(load.tally.acknowledged, recorder)
        finally:
            await load.close()
            for second in seconds.values():
                second.kill()
    assert not load.tally.wrong, f"seed {seed}: {load.tally.wrong[:20]}"
    assert not story.findings, f"seed {seed}: {explain(story.findings)}"


async def _move(system: WholeSystem, load: Load, name: str, second: SecondInstance) -> None:
    """Add the second process, kill it, add it again, kill the first, and start that again."""
    await _after(load, f"{name} 1 joins", second.start)
    assert second.owned(), f"{name} 1 was given no partition"
    await _after(load, f"{name} 1 killed", lambda: asyncio.to_thread(second.kill))
    await _after(load, f"{name} 1 joins again", second.start)
    await _after(load, f"{name} 0 killed", lambda: system.kill(name))
    assert second.owned() == set(range(system.config.partitions)), f"{name} 1 did not take over everything"
    await _after(load, f"{name} 0 joins again", lambda: system.start(name))


async def _after(load: Load, what: str, act: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await act()
    done = time.monotonic()
    print(f"{what}: {done - began:.1f} s, served everywhere {await load.recovered(done):.1f} s later")  # noqa: T201
