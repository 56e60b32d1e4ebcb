"""kill -9 of the notary and of the broker, under load: all that was published is one history, and nothing is missing.

`KEYFOLD_SEED` repeats the choices of a run, `KEYFOLD_FAULTS` multiplies the faults (for a soak).
"""

import asyncio
import os
import random
import secrets
from contextlib import suppress
from pathlib import Path

import pytest
from tests.integration.conftest import eventually
from tests.support.notary_checker import Published, published
from tests.support.whole_system import WholeSystem, whole_system

from keyfold.client import Keyfold
from keyfold.events.errors import KeyfoldError
from keyfold.log import TrustKeeper

TARGETS = ("notary", "notary", "notary", "kafka", "notary kafka")


@pytest.mark.stack
@pytest.mark.token
@pytest.mark.timeout(600)
async def test_killing_the_notary_at_any_moment(tmp_path: Path) -> None:
    """Its token, its topics and the log agree again each time; checkpoints never contradict each other."""
    seed = int(os.environ.get("KEYFOLD_SEED") or secrets.randbelow(1_000_000))
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    source = random.Random(f"{seed}/notary")  # noqa: S311 - choices of a test
    async with whole_system(tmp_path / "data") as system:
        async with system.client("admin-1") as client:
            load = asyncio.create_task(_write(client))
            for target in TARGETS * int(os.environ.get("KEYFOLD_FAULTS") or 1):
                await asyncio.sleep(source.uniform(0.3, 2.0))
                names = target.split()
                for name in names:
                    await system.kill(name)
                    await asyncio.sleep(source.uniform(0, 0.2))
                for name in reversed(names):  # the broker must be there first
                    await system.start(name)
            load.cancel()
            await asyncio.wait({load})
        await eventually(lambda: _is_signed(system), 30)
        found = await _look(system)
        for each in found:
            each.check()
        assert sum(each.size for each in found) > 20
        log = (system.config.logs_directory / "notary.log").read_text()
        assert "partition-stopped" not in log
        assert "notary-failed" not in log
        assert "record-not-authentic" not in log


async def _write(client: Keyfold) -> None:
    """Make events until cancelled: each refusal of an administrator's is one."""
    while True:
        with suppress(KeyfoldError, TimeoutError):
            async with asyncio.timeout(5):
                await client.generate_random(8)
        await asyncio.sleep(0.005)


async def _look(system: WholeSystem) -> list[Published]:
    keeper = TrustKeeper(system.bus(), system.deployment, system.config.partitions)
    try:
        return await published(system.bus(), await keeper.catch_up(), system.config.partitions)
    finally:
        await keeper.stop()


async def _is_signed(system: WholeSystem) -> bool:
    try:
        return all(each.size == len(each.events) for each in await _look(system))
    except KeyfoldError:
        return False
