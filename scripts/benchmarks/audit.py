"""Measure an auditor: events verified per second, events folded again per second, and memory at n and 4n events.

    scripts/bench audit [--events N] [--processes N] [--quick] [--json FILE] [--keep DIR]

The log is uses of keys, a decision and an outcome for each command, in statements of 250 records; every command is
signed by its principal. It is read from files, so that no broker is measured. `verified` is the whole of `keyfold audit
verify` but for the projections; `covered` the same where an own checkpoint covers all of it, so that records are hashed
and folded only; `folded` is what a rebuild of the projections computes, without the database. The limit beside them is
one Ed25519 verification: a decision cannot cost less. Each figure is from a process of its own.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.audit_log import FileOpener, FileSource, write_log
from keyfold.auditing.database import fold_all
from keyfold.auditing.rooted import read_root
from keyfold.auditing.verifying import Wanted, verify
from keyfold.events.signatures import Signer, Verifier

AIM: Final = 50_000.0
_MIB: Final = 1024.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: how many events, how fast, and the most memory of any one process (MiB)."""

    case: str
    events: int
    processes: int
    per_second: float
    peak_mib: float


def verified(directory: Path, processes: int) -> int:
    """Verify everything; return how many leaves there were."""
    source = FileSource(directory)
    wanted = Wanted(source.deployment, processes=processes)
    report = asyncio.run(verify(source, wanted, opener=FileOpener(directory)))
    if report.count:
        raise RuntimeError(f"the log does not verify: {report.first}")
    return sum(told.leaves for told in report.partitions)


def covered(directory: Path, processes: int) -> int:
    """Verify what own checkpoints cover."""
    source = FileSource(directory)
    notes = asyncio.run(source.checkpoints())
    wanted = Wanted(source.deployment, since=[("own", note) for note in notes], processes=processes)
    report = asyncio.run(verify(source, wanted, opener=FileOpener(directory)))
    if report.count:
        raise RuntimeError(f"the log does not verify: {report.first}")
    return sum(told.leaves for told in report.partitions)


def folded(directory: Path, _processes: int) -> int:
    """Fold everything into rows, as a rebuild does."""
    source = FileSource(directory)

    async def work() -> int:
        return await fold_all(source, (await read_root(source, source.deployment)).trust())

    return asyncio.run(work())


CASES: Final[dict[str, Callable[[Path, int], int]]] = {"verified": verified, "covered": covered, "folded": folded}


def _run(case: str, directory: Path, processes: int) -> Measured:
    begin = time.perf_counter()
    events = CASES[case](directory, processes)
    seconds = time.perf_counter() - begin
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Measured(case, events, processes, round(events / seconds, 1), round(max(own, children) / _MIB, 1))


def measured(case: str, directory: Path, processes: int) -> Measured:
    """Run a case in a process of its own, so that its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, case, directory, processes).result()


def one_verification() -> float:
    """Return how many Ed25519 signatures one process verifies in a second."""
    key = Signer(bytes(32))
    verifier, message = Verifier(key.public_key), bytes(1000)
    signature, begin = key.sign(message), time.perf_counter()
    for _ in range(2000):
        verifier.verify(signature, message)
    return 2000 / (time.perf_counter() - begin)


def main(arguments_given: Sequence[str]) -> int:
    """Parse arguments, measure, print the table, write JSON. Returns 1 if the aim was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench audit", description=str(__doc__).splitlines()[0])
    parser.add_argument("--events", type=int, default=250_000, help="n; memory is measured at n and 4n")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="5,000 events: to see that it works")
    parser.add_argument("--json", type=Path, help="write all figures as a JSON object to this file")
    parser.add_argument("--keep", type=Path, help="keep the logs in this directory, and take those that are there")
    arguments = parser.parse_args(arguments_given)
    events = 5_000 if arguments.quick else arguments.events
    limit = one_verification()
    print(f"one Ed25519 verification: {limit:,.0f}/s", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for size in (events, 4 * events):
            directory = (arguments.keep or Path(temporary)) / str(size)
            if not (directory / "notes").exists():
                write_log(directory, size)
            for case in CASES:
                rows.append(measured(case, directory, arguments.processes))
                told = rows[-1]
                print(
                    f"{told.case:10} {told.events:>10,} events {told.per_second:>11,.0f}/s {told.peak_mib:>9,.1f} MiB",
                    flush=True,
                )
    if arguments.json:
        found = {"verifications_per_second": limit, "aim": AIM, "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    best = max(row.per_second for row in rows if row.case == "verified")
    print(f"verified: {best:,.0f}/s, aim {AIM:,.0f}/s: {'met' if best >= AIM else 'MISSED'}")
    return 0 if best >= AIM or arguments.quick else 1
