"""Measure what the notary costs: the pipeline's throughput with it and without it, in turns on the same stack.

    scripts/bench notary [--data DIR] [--quick] [--rounds N] [--seconds S] [--json FILE]

Two loads, both at SOFTWARE keys, since there the rest is fastest: batches (few records, much work in each) and single
calls that are not coalesced (many records, little work in each: a record is what the notary's work is counted in). A
round measures each load with the notary, then without; while it is stopped nothing is signed, and when it is back it
first catches up, which is waited for.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.pipeline import CONTEXT, ITEM, PRINCIPAL, ROOT, Bench, drive, running
from keyfold.bus import BusSettings, KafkaBus
from keyfold.cli import health
from keyfold.client import Keyfold
from keyfold.config import Config
from keyfold.embedded import Stack

AIM: Final = 0.10
LOADS: Final = {"16 x 100 items": (16, 100), "64 single calls": (64, 1)}
_CATCH_UP_S: Final = 120.0


async def _throughput(config: Config, keys: list[str], load: tuple[int, int], seconds: float) -> float:
    callers, size = load
    identity = config.identities_directory / f"{PRINCIPAL}.json"
    async with Keyfold.connect(bootstrap_servers=config.bootstrap_servers, identity=identity, coalesce=False) as kms:

        async def call(number: int) -> None:
            await kms.encrypt_batch(keys[number % len(keys)], [ITEM] * size, context=CONTEXT)

        await drive(callers, 1.0, call)
        latencies, taken, _ = await drive(callers, seconds, call)
    return len(latencies) * size / taken


async def _caught_up(config: Config) -> None:
    """Wait until the notary has signed everything."""
    bus = KafkaBus(BusSettings(bootstrap_servers=config.bootstrap_servers, client_id="bench"))
    deadline = time.monotonic() + _CATCH_UP_S
    while (told := await health.notary(bus)).get("lag") != 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the notary does not catch up: {told}")
        await asyncio.sleep(0.2)


async def _measure(config: Config, stack: Stack, arguments: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    bench = Bench(config, arguments)
    keys = (await bench.prepare())["SOFTWARE"]
    await bench.warm_up(keys)
    found: dict[str, dict[str, list[float]]] = {name: {"with": [], "without": []} for name in LOADS}
    try:
        for number in range(arguments.rounds):
            for side in ("with", "without"):
                await asyncio.to_thread(stack.start if side == "with" else stack.stop_part, "notary")
                if side == "with":
                    await _caught_up(config)
                for name, load in LOADS.items():
                    rate = await _throughput(config, keys, load, arguments.seconds)
                    found[name][side].append(rate)
                    print(f"round {number + 1}, {side:7} notary: {name:16} {rate:>10,.0f} op/s", flush=True)
    finally:
        await asyncio.to_thread(stack.start, "notary")
    return found


def main(arguments_given: Sequence[str]) -> int:
    """Measure, print, write JSON. Returns 1 if the aim was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench notary", description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "bench")
    parser.add_argument("--quick", action="store_true", help="a short warm-up")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds of each measurement")
    parser.add_argument("--json", type=Path, help="write all figures as a JSON object to this file")
    arguments = parser.parse_args(arguments_given)
    arguments.case = ""
    with running(arguments.data) as config:
        found = uvloop.run(_measure(config, Stack(arguments.data), arguments))
    costs: dict[str, Any] = {}
    for name, sides in found.items():
        with_it, without = (statistics.median(sides[side]) for side in ("with", "without"))
        costs[name] = 1 - with_it / without
        print(f"{name:16} {with_it:>10,.0f} op/s with, {without:>10,.0f} without: the notary costs {costs[name]:.1%}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"aim": AIM, "costs": costs, "throughput": found}, indent=2) + "\n")
    worst = max(costs.values())
    print(f"aim: less than {AIM:.0%}: {'met' if worst < AIM else 'MISSED'}")
    return 0 if worst < AIM or arguments.quick else 1
