"""The command line of `scripts/simulate-usage`."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

from simulation.evaluation import Evaluated, evaluate
from simulation.report import details, report, summary
from simulation.requests import observations
from simulation.scenario import Scenario, scenario

BEGIN: Final = "<!-- evaluation:begin -->"
END: Final = "<!-- evaluation:end -->"


def main(arguments_given: Sequence[str]) -> int:
    """Write a scenario, or evaluate the detectors on some."""
    if arguments_given and arguments_given[0] == "evaluate":
        return _evaluate(arguments_given[1:])
    parser = argparse.ArgumentParser(prog="scripts/simulate-usage", description="write one scenario as JSON lines")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--weeks", type=int, default=8)
    parser.add_argument("--clean", action="store_true", help="honest use only")
    parser.add_argument("--out", type=Path, help="to this file, not to the standard output")
    arguments = parser.parse_args(arguments_given)
    made = scenario(arguments.seed, arguments.weeks)
    if arguments.out is None:
        _write(made, arguments.clean, sys.stdout)
        return 0
    with arguments.out.open("w", encoding="utf-8") as file:
        _write(made, arguments.clean, file)
    return 0


def seeds_of(text: str) -> list[int]:
    """Return the seeds of a text such as `1-5` or `3,7`. Raises `ValueError` for others."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def lines(made: Scenario, clean: bool) -> Iterator[dict[str, Any]]:
    """Return a scenario as JSON objects: the labels first, then the observations in time order."""
    if not clean:
        for label in made.labels:
            yield {"label": asdict(label)}
    for seen in observations(made.clean if clean else made.attacked):
        yield {"observation": asdict(seen) | {"ref": seen.ref._asdict()}}


def _write(made: Scenario, clean: bool, file: TextIO) -> None:
    for each in lines(made, clean):
        file.write(json.dumps(each, separators=(",", ":")) + "\n")


def _evaluate(arguments_given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/simulate-usage evaluate", description="measure the detectors")
    parser.add_argument("--seeds", type=seeds_of, required=True, help="what is reported, as 11-15")
    parser.add_argument("--train", type=seeds_of, default=[], help="what was tuned on, reported beside")
    parser.add_argument("--weeks", type=int, default=8)
    parser.add_argument("--details", action="store_true", help="list missed attacks and false alerts, too")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--write", type=Path, help="put the tables between the marks of this Markdown file, too")
    arguments = parser.parse_args(arguments_given)
    tables = []
    for title, seeds in (("Tuned on", arguments.train), ("Evaluated", arguments.seeds)):
        if seeds:
            with ProcessPoolExecutor(arguments.processes) as pool:
                evaluated = []
                for each in pool.map(partial(_one, weeks=arguments.weeks), seeds):
                    evaluated.append(each)
                    print(summary(each), file=sys.stderr, flush=True)
            tables.append(f"### {title}: seeds {', '.join(map(str, seeds))}\n\n{report(evaluated)}\n")
            print(tables[-1], flush=True)
            if arguments.details:
                print(details(evaluated), flush=True)
    if arguments.write is not None:
        page = arguments.write.read_text("utf-8")
        arguments.write.write_text(between_marks(page, "\n".join(reversed(tables))), "utf-8")
    return 0


def between_marks(page: str, text: str) -> str:
    """Return a page with a text between its marks. Raises `ValueError` if it has none."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"put the lines {BEGIN} and {END} where the tables are to be")
    return f"{before}{mark}\n{text}{end}{after}"


def _one(seed: int, weeks: int) -> Evaluated:
    from keyfold.analytics.detectors import all_detectors
    from keyfold.analytics.detectors.settings import DetectorSettings

    return evaluate(scenario(seed, weeks), all_detectors(DetectorSettings()))
