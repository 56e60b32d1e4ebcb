"""Measure analytics: how fast workers with all detectors read a log, and so how soon an outage is made up for.

    scripts/bench analytics [--rate R] [--minutes M] [--workers N]... [--quick] [--json FILE]

A log of M minutes at R event records a second (50 principals, 200 keys) lies on a real broker when the workers start,
as after an outage of M minutes. Measured is the time until all of it is looked at and told. Each worker is a process.
On a machine that is busy with other things, or has fewer cores than broker and workers need, the CPU time of a worker
says what one core does: `records/s of CPU` is the number to compare with the aim.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvloop
from tests.support.analytics_worker import worker
from tests.support.usage_log import DEPLOYMENT, UsageLog, Use

from keyfold.bus import BusSettings, KafkaBus
from keyfold.collecting import collect_rarely
from keyfold.embedded import Stack
from keyfold.events import topics

AIM: Final = 3_000
PARTITIONS: Final = 8
ROOT: Final = Path(__file__).resolve().parents[2]
_VERBS: Final = ("Decrypt", "Decrypt", "Encrypt", "GenerateDataKey", "Sign")


def uses(start_ms: int, minutes: float, rate: int) -> list[Use]:
    """Return uses that make `rate` records a second: each is a decision and its outcome."""
    source = random.Random("bench/analytics")  # noqa: S311 - a load
    count = int(minutes * 60 * rate / 2)
    return [
        Use(start_ms + int(n * 2_000 / rate), f"svc-{source.randrange(50)}", source.randrange(200) + 1,
            source.choice(_VERBS), context=f"tenant-{n % 20}")
        for n in range(count)
    ]  # fmt: skip


async def read(bootstrap_servers: str, directory: str, instance: str, until_ms: int) -> None:
    """Be one worker: read until all is looked at, then print what that took, and stay until told to go."""
    begun = time.process_time()
    async with worker(
        bootstrap_servers, Path(directory), partitions=PARTITIONS, instance=instance,
        heartbeat_s=2.0, take_s=1.0, session_s=20.0,
    ) as running:  # fmt: skip
        while running.stages.detecting.low_ms() < until_ms:
            if running.task.done():
                running.task.result()
            await asyncio.sleep(0.05)
        print(json.dumps({"cpu_s": time.process_time() - begun, "told": len(running.told.findings())}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def measure(workers: int, minutes: float, rate: int) -> dict[str, Any]:
    """Measure one case, on a broker of its own."""
    with tempfile.TemporaryDirectory() as directory:
        stack = Stack(Path(directory) / "data", development=True)
        try:
            config = await asyncio.to_thread(stack.start_infrastructure, ["kafka"])
            records, until_ms = await _prepare(config.bootstrap_servers, minutes, rate)
            return await _run(config.bootstrap_servers, directory, workers, records, until_ms)
        finally:
            await asyncio.to_thread(stack.reset)


async def _prepare(bootstrap_servers: str, minutes: float, rate: int) -> tuple[int, int]:
    bus = KafkaBus(BusSettings(bootstrap_servers=bootstrap_servers))
    admin = bus.admin()
    await admin.start()
    await admin.create_topics(PARTITIONS, replication_factor=1, min_insync_replicas=1)
    now_ms = time.time_ns() // 1_000_000
    log = UsageLog(bus, PARTITIONS, now_ms)
    await log.begin()
    end_ms = now_ms - 60_000
    await log.write(uses(end_ms - int(minutes * 60_000), minutes, rate), batch=200, statement=20)
    records = sum((await admin.end_offsets(topics.EVENTS)).values())
    await admin.stop()
    return records, end_ms


async def _run(bootstrap_servers: str, directory: str, workers: int, records: int, until_ms: int) -> dict[str, Any]:
    started = time.monotonic()
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import sys; from benchmarks.analytics import child; child(sys.argv[1:])",
            bootstrap_servers, directory, str(number), str(until_ms),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"},
        )
        for number in range(workers)
    ]  # fmt: skip
    try:
        lines = await asyncio.gather(*(each.stdout.readline() for each in running if each.stdout is not None))
        taken = time.monotonic() - started
        told = [json.loads(line) for line in lines]
    finally:
        for each in running:
            each.kill()
            await each.wait()
    cpu = sum(each["cpu_s"] for each in told)
    return {
        "workers": workers, "records": records, "seconds": round(taken, 1), "records_s": round(records / taken),
        "cpu_s": [round(each["cpu_s"], 1) for each in told], "records_s_of_cpu": round(records / cpu),
    }  # fmt: skip


def child(arguments: Sequence[str]) -> None:
    """Run one worker, as the service is run."""
    bootstrap_servers, directory, instance, until_ms = arguments
    collect_rarely()
    uvloop.run(read(bootstrap_servers, directory, instance, int(until_ms)))


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 where a core does less than the aim."""
    parser = argparse.ArgumentParser(prog="scripts/bench analytics")
    parser.add_argument("--rate", type=int, default=300, help="event records a second of event time")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--quick", action="store_true", help="two minutes of log")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    minutes = 2.0 if chosen.quick else chosen.minutes
    found = [asyncio.run(measure(number, minutes, chosen.rate)) for number in chosen.workers or (1, 2)]
    for row in found:
        made = row["seconds"] / (minutes * 60)
        print(
            f"{row['workers']} worker(s): {row['records']} records in {row['seconds']} s: {row['records_s']}/s; "
            f"CPU {row['cpu_s']} s: {row['records_s_of_cpu']} records/s of CPU (aim {AIM}); "
            f"an outage of {minutes:g} min at {chosen.rate}/s is made up for in {made:.0%} of its length"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps({"deployment": DEPLOYMENT, "aim": AIM, "cases": found}, indent=1) + "\n")
    return int(any(row["records_s_of_cpu"] < AIM for row in found))
