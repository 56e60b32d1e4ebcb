"""Measure deciding alone, in one process and without a bus: decisions per second, and how memory grows.

    scripts/bench decisions [--quick] [--json FILE]

1,000 policies on the registry, 10,000 principals with a key and a command each; one policy is about any one of them.
`authorize` is the question to Cedar, with all that leads to it. *Remembered* are verdicts from the cache; the others
are evaluated: a context that was never seen, a principal that was never seen, policies that ask for the time or for
approvals. `decide` is the whole decision, `admit` what comes before it: signature and form. The limits beside them, in
the same run: Cedar by itself, on the one policy that is about the request, and the verification of one signature.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.deciding import CEDAR, VERIFY, Decisions
from benchmarks.growth import Fit, Growth, fits, growths
from benchmarks.measuring import Rate


def show(rates: Sequence[Rate]) -> None:
    """Print the table, with each case as a part of both limits."""
    limits = {rate.case: rate.per_second for rate in rates}
    print(
        f"\n{'case':42} {'per second':>11} {'µs':>9} {'of CPU':>9} {'spread':>7} {'of Cedar':>9} {'of verify':>9}  aim"
    )
    for rate in rates:
        aim = "" if rate.aim is None else f"{rate.aim:,.0f}: {'met' if rate.met else 'MISSED'}"
        times = f"{rate.per_second:>11,.0f} {rate.wall_us:>9,.1f} {rate.processor_us:>9,.1f} {rate.spread:>7.1%}"
        parts = f"{rate.per_second / limits[CEDAR]:>8.2f}x {rate.per_second / limits[VERIFY]:>8.2f}x"
        print(f"{rate.case:42} {times} {parts}  {aim}".rstrip())


def show_growth(measured: Sequence[Growth], lines: Sequence[Fit]) -> None:
    """Print what each size took, in all and for each one, and the lines through them."""
    print(f"\n{'memory of':24} {'entities':>12} {'decided':>12} {'at most':>12} {'entity':>10} {'decided':>10}")
    for each in measured:
        sizes = " ".join(f"{size / 2**20:>8,.1f} MiB" for size in (each.entities, each.decided, each.peak))
        per_one = " ".join(f"{size / each.number:>8,.0f} B" for size in (each.entities, each.decided))
        print(f"{each.number:>9,} {each.kind:14} {sizes} {per_one}")
    for line in lines:
        print(f"line through {line.kind}, {line.part}: {line.bytes_each:,.0f} bytes each, R² {line.r_squared:.4f}")


def main(arguments_given: Sequence[str]) -> int:
    """Parse arguments, measure, print the tables, write JSON. Returns 1 if an aim was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench decisions", description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and commands, smaller sizes of memory")
    parser.add_argument("--json", type=Path, help="write all figures as a JSON object to this file")
    arguments = parser.parse_args(arguments_given)
    rates = []
    for rate in Decisions(arguments.quick).run():
        rates.append(rate)
        print(f"{rate.case:42} {rate.per_second:>11,.0f}/s", flush=True)
    measured = list(growths(arguments.quick))
    lines = list(fits(measured))
    show(rates)
    show_growth(measured, lines)
    if arguments.json:
        parts: dict[str, Sequence[Rate | Growth | Fit]] = {"rates": rates, "growth": measured, "lines": lines}
        found = {name: [asdict(each) for each in rows] for name, rows in parts.items()}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if all(rate.met is not False for rate in rates) else 1
