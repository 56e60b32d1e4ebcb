"""A count over a sliding window of event time, in steps. Pure."""

from collections import deque
from collections.abc import Sequence
from typing import Final

STEPS: Final = 6
"""A window slides in sixths: it holds between five sixths and all of its length."""


class Sliding:
    """The sum over the last `window_ms`, as of the time of the last addition. At most six numbers."""

    __slots__ = ("_steps", "step_ms", "total", "window_ms")

    def __init__(self, window_ms: int) -> None:
        self.window_ms, self.step_ms = window_ms, window_ms // STEPS
        self.total = 0
        self._steps: deque[list[int]] = deque()

    def add(self, time_ms: int, number: int) -> int:
        """Count a number at a time, which is none before the last, and return the sum."""
        steps, start = self._steps, time_ms - time_ms % self.step_ms
        if steps and steps[-1][0] == start:
            steps[-1][1] += number
        else:
            steps.append([start, number])
            while steps[0][0] <= start - self.window_ms:
                self.total -= steps.popleft()[1]
        self.total += number
        return self.total

    def at(self, time_ms: int) -> int:
        """Return the sum as of a time."""
        return self.add(time_ms, 0)

    @property
    def since_ms(self) -> int:
        """From when on it counts."""
        return self._steps[0][0]

    def dump(self) -> list[int]:
        """Return its steps: start and number by turns."""
        return [number for step in self._steps for number in step]

    def load(self, document: Sequence[int]) -> None:
        """Go on from a document of `dump`."""
        self._steps = deque([start, number] for start, number in zip(document[::2], document[1::2], strict=True))
        self.total = sum(step[1] for step in self._steps)
