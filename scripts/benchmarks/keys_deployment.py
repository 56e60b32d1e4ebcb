"""A deployment for measuring many keys: started without a supervisor, its services restarted and looked at one by one.

Everything blocks. Resident memory is read from /proc (Linux). Only processes that were started here are stopped.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from keyfold.config import Config, export_softhsm2_conf
from keyfold.embedded import Stack, processes
from keyfold.embedded.parts import start_part
from keyfold.embedded.services import service_part

READY_S: Final = 1800.0  # a service with a million keys on a slow machine; far beyond what is hoped for
FIRST_READY_S: Final = 60.0
STEADY_S: Final = 2.0


class Deployment:
    """One data directory with its stack."""

    def __init__(self, data: Path) -> None:
        self.stack = Stack(data, development=True)

    @property
    def config(self) -> Config:
        """The settings on disk."""
        return self.stack.config

    def begin(self) -> None:
        """Start what does not run, and hold the root ceremony if it was not held before."""
        config = self.stack.start_infrastructure()
        if config.deployment is None:
            # In a process of its own: the ceremony must have the PKCS#11 library for itself.
            program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(config.data_directory), "init"]
            subprocess.run([*program, "--existing", "--development"], check=True, timeout=120, capture_output=True)
        for name in ("policy", "hsm", "projector", "scheduler"):
            self.start(name, FIRST_READY_S)
        export_softhsm2_conf(self.config)

    def start(self, name: str, ready_s: float = READY_S) -> None:
        """Start a service, and return when it has all its partitions."""
        part = replace(service_part(self.config, self.stack.config_file, name), ready_timeout_s=ready_s)
        with self.stack.directory.lock() as lock:
            start_part(self.stack.directory, part, lock)

    def stop(self, name: str) -> None:
        """Stop a service."""
        self.stack.stop_part(name)

    @contextmanager
    def without(self, *names: str) -> Iterator[None]:
        """Stop services for a while."""
        for name in names:
            self.stop(name)
        yield
        for name in reversed(names):
            self.start(name)

    def resident(self, name: str) -> int:
        """Return a service's resident memory in bytes, as soon as it has stopped changing by more than 1 %."""
        last = self._resident(name)
        for _ in range(15):
            time.sleep(STEADY_S)
            now = self._resident(name)
            if abs(now - last) <= last // 100:
                return now
            last = now
        return last

    def _resident(self, name: str) -> int:
        process = processes.find(self.stack.directory.record(name))
        if process is None:
            raise RuntimeError(f"{name} does not run; see {self.stack.directory.log(name)}")
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024


@contextmanager
def deployment(data: Path, *, keep: bool) -> Iterator[Deployment]:
    """Start a deployment in a directory, and stop it afterwards; without `keep` its directory is deleted too."""
    made = Deployment(data)
    try:
        made.begin()
        yield made
    finally:
        if keep:
            made.stack.stop()
        else:
            made.stack.reset()
