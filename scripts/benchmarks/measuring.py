"""Measuring calls per second: several rounds, the median, and how far the rounds lie apart. It knows no case.

What counts is the clock on the wall. The time that this process had of a processor stands beside it: where other
processes have the rest, it says what the first would be without them.
"""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """One measurement: medians of the rounds, in microseconds of wall clock and of processor time for each call.

    `spread` is the greatest distance of a round from the median, as a part of it.
    """

    case: str
    per_second: float
    wall_us: float
    processor_us: float
    spread: float
    rounds: int
    aim: float | None = None

    @property
    def met(self) -> bool | None:
        """Tell whether the aim is met, None where there is none."""
        return None if self.aim is None else self.per_second >= self.aim


def measure(case: str, rounds: int, prepare: Callable[[], Callable[[], int]], aim: float | None = None) -> Rate:
    """Run a case; `prepare` makes what one round runs, and is not timed. A round returns how many calls it made."""
    wall, processor = [], []
    for _ in range(rounds):
        run = prepare()
        gc.collect()
        begin, used = time.perf_counter(), time.process_time()
        calls = run()
        wall.append((time.perf_counter() - begin) * 1e6 / calls)
        processor.append((time.process_time() - used) * 1e6 / calls)
    median = statistics.median(wall)
    spread = max(abs(each - median) for each in wall) / median
    found = round(median, 2), round(statistics.median(processor), 2), round(spread, 3)
    return Rate(case, round(1e6 / median, 1), *found, rounds, aim)
