"""Small file systems that can be filled: in memory (tmpfs), for one broker's log and for Postgres. Needs root."""

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Final

from fault_injection.deployment import POSTGRES, Deployment

_SIZES: Final = {"kafka-3": "1g", POSTGRES: "1g"}
_FILLING: Final = "filling"
_STEP: Final = 1024 * 1024


class NoSmallDisk(RuntimeError):
    """A file system could not be mounted."""


def place(system: Deployment, name: str) -> Path:
    """Where a process keeps what it writes."""
    return system.directory.path / name / ("data" if name != POSTGRES else "")


def mount(system: Deployment) -> None:
    """Mount them. To be done before anything is there. Raises NoSmallDisk."""
    for name, size in _SIZES.items():
        where = place(system, name)
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "keyfold-faults", str(where)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoSmallDisk(f"full disks need root and tmpfs ({done.stderr.strip()}); leave out the fault `disk`")


def unmount(system: Deployment) -> None:
    """Take away what is mounted; harmless where nothing is."""
    for name in _SIZES:
        where = place(system, name)
        if where.is_mount():
            subprocess.run(["umount", "--lazy", str(where)], capture_output=True, check=False)


def fill(where: Path) -> None:
    """Leave not a byte."""
    with (where / _FILLING).open("wb", buffering=0) as file:
        size, step = 0, os.statvfs(where).f_bavail * os.statvfs(where).f_frsize or _STEP
        while step:
            try:
                os.posix_fallocate(file.fileno(), size, step)
                size += step
            except OSError:
                step //= 2
        with contextlib.suppress(OSError):
            while file.write(b"\0" * 4096):
                pass


def free(where: Path) -> None:
    """Make room again."""
    (where / _FILLING).unlink(missing_ok=True)
