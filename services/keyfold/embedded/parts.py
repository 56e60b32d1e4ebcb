"""A part of the stack (broker, database, service) as a value, and the one way to start and stop it.

A part says how it is run and how to see that it serves; this module does the starting and the waiting, always under
the data directory's lock. It does not decide which parts there are, nor restart any.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from keyfold.embedded import processes
from keyfold.embedded.directory import DataDirectory
from keyfold.embedded.errors import PartFailed
from keyfold.embedded.processes import Process

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """How one process is run. `ready` is asked again and again until it says yes or the process is gone.

    `start_attempts` is more than one for a program that may find remains of its killed predecessor still ending.
    """

    name: str
    argv: tuple[str, ...]
    ready: Callable[[Process], bool]
    ready_timeout_s: float = 60.0
    start_attempts: int = 1
    environment: dict[str, str] = field(default_factory=dict)


def start_part(directory: DataDirectory, part: Part, lock: int) -> Process:
    """Start a part that does not run, and return when it serves. Raises PartFailed naming its log."""
    running = processes.find(directory.record(part.name))
    if running is not None:
        return _await_ready(directory, part, running)
    for attempt in range(1, part.start_attempts + 1):
        (directory.run / f"{part.name}.ready").unlink(missing_ok=True)
        process = processes.spawn(
            list(part.argv),
            record=directory.record(part.name),
            log=directory.log(part.name),
            lock=lock,
            environment={**os.environ, **part.environment},
        )
        try:
            return _await_ready(directory, part, process)
        except PartFailed:
            if attempt == part.start_attempts:
                raise
            time.sleep(0.5 * attempt)
    raise PartFailed(f"{part.name} was given no attempt to start")


def stop_part(
    directory: DataDirectory, name: str, number: signal.Signals = signal.SIGTERM, grace_s: float = 15.0
) -> bool:
    """Stop a part if it runs, and forget its record; True when something was stopped."""
    record = directory.record(name)
    process = processes.find(record)
    if process is not None:
        processes.stop(process, number=number, grace_s=grace_s)
    # If we crash here, the record names a process that is gone: `find` sees that.
    record.unlink(missing_ok=True)
    (directory.run / f"{name}.ready").unlink(missing_ok=True)
    return process is not None


def _await_ready(directory: DataDirectory, part: Part, process: Process) -> Process:
    deadline = time.monotonic() + part.ready_timeout_s
    log = directory.log(part.name)
    while time.monotonic() < deadline:
        if not process.alive():
            raise PartFailed(f"{part.name} ended while starting: {processes.last_line(log)} (see {log})")
        if part.ready(process):
            return process
        time.sleep(0.05)
    processes.stop(process, grace_s=1.0)
    raise PartFailed(f"{part.name} was not ready within {part.ready_timeout_s:.0f} s and was stopped; see {log}")
