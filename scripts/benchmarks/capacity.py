"""Measure what parts cost and how throughput grows with workers, partitions and brokers; compare it with a model.

    scripts/bench capacity [--quick] [--seconds S] [--small CORES] [--json FILE] [--write PAGE]
    scripts/bench capacity --read FILE [--write PAGE]

Policy processors and HSM workers get *small cores* (a tenth of a core each, by cgroups), so that they are what limits,
while brokers and clients have room: so growth with their number can be measured on few cores. `capacity_model` says
what the model is, `capacity_checking` what of it is fitted. The program needs root, for the small cores, and nothing
else heavy on the machine. Deployments are made in temporary directories and removed.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.capacity_measuring import Bench, Times
from benchmarks.capacity_points import WORKERS, Point, Shape
from benchmarks.capacity_report import between_marks, line, report
from benchmarks.capacity_site import Site, site
from benchmarks.capacity_usage import NoQuotas, SmallCores, require_quotas

BATCHES: Final = Shape("batches", "SOFTWARE", callers=64, items=100)
SINGLES: Final = Shape("single calls", "SOFTWARE", callers=128, items=1)
HSM: Final = Shape("batches, HSM keys", "HSM", callers=64, items=100)
SMALL: Final = 0.1
CROWDS: Final = (1, 4)
"""Where nothing is limited, times so many callers: for small transactions, and for large ones."""


@dataclass(frozen=True, slots=True)
class Series:
    """What is measured of one deployment, in this order: free processes, then small cores for each number of workers.

    At the numbers in `one_key` all load is at one key as well; `crowded` then frees the workers, as many as there are.
    """

    partitions: int
    brokers: int
    free: tuple[Shape, ...]
    workers: tuple[int, ...]
    small: tuple[Shape, ...]
    one_key: tuple[int, ...] = ()
    crowded: bool = False


FULL: Final = (
    Series(4, 1, (BATCHES, SINGLES, HSM), (1, 2, 3, 4), (BATCHES, SINGLES), one_key=(4,), crowded=True),
    Series(12, 1, (BATCHES, SINGLES), (1, 2, 4), (BATCHES, SINGLES)),
    Series(2, 1, (), (1, 3), (BATCHES,)),
    Series(4, 3, (BATCHES, SINGLES), (1, 3), (BATCHES,)),
)
QUICK: Final = (Series(4, 1, (BATCHES,), (1, 2), (BATCHES,)),)


class Run:
    """All series, one after the other."""

    def __init__(self, times: Times, warm_s: float, small: float, keep: Callable[[Point], None]) -> None:
        self._times, self._warm_s, self._small, self._keep = times, warm_s, small, keep

    def series(self, wanted: Series, directory: Path) -> None:
        """Measure one deployment."""
        shapes = tuple(dict.fromkeys((*wanted.free, *wanted.small)))
        with site(directory, wanted.partitions, wanted.brokers) as running:
            bench = Bench(running, self._times)
            bench.prepare(tuple(dict.fromkeys(shape.protection for shape in shapes)))
            # Brokers compile their code for most of a minute, several on the same cores for longer.
            warm_s = self._warm_s * (1 if wanted.brokers == 1 else 2)
            for shape in shapes:
                bench.warm(shape, warm_s / len(shapes))
            bench.look_idle()
            for shape in wanted.free:
                for crowd in CROWDS:
                    self._keep(bench.measure(shape, crowd=crowd))
            for workers in wanted.workers:
                running.scale(workers)
                self._small_cores(wanted, running, bench)
            if wanted.crowded:
                self._keep(bench.measure(wanted.small[0]))

    def _small_cores(self, wanted: Series, running: Site, bench: Bench) -> None:
        with _confined(running, self._small) as cores:
            bench.look_idle()
            for shape in wanted.small:
                self._keep(bench.measure(shape, cores))
                if running.workers in wanted.one_key:
                    self._keep(bench.measure(shape, cores, one_key=True))


@contextmanager
def _confined(running: Site, small: float) -> Iterator[SmallCores]:
    cores = SmallCores(small)
    try:
        for service in WORKERS:
            for name, pid in running.pids(service).items():
                cores.confine(name, pid)
        yield cores
    finally:
        cores.free()


def main(arguments_given: Sequence[str]) -> int:
    """Measure (or read an earlier run), print the tables, write JSON and the page."""
    arguments = _parser().parse_args(arguments_given)
    machine = float(os.cpu_count() or 1)
    if arguments.read is not None:
        kept = json.loads(arguments.read.read_text())
        points, machine = [Point(**each) for each in kept["points"]], kept["machine_cores"]
    else:
        try:
            require_quotas()
        except NoQuotas as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        points = _measure(arguments, machine)
    tables = report(points, machine)
    print(tables)
    if arguments.write is not None:
        arguments.write.write_text(between_marks(arguments.write.read_text("utf-8"), tables), "utf-8")
    return 0


def _measure(arguments: argparse.Namespace, machine: float) -> list[Point]:
    # A run that is ended in order stops what it has started.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    quick = arguments.quick
    window = arguments.seconds or (5.0 if quick else 10.0)
    times = Times(settle=3.0 if quick else 4.0, window=window, idle=3.0 if quick else 5.0)
    points: list[Point] = []

    def keep(point: Point) -> None:
        points.append(point)
        print(line(point), file=sys.stderr, flush=True)
        if arguments.json is not None:
            found = {"machine_cores": machine, "points": [asdict(each) for each in points]}
            arguments.json.write_text(json.dumps(found, indent=2) + "\n")

    run = Run(times, 5.0 if quick else 40.0, arguments.small, keep)
    for wanted in QUICK if arguments.quick else FULL:
        with tempfile.TemporaryDirectory(prefix="keyfold-capacity-") as directory:
            run.series(wanted, Path(directory) / "data")
    return points


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench capacity", description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few points, in less than two minutes")
    parser.add_argument("--seconds", type=float, help="of each point, 10 unless told")
    parser.add_argument("--small", type=float, default=SMALL, help="what part of a core each limited process gets")
    parser.add_argument("--json", type=Path, help="write all points as a JSON object to this file, after each of them")
    parser.add_argument("--read", type=Path, help="measure nothing: show the points of such a file")
    parser.add_argument("--write", type=Path, help="put the tables between the marks of this Markdown file, too")
    return parser
