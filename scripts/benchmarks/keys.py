"""Measure many keys: creating them, restarting with them, the memory they take, and a key that was not used lately.

    scripts/bench keys [--keys N]... [--protection SOFTWARE|HSM]... [--created N] [--data DIR] [--keep] [--quick]

On an embedded deployment of its own for each protection level, which is deleted afterwards (without --keep). It grows
through the sizes. At each, the last `--created` keys are created through the SDK, with everything on; the rest is
written by policy's and the worker's own code without being asked for (`keys_loading`), which restarts and memory cannot
tell apart. Then policy and worker are restarted, one after the other: from the start of the process to the first
answer, and until every partition has answered. Memory is resident memory, less what the same process had with hardly
any keys. *Cold* is the first Encrypt of a key after a restart, *warm* the next one of the same key.

The limits beside them are of the same run: reading the keystore, or policy's state, and dropping it; parsing the values
as JSON; making and wrapping AES keys through python-pkcs11 alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, get_args

import uvloop

from benchmarks import keys_limits as limits
from benchmarks.keys_client import Protection
from benchmarks.keys_deployment import Deployment, deployment
from benchmarks.keys_growing import SCRIPTS, Growing, Restart, Size

SIZES: Final = (10_000, 100_000, 1_000_000)
QUICK_SIZES: Final = (1_000, 3_000)
HANDLES: Final = (512, 3_000)  # capacity of the cache that is looked into, and keys that go through it


@dataclass(frozen=True, slots=True)
class Level:
    """All figures of one protection level. `most_open` handles were open at a time in a cache of `capacity`."""

    protection: str
    base: dict[str, Restart]
    sizes: list[Size]
    generated_per_s: float
    capacity: int
    most_open: int


def measure(where: Deployment, protection: Protection, sizes: Sequence[int], created: int) -> Level:
    """Grow one deployment through the sizes, and print what was measured at each."""
    growing = Growing(where, protection, created)
    generated = limits.generate_rate(where.config.pkcs11_module)
    level = Level(protection, growing.base, [], round(generated), HANDLES[0], _open_handles(where))
    print(f"\n{protection}: at most {level.most_open} handles open in a cache of {level.capacity}", flush=True)

    async def run() -> None:
        await growing.begin()
        for size in sizes:
            level.sizes.append(await growing.grow(size))
            show(level, level.sizes[-1])

    uvloop.run(run())
    if len(sizes) > 1:
        show_growth(level.sizes)
    return level


def _open_handles(where: Deployment) -> int:
    """Count in a process of its own, which has the PKCS#11 library for this deployment."""
    program = [sys.executable, "-m", "benchmarks.keys_limits", str(where.stack.config_file), *map(str, HANDLES)]
    done = subprocess.run(program, cwd=SCRIPTS, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    return int(done.stdout)


def show(level: Level, each: Size) -> None:
    """Print what was measured at one size."""
    print(f"\n{each.protection}, {each.keys:,} keys")
    print(f"  created    {each.created_per_s:>8,.1f} keys/s ({each.created:,} through the SDK), "
          f"{each.created_per_s / level.generated_per_s:.1%} of C_GenerateKey and C_WrapKey")  # fmt: skip
    _show_restart(level, each, each.policy, (each.state_records, each.state_per_s))
    _show_restart(level, each, each.hsm, (each.keystore_records, each.keystore_per_s))
    print(f"  parsing    {each.keys / each.parse_per_s:>8.2f} s for all state records as JSON: not done at a restart")
    (cold, cold_99), (warm, warm_99) = each.cold_ms, each.warm_ms
    print(f"  cold key   {cold:>8.2f} ms p50, {cold_99:.2f} ms p99; warm {warm:.2f} ms p50, {warm_99:.2f} ms p99")
    if each.flooded is not None:
        once, more = each.flooded
        print(f"  cache full {once / 2**20:>8,.0f} MiB of the worker, {more / 2**20:,.0f} MiB two caches full later")


def _show_restart(level: Level, size: Size, restart: Restart, read: tuple[int, float]) -> None:
    """Print a restart beside its two limits: that of a deployment without keys, and reading its records."""
    base, (records, per_s) = level.base[restart.service], read
    per_key = (restart.resident - base.resident) / size.keys
    limit = base.all_s + records / per_s
    print(f"  {restart.service:10} {restart.first_s:>8.2f} s to the first answer, {restart.all_s:.2f} s to all: "
          f"{restart.all_s / limit:.2f} times {base.all_s:.2f} s without keys and {records / per_s:.2f} s of reading "
          f"{records:,} records")  # fmt: skip
    print(f"  {'':10} {restart.resident / 2**20:>8,.0f} MiB, {per_key:,.0f} B a key")


def show_growth(sizes: Sequence[Size]) -> None:
    """Print the lines through what was measured: per million keys, and how well a line fits (R², 1 is a line)."""
    numbers = [each.keys for each in sizes]
    for name, found, unit in (
        ("policy restart", [each.policy.all_s for each in sizes], "s"),
        ("hsm restart", [each.hsm.all_s for each in sizes], "s"),
        ("policy memory", [each.policy.resident / 2**20 for each in sizes], "MiB"),
        ("hsm memory", [each.hsm.resident / 2**20 for each in sizes], "MiB"),
    ):
        line = statistics.linear_regression(numbers, found)
        fit = statistics.correlation(numbers, found) ** 2
        print(f"  line: {name:15} {line.slope * 1e6:>10,.1f} {unit} for each million keys, R² {fit:.4f}")


def arguments_of(given: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench keys", description=str(__doc__).splitlines()[0])
    parser.add_argument("--keys", type=int, action="append", help="a size; may be given several times, in order")
    parser.add_argument("--protection", choices=get_args(Protection), action="append", help="default: both")
    parser.add_argument("--created", type=int, default=10_000, help="keys of each size created through the SDK")
    parser.add_argument("--data", type=Path, default=SCRIPTS.parent / "data" / "bench-keys")
    parser.add_argument("--keep", action="store_true", help="leave the data directories there")
    parser.add_argument("--quick", action="store_true", help="a thousand and three thousand keys")
    parser.add_argument("--json", type=Path, help="write all figures as a JSON object to this file")
    return parser.parse_args(given)


def main(arguments_given: Sequence[str]) -> int:
    """Measure, print the tables, write JSON. Returns 1 if more handles were open than the cache may hold."""
    arguments = arguments_of(arguments_given)
    sizes = sorted(arguments.keys or (QUICK_SIZES if arguments.quick else SIZES))
    levels = []
    for protection in arguments.protection or get_args(Protection):
        with deployment(arguments.data / protection.lower(), keep=arguments.keep) as where:
            levels.append(measure(where, protection, sizes, arguments.created))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(level) for level in levels], indent=2) + "\n")
    return 0 if all(level.most_open <= level.capacity for level in levels) else 1
