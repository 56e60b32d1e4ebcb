"""Measuring calls per second: several rounds, the median, and how far the rounds lie apart. It knows no case."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """One measurement. `spread` is the greatest distance of a round from the median, as a part of it."""

    case: str
    per_second: float
    microseconds: float
    spread: float
    rounds: int
    aim: float | None = None

    @property
    def met(self) -> bool | None:
        """Tell whether the aim is met, None where there is none."""
        return None if self.aim is None else self.per_second >= self.aim


def measure(case: str, rounds: int, prepare: Callable[[], Callable[[], int]], aim: float | None = None) -> Rate:
    """Run a case; `prepare` makes what one round runs, and is not timed. A round returns how many calls it made."""
    found = []
    for _ in range(rounds):
        run = prepare()
        gc.collect()
        begin = time.perf_counter()
        calls = run()
        found.append(calls / (time.perf_counter() - begin))
    median = statistics.median(found)
    spread = max(abs(each - median) for each in found) / median
    return Rate(case, round(median, 1), round(1e6 / median, 2), round(spread, 3), rounds, aim)
