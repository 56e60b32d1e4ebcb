"""The notary on the real stack: what it signs can be verified from the deployment's fingerprint alone, within a second.

Nothing here knows the notary's keys: they follow from the pinned fingerprint and the log.
"""

import asyncio
import json
import subprocess
import sys
import time

import pytest
from tests.integration.conftest import eventually
from tests.support.notary_checker import Published, published
from tests.support.whole_system import WholeSystem

from keyfold.client import Keyfold
from keyfold.events.errors import AccessDenied
from keyfold.events.trust import Trust
from keyfold.log import TrustKeeper

pytestmark = [pytest.mark.stack, pytest.mark.token]


async def trust_of(system: WholeSystem) -> Trust:
    """What root says, from the pinned fingerprint."""
    keeper = TrustKeeper(system.bus(), system.deployment, system.config.partitions)
    try:
        return await keeper.catch_up()
    finally:
        await keeper.stop()


async def look(system: WholeSystem) -> list[Published]:
    """What the notary has published of each partition."""
    return await published(system.bus(), await trust_of(system), system.config.partitions)


async def is_signed(system: WholeSystem) -> bool:
    """Whether every record has its checkpoint."""
    return all(each.size == len(each.events) for each in await look(system))


async def decide(client: Keyfold, count: int) -> None:
    """Make events: an administrator may not use keys, and each refusal is one."""
    for _ in range(count):
        with pytest.raises(AccessDenied):
            await client.generate_random(8)


async def test_checkpoints_verify_from_the_fingerprint_and_come_within_a_second(system: WholeSystem) -> None:
    """Both signatures, consistency, tiles; and no record waits longer than a second, by the broker's clock."""
    await eventually(lambda: is_signed(system))
    before = [each.size for each in await look(system)]
    async with system.client("admin-1") as client:
        await decide(client, 12)
    await eventually(lambda: is_signed(system), 10)
    found = await look(system)
    waits = []
    for each, size in zip(found, before, strict=True):
        each.check()
        at = size
        for record, checkpoint in each.checkpoints:
            if checkpoint.size > size:
                waits += [record.timestamp_ms - event.timestamp_ms for event in each.events[at : checkpoint.size]]
                at = checkpoint.size
    assert len(waits) >= 12
    # The median, and not each one: other tests share the machine.
    assert sorted(waits)[len(waits) // 2] <= 1000, sorted(waits)
    assert max(waits) <= 5000, sorted(waits)


async def test_status_and_doctor_show_it(system: WholeSystem) -> None:
    """Its lag, and when it signed last."""
    await eventually(lambda: is_signed(system))

    def line(*words: str) -> dict[str, object]:
        program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(system.config.data_directory), "--json"]
        done = subprocess.run([*program, *words], capture_output=True, text=True, timeout=120, check=False)
        told: dict[str, object] = json.loads(done.stdout)
        return told

    status = await asyncio.to_thread(line, "status")
    notary = status["notary"]
    assert isinstance(notary, dict)
    assert (notary["lag"], notary["stopped"], notary["untrusted"], notary["error"]) == (0, {}, 0, None)
    assert notary["signed"] == sum(each.size for each in await look(system))
    assert notary["signed_at"].startswith("20")
    checks = (await asyncio.to_thread(line, "doctor"))["checks"]
    assert isinstance(checks, list)
    assert [check["verdict"] for check in checks if check["name"] == "notary"] == ["ok", "ok"]


async def test_it_stops_and_comes_back(system: WholeSystem) -> None:
    """Told to stop it ends at once; the next one goes on, and has the same keys."""
    started = time.monotonic()
    await asyncio.to_thread(system.stack.stop_part, "notary")
    assert time.monotonic() - started < 10
    async with system.client("admin-1") as client:
        await decide(client, 3)
    assert not await is_signed(system)
    await system.start("notary")
    await eventually(lambda: is_signed(system), 15)
    for each in await look(system):
        each.check()
    assert len((await trust_of(system)).notary_keys()) == 1


async def test_without_its_pin_it_says_so(system: WholeSystem) -> None:
    """One line, the file's name, exit code 3."""
    await asyncio.to_thread(system.stack.stop_part, "notary")
    pin = system.config.pins_directory / "notary"
    aside = await asyncio.to_thread(pin.rename, pin.with_name("aside"))
    program = [sys.executable, "-m", "keyfold.notary", "--config", str(system.config.path)]
    try:
        done = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, timeout=60, check=False)
    finally:
        await asyncio.to_thread(aside.rename, pin)
        await system.start("notary")
    assert (done.returncode, "PinUnusable" in done.stderr, "Traceback" in done.stderr) == (3, True, False)
