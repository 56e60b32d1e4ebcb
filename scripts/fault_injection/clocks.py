"""A process whose wall clock can jump while it runs, by libfaketime (Debian: `libfaketime`). Its other clocks go on.

The wall clock is not part of a time namespace (time_namespaces(7)), and setting the machine's would move everybody's.
"""

from pathlib import Path
from typing import Final

from keyfold.embedded.directory import DataDirectory

_PLACES: Final = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime")
_LIBRARY: Final = "libfaketimeMT.so.1"


class NoFakeClock(RuntimeError):
    """The library is not installed."""


def library() -> Path:
    """Return it. Raises NoFakeClock."""
    for place in _PLACES:
        if (found := Path(place) / _LIBRARY).is_file():
            return found
    raise NoFakeClock("clock jumps need libfaketime (apt-get install libfaketime); or leave out the fault `clock`")


def environment(directory: DataDirectory, name: str) -> dict[str, str]:
    """Return what a process is started with, so that `shift` moves its clock, and none yet."""
    shift(directory, name, 0)
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(_file(directory, name)),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # What works around an error of older C libraries lets threads that wait for each other spin.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }


def shift(directory: DataDirectory, name: str, seconds: int) -> None:
    """Let the process's clock be so far from everybody's, within a second."""
    _file(directory, name).write_text(f"{seconds:+d}\n")


def _file(directory: DataDirectory, name: str) -> Path:
    return directory.run / f"{name}.clock"
