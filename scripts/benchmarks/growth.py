"""How memory grows with principals and with policies: resident memory of a process of its own for each size.

    python -m benchmarks.growth (principals|policies) NUMBER

prints one measurement as JSON. The authorizer's caches are bounded, so what deciding adds grows until they are full.
Resident memory is read from /proc (Linux), because Cedar's part of it is none of Python's.
"""

import gc
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.population import Population, name_of, populate
from keyfold.deciding.authorizing import authorize
from keyfold.deciding.cedar import Authorizer
from keyfold.events.commands import parse_command
from keyfold.events.entities import Principal

SIZES: Final[dict[str, tuple[int, ...]]] = {"principals": (1_000, 10_000, 100_000), "policies": (100, 1_000, 5_000)}
QUICK_SIZES: Final[dict[str, tuple[int, ...]]] = {"principals": (1_000, 5_000, 20_000), "policies": (100, 500, 2_000)}
BESIDE: Final = 100  # policies beside principals, principals beside policies


@dataclass(frozen=True, slots=True)
class Growth:
    """Memory that one size took, in bytes: the entities, all when every principal had decided once, and the most."""

    kind: str
    number: int
    entities: int
    decided: int
    peak: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A straight line through the sizes: bytes for each one more, and how well it fits (R², 1 is a line)."""

    kind: str
    part: str
    bytes_each: float
    r_squared: float


def grow(kind: str, number: int) -> Growth:
    """Measure one size in this process."""
    gc.collect()
    before = _resident("VmRSS")
    sizes = {"policies": BESIDE, "principals": BESIDE} | {kind: number}
    population = populate(sizes["policies"], sizes["principals"], real_keys=False)
    gc.collect()
    entities = _resident("VmRSS") - before
    authorizer = Authorizer()
    _decide_once(population, authorizer, sizes["principals"])
    gc.collect()
    return Growth(kind, number, entities, _resident("VmRSS") - before, _resident("VmHWM") - before)


def _decide_once(population: Population, authorizer: Authorizer, principals: int) -> None:
    world = population.world(authorizer)
    for number in range(principals):
        command = parse_command(population.document(number, number))
        principal = population.registry[f"principal/{name_of(number)}"]
        if isinstance(principal, Principal):
            authorize(command, principal, world)


def _resident(field: str) -> int:
    """Return `VmRSS`, resident memory now, or `VmHWM`, the most it ever was, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def growths(quick: bool) -> Iterator[Growth]:
    """Measure all sizes, each in a process of its own."""
    for kind, sizes in (QUICK_SIZES if quick else SIZES).items():
        for number in sizes:
            result = subprocess.run(
                [sys.executable, "-m", "benchmarks.growth", kind, str(number)],
                cwd=Path(__file__).resolve().parents[1],
                capture_output=True,
                text=True,
                timeout=600,
                check=True,
            )
            yield Growth(**json.loads(result.stdout))


def fits(measured: Sequence[Growth]) -> Iterator[Fit]:
    """Fit lines through what was measured."""
    for kind in dict.fromkeys(each.kind for each in measured):
        sizes = [each for each in measured if each.kind == kind]
        numbers = [each.number for each in sizes]
        for part in ("entities", "decided"):
            found = [getattr(each, part) for each in sizes]
            line = statistics.linear_regression(numbers, found)
            yield Fit(kind, part, round(line.slope), round(statistics.correlation(numbers, found) ** 2, 4))


if __name__ == "__main__":
    print(json.dumps(asdict(grow(sys.argv[1], int(sys.argv[2])))))
