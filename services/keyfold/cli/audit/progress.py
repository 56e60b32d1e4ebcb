"""A progress bar on standard error, for people: records a second, and the share that is done."""

import sys
import time
from collections.abc import Mapping
from typing import Final, TextIO

_EVERY_S: Final = 0.2
_WIDTH: Final = 30


class Progress:
    """Call it with a partition and how many more of its records are done; `sizes` say how many there are."""

    def __init__(self, sizes: Mapping[int, int], out: TextIO | None = None) -> None:
        self._out = sys.stderr if out is None else out
        self._shown = self._out.isatty()
        self._total = max(1, sum(sizes.values()))
        self._done = 0
        self._began = self._last = time.monotonic()

    def __call__(self, _partition: int, records: int) -> None:
        """Count records, and show it now and then."""
        self._done += records
        now = time.monotonic()
        if self._shown and now - self._last >= _EVERY_S:
            self._last = now
            self._out.write("\r" + self.line(now))
            self._out.flush()

    def line(self, now: float) -> str:
        """Return the bar."""
        share = min(1.0, self._done / self._total)
        rate = self._done / max(now - self._began, 0.001)
        bar = "#" * round(share * _WIDTH)
        return f"{bar.ljust(_WIDTH, '.')} {share:4.0%} {self._done} records, {rate:,.0f}/s "

    def end(self) -> None:
        """Clear the bar."""
        if self._shown:
            self._out.write("\r" + " " * 79 + "\r")
            self._out.flush()
