"""Measure how long services take until they serve, and to end in order, and that an end in order loses nothing.

    scripts/bench startup [--rounds N] [--keys N] [--uses N] [--rate R] [--data DIR] [--quick] [--json FILE]

On an embedded deployment of its own without a supervisor, deleted afterwards, with some history in its log. Three
cases, each several rounds:

- *together*: Kafka and Postgres are stopped and started; when they are up, all services are started at the same time.
- *alone*: one service is stopped and started while all others run, each in turn.
- *under load*: callers are at work; all services get SIGTERM at the same time, stay away for a while (in some rounds
  longer than callers wait, or than commands live), and are started at the same time. In the end every acknowledged
  command must have exactly one outcome, every caller an answer or a typed error, and the whole log must be sound.

Ready is what a service says itself (its ready file): it has its partitions and has caught up.
"""

import argparse
import asyncio
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import uvloop
from tests.support.log_checker import explain
from tests.support.together import Ended, start_together, stop_together
from tests.support.whole_system import WholeSystem, whole_system

from benchmarks import keys_client as client
from benchmarks.startup_load import Result, stop_under_load
from keyfold.embedded import kafka, postgres
from keyfold.embedded.services import services_of

READY_AIM_S: Final = 15.0
STOP_AIM_S: Final = 10.0
AWAY_S: Final = (0.0, 35.0, 0.0, 65.0, 5.0)
"""Seconds between stop and start: callers wait for 30 s, commands live for 60 s."""
IN_FLIGHT: Final = 64
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Measured:
    """Seconds by case and service, one of each round; under load also how each service ended."""

    ready: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    ended: dict[str, list[Ended]] = field(default_factory=dict)
    load: Result = field(default_factory=Result)

    def add(self, case: str, ready: dict[str, float]) -> None:
        """Note one round of a case."""
        for name, seconds in ready.items():
            self.ready.setdefault(case, {}).setdefault(name, []).append(seconds)

    @property
    def slowest_ready_s(self) -> float:
        """The worst of all."""
        return max(each for services in self.ready.values() for rounds in services.values() for each in rounds)

    @property
    def slowest_end_s(self) -> float:
        """The worst of all, of ends in order under load."""
        return max(each.seconds for rounds in self.ended.values() for each in rounds)

    def missed(self) -> list[str]:
        """Return the aims that were missed, as text."""
        codes = {f"{name} {each.code}" for name, rounds in self.ended.items() for each in rounds if each.code}
        found = []
        if self.slowest_ready_s > READY_AIM_S:
            found.append(f"ready after {self.slowest_ready_s:.1f} s, aim {READY_AIM_S:.0f} s")
        if self.slowest_end_s > STOP_AIM_S:
            found.append(f"ended after {self.slowest_end_s:.1f} s, aim {STOP_AIM_S:.0f} s")
        if codes:
            found.append(f"exit codes other than 0: {', '.join(sorted(codes))}")
        if self.load.findings:
            found.append(explain(self.load.findings))
        return found


async def measure(system: WholeSystem, arguments: argparse.Namespace) -> Measured:
    """Run the three cases on a deployment that serves."""
    measured, config = Measured(), system.config
    names = services_of(config.identities_directory)
    await client.register(config)
    keys, _ = await client.create(config, "SOFTWARE", arguments.keys, IN_FLIGHT)
    async with client.connect(config) as kms:
        await client.encrypt_all(kms, [keys[number % len(keys)] for number in range(arguments.uses)], IN_FLIGHT)
    print(f"history: {arguments.keys:,} keys, {arguments.uses:,} uses", flush=True)
    await asyncio.to_thread(_together, system, names, arguments.rounds, measured)
    await asyncio.to_thread(_alone, system, names, arguments.rounds, measured)
    aways = islice(cycle(AWAY_S), arguments.rounds)
    measured.load = await stop_under_load(
        system, names, aways, arguments.data, seed=arguments.seed, rate=arguments.rate,
        say=lambda line: print(f"under load: {line}", flush=True),
    )  # fmt: skip
    for each in measured.load.rounds:
        measured.add("under load", each.ready)
        for name, how in each.ended.items():
            measured.ended.setdefault(name, []).append(how)
    return measured


