"""The command line of `scripts/chaos`."""

import argparse
import asyncio
import logging
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from fault_injection import clocks
from fault_injection.deployment import ANALYTICS, SERVICES
from fault_injection.faults import KINDS
from fault_injection.planning import plan
from fault_injection.running import Wanted, run, write


def main(arguments_given: Sequence[str]) -> int:
    """Run, or show what would be done; exit code 1 where anything is wrong."""
    arguments = _parser().parse_args(arguments_given)
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    if arguments.command == "plan":
        for each in islice(plan(seed, arguments.faults, SERVICES), arguments.count):
            print(
                f"{each.kind:10} {each.target}, {each.hold_s:.1f} s" + (f", {each.number:+d} s" if each.number else "")
            )
        return 0
    if "clock" in arguments.faults:
        clocks.library()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # brokers are away on purpose
    # A run that is ended in order stops what it has started.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    print(f"seed {seed}", file=sys.stderr)
    place = arguments.data or Path(tempfile.mkdtemp(prefix="keyfold-faults-"))
    services = (*SERVICES, ANALYTICS) if arguments.analytics else SERVICES
    wanted = Wanted(seed, arguments.minutes, arguments.faults, arguments.rate, arguments.most, services)
    result = asyncio.run(run(place, wanted, _say, keep=arguments.keep))
    if arguments.out is not None:
        write(result, arguments.out)
    print(result.as_markdown())
    return 1 if result.findings else 0


def kinds_of(text: str) -> list[str]:
    """Return the kinds of a list such as `kill,pause`. Raises ValueError for others."""
    kinds = text.split(",")
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise argparse.ArgumentTypeError(f"unknown faults: {', '.join(unknown)}; known are {', '.join(KINDS)}")
    return kinds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="break a real stack under load, and check it")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("run", "break and check"), ("plan", "show the first faults of a seed")):
        command = commands.add_parser(name, help=words)
        command.add_argument("--seed", type=int, help="the choices; a random one by default")
        command.add_argument("--faults", type=kinds_of, default=list(KINDS), metavar="KIND,…", help=", ".join(KINDS))
    command.add_argument("--count", type=int, default=20, help="how many")
    broken = commands.choices["run"]
    broken.add_argument("--minutes", type=float, default=10.0, help="how long faults are injected")
    broken.add_argument("--most", type=int, help="how many faults at most")
    broken.add_argument("--rate", type=float, default=1.0, help="calls, times the usual dozen in a second")
    broken.add_argument("--data", type=Path, help="where the stack lives; a new temporary directory by default")
    broken.add_argument("--analytics", action="store_true", help="run analytics, too, and break it")
    broken.add_argument("--keep", action="store_true", help="leave it there, stopped")
    broken.add_argument("--out", type=Path, help="write faults.json and faults.md into this directory")
    return parser


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
