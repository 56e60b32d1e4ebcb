"""Event time: the broker's clock as seen from here, and up to when each source has been read. Pure.

A source is a partition of `keyfold.events`, or the dead letters, which count as one more. Its watermark is the event
time up to which all of it has been read: the time of its last event, or, where it is read to its end, the broker's time
at which that was so; less the time for which latecomers are waited for.
"""

from collections.abc import Iterable, Mapping

from keyfold.analytics.ticks import TICK_MS


class BrokerClock:
    """The broker's clock, learnt from the append times of records that were acknowledged. Never ahead of it."""

    def __init__(self) -> None:
        self._ahead_ms: float | None = None

    def saw(self, append_ms: int, local_s: float) -> None:
        """Take in the append time of a record whose acknowledgement came at a local (monotonic) time."""
        self._ahead_ms = append_ms - local_s * 1000

    def at(self, local_s: float) -> int | None:
        """Return the broker's time at a local time, in ms; None before the first acknowledgement."""
        return None if self._ahead_ms is None else int(local_s * 1000 + self._ahead_ms)


class Watermarks:
    """The watermarks of all sources, as one reader of them knows them. They only rise."""

    def __init__(self, sources: Iterable[int], known: Mapping[int, int] | None = None) -> None:
        self._marks = dict.fromkeys(sources, 0)
        self._low_ms = 0
        self.saw(known or {})

    @property
    def marks(self) -> dict[int, int]:
        """Each source's watermark, in ms; 0 for those never heard of. A copy."""
        return dict(self._marks)

    @property
    def low_ms(self) -> int:
        """Up to when all sources have been read; 0 while one was never heard of."""
        return self._low_ms

    def saw(self, marks: Mapping[int, int]) -> bool:
        """Take in watermarks; tell whether another tick is over. Sources that are not known are ignored."""
        for source, mark in marks.items():
            if mark > self._marks.get(source, mark):
                self._marks[source] = mark
        before, self._low_ms = self._low_ms, min(self._marks.values(), default=0)
        return self._low_ms // TICK_MS > before // TICK_MS
