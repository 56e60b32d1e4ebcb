"""Load for measuring capacity: clients in processes of their own, and what they saw.

Each caller asks again as soon as it is answered, about a key that it draws anew, so all keys are used evenly: where one
partition is slower than the others, callers gather there, and the whole is as fast as that partition allows.
"""

import asyncio
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import uvloop

from keyfold.client import Keyfold
from keyfold.config import Config
from keyfold.events.errors import KeyfoldError

CLIENTS: Final = 2
CONTEXT: Final = {"tenant": "bench"}
ITEM: Final = b"x" * 32
_ENDING_S: Final = 60.0
_FEW: Final = 10
_PATIENCE: Final[dict[str, Any]] = {"coalesce": False, "call_timeout_s": 40.0, "resend_initial_s": 30.0}
"""What waits behind a small core for seconds is not sent again meanwhile."""


@dataclass(frozen=True, slots=True)
class Load:
    """One client's part: so many callers, each with commands of so many items, at first not counted in the rate."""

    bootstrap_servers: str
    identity: str
    keys: list[str]
    callers: int
    items: int
    settle_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What clients saw. `commands` are all that were answered, `processor_s` is what the clients used for them.

    `answered_s` (monotonic) and `latencies_s` are of those that were answered in the measured seconds.
    """

    commands: int = 0
    failed: int = 0
    processor_s: float = 0.0
    answered_s: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    def __add__(self, other: "Seen") -> "Seen":
        return Seen(
            self.commands + other.commands,
            self.failed + other.failed,
            self.processor_s + other.processor_s,
            self.answered_s + other.answered_s,
            self.latencies_s + other.latencies_s,
        )

    @property
    def rate(self) -> float:
        """Commands per second: the slope of how many were answered by when, 0 where hardly any were.

        Answers come in bursts, a transaction each. A window's count errs by a burst at either end; the slope does not.
        """
        if len(self.answered_s) < _FEW:
            return 0.0
        times = sorted(self.answered_s)
        return statistics.linear_regression(times, range(len(times))).slope

    def percentile_ms(self, part: float) -> float:
        """Return a percentile of the latencies, in milliseconds; 0 where nothing was answered."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1e3 if ordered else 0.0


class Clients:
    """The client processes of one measurement, connected and waiting when this returns from `begin`."""

    def __init__(self, config: Config, principal: str, keys: Sequence[str], callers: int, items: int) -> None:
        self._identity = str(config.identities_directory / f"{principal}.json")
        self._servers, self._keys, self._items = config.bootstrap_servers, list(keys), items
        self.callers = callers
        self._running: list[subprocess.Popen[str]] = []

    def begin(self, settle_s: float, seconds: float) -> None:
        """Start them."""
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        for number in range(CLIENTS):
            callers = len(range(number, self.callers, CLIENTS))
            load = Load(self._servers, self._identity, self._keys, callers, self._items, settle_s, seconds)
            program = [sys.executable, "-m", "benchmarks.capacity_load", json.dumps(asdict(load))]
            self._running.append(
                subprocess.Popen(
                    program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1
                )
            )
        for process in self._running:
            self._line(process)

    def go(self) -> None:
        """Let them all begin."""
        for process in self._running:
            assert process.stdin is not None
            process.stdin.write("go\n")

    def result(self) -> Seen:
        """Wait until they have ended, and return what they saw together."""
        seen = sum((Seen(**json.loads(self._line(process))) for process in self._running), Seen())
        for process in self._running:
            process.wait(_ENDING_S)
        return seen

    def end(self) -> None:
        """Kill what still runs."""
        for process in self._running:
            process.kill()
            process.wait(_ENDING_S)

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a client ended with {process.wait(_ENDING_S)}; it said above why")
        return line


async def run(load: Load, say: Callable[[str], None], wait: Callable[[], Any]) -> None:
    """Be one client: connect, tell that, wait for the word, ask for a while, tell what was seen."""
    async with Keyfold.connect(
        bootstrap_servers=load.bootstrap_servers, identity=Path(load.identity), **_PATIENCE
    ) as kms:
        await kms.encrypt(load.keys[0], ITEM, context=CONTEXT)
        say("ready")
        await asyncio.to_thread(wait)
        used = _processor_s()
        seen = await _ask(kms, load)
        say(json.dumps(asdict(replace(seen, processor_s=_processor_s() - used))))


async def _ask(kms: Keyfold, load: Load) -> Seen:
    commands = failed = 0
    answered: list[float] = []
    latencies: list[float] = []
    items = [ITEM] * load.items
    count_from = time.perf_counter() + load.settle_s
    end = count_from + load.seconds

    async def caller(keys: Iterable[str]) -> None:
        nonlocal commands, failed
        for key in keys:
            begin = time.perf_counter()
            if begin >= end:
                return
            try:
                await kms.encrypt_batch(key, items, context=CONTEXT)
            except KeyfoldError:
                failed += 1
                continue
            commands += 1
            if count_from <= (now := time.perf_counter()) < end:
                answered.append(now)
                latencies.append(now - begin)

    await asyncio.gather(*(caller(_drawn(load.keys)) for _ in range(load.callers)))
    return Seen(commands, failed, 0.0, answered, latencies)


def _drawn(keys: Sequence[str]) -> Iterable[str]:
    while True:
        yield random.choice(keys)  # noqa: S311 - a load


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    uvloop.run(run(Load(**json.loads(sys.argv[1])), lambda line: print(line, flush=True), sys.stdin.readline))
