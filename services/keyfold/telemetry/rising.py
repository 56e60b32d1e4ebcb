"""Counters that mirror a number which somebody else counts, taken over once a look instead of once an event."""

from collections.abc import Callable
from typing import Protocol

from keyfold.telemetry.metrics import DEAD_LETTERS, DEAD_LETTERS_SUPPRESSED


class Counts(Protocol):
    """A counter without labels, or one child of it."""

    def inc(self, amount: float = 1) -> None: ...


class Rising:
    """Adds to a counter what a number has grown by since the last look; one that fell has begun anew."""

    def __init__(self, counter: Counts, number: Callable[[], int]) -> None:
        self._counter, self._number = counter, number
        self._last = 0

    def take(self) -> None:
        """Look at the number."""
        now = self._number()
        grown = now - self._last if now >= self._last else now
        self._last = now
        if grown:
            self._counter.inc(grown)


class Letters(Protocol):
    """Who reports records that could not be read; `keyfold.log.DeadLetters` is one."""

    reported: int
    suppressed: int


def dead_letters(letters: Letters) -> list[Rising]:
    """Return the counters of reported and of suppressed dead letters."""
    return [
        Rising(DEAD_LETTERS, lambda: letters.reported),
        Rising(DEAD_LETTERS_SUPPRESSED, lambda: letters.suppressed),
    ]