def _together(system: WholeSystem, names: Sequence[str], rounds: int, measured: Measured) -> None:
    for number in range(rounds):
        stop_together(system.stack, names)
        for name in (postgres.NAME, kafka.NAME):
            system.stack.stop_part(name)
        system.stack.start_infrastructure()
        ready = start_together(system.stack, names)
        measured.add("together", ready)
        print(f"together, round {number + 1}: all ready after {max(ready.values()):.1f} s", flush=True)


def _alone(system: WholeSystem, names: Sequence[str], rounds: int, measured: Measured) -> None:
    for name in names:
        for _ in range(rounds):
            stop_together(system.stack, [name])
            measured.add("alone", start_together(system.stack, [name]))


def show(measured: Measured) -> None:
    """Print the tables, what callers were told, and the aims."""
    for case, services in measured.ready.items():
        for name, rounds in services.items():
            print(f"{case:10} {name:10} ready after {_spread(rounds)}")
        if case != "alone":
            slowest = [max(each) for each in zip(*services.values(), strict=True)]
            print(f"{case:10} {'all':10} ready after {_spread(slowest)}")
    for name, ends in measured.ended.items():
        codes = ", ".join(str(code) for code in sorted({each.code for each in ends}))
        print(f"{'under load':10} {name:10} ended after {_spread([each.seconds for each in ends])}, exit code {codes}")
    load = measured.load
    served = [each.served_s for each in load.rounds if each.served_s is not None]
    print(f"under load, every verb and partition served again: {_spread(served)} from the start")
    for each, told in zip(load.rounds, load.unanswered, strict=True):
        answers = ", ".join(f"{number} {what}" for what, number in sorted(told.items())) or "none"
        print(f"away {each.away_s:3.0f} s, calls under way when the last service had ended: {answers}")
    print(f"callers: {', '.join(f'{number} {what}' for what, number in sorted(load.told.items()))}")
    print(f"log: {load.events:,} events, {len(load.findings)} findings")


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "never"
    return f"{statistics.median(seconds):5.2f} s median, {max(seconds):5.2f} s worst of {len(seconds)}"


def arguments_of(given: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench startup", description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, help="of each case; default 5")
    parser.add_argument("--keys", type=int, help="in the log before anything is measured; default 1000")
    parser.add_argument("--uses", type=int, help="uses of those keys in the log; default 3000")
    parser.add_argument("--rate", type=float, default=4.0, help="load, in units of twelve calls a second")
    parser.add_argument("--seed", type=int, default=1, help="of the load's choices")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "bench-startup")
    parser.add_argument("--quick", action="store_true", help="two rounds, 100 keys, 300 uses")
    parser.add_argument("--json", type=Path, help="write all figures as a JSON object to this file")
    arguments = parser.parse_args(given)
    defaults = (2, 100, 300) if arguments.quick else (5, 1000, 3000)
    for name, default in zip(("rounds", "keys", "uses"), defaults, strict=True):
        setattr(arguments, name, getattr(arguments, name) or default)
    if arguments.data.exists():  # it would be deleted afterwards
        parser.error(f"{arguments.data} exists; name a directory that does not")
    return arguments


def main(arguments_given: Sequence[str]) -> int:
    """Measure, print the tables, write JSON. Returns 1 if an aim was missed or anything was lost."""
    arguments = arguments_of(arguments_given)

    async def run() -> Measured:
        async with whole_system(arguments.data) as system:
            return await measure(system, arguments)

    measured = uvloop.run(run())
    show(measured)
    missed = measured.missed()
    if arguments.json:
        found = {"aims_s": {"ready": READY_AIM_S, "end": STOP_AIM_S}, "missed": missed, **asdict(measured)}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    print(f"aims: ready within {READY_AIM_S:.0f} s ({measured.slowest_ready_s:.1f} s worst), ended within "
          f"{STOP_AIM_S:.0f} s ({measured.slowest_end_s:.1f} s worst), nothing lost: "
          f"{'MISSED: ' + '; '.join(missed) if missed else 'met'}")  # fmt: skip
    return 1 if missed else 0
