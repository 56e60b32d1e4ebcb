"""Fewer garbage collections where a log is read: what is made of its records dies by reference counts alone.

A collection walks everything that is alive, the whole registry too, and finds next to nothing. It is put off, not
given up: who writes cycles by mistake is to see slower work, not an end of memory.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_THRESHOLDS: Final = (50_000, 50, 50)


def collect_rarely() -> None:
    """Do so from now on, in a process that does nothing else."""
    gc.set_threshold(*_THRESHOLDS)


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Do so for a while."""
    before = gc.get_threshold()
    collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*before)
