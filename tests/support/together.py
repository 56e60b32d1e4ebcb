"""All services of a deployment started, or asked to end, at the same moment, as an orchestrator does it.

Everything blocks. Exit codes are only to be had of processes that this one has started, and nothing may start them
again meanwhile: a stack without a supervisor. Nothing is judged here.
"""

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from keyfold.embedded import PartFailed, Stack, processes
from keyfold.embedded.parts import start_part
from keyfold.embedded.processes import Process
from keyfold.embedded.services import service_part

GRACE_S: Final = 15.0
"""What the compose file and the Kubernetes manifests give a service before it is killed."""
READY_S: Final = 120.0
_LOOK_S: Final = 0.02
_KILLED_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: seconds after it was asked to, and its exit code (-9: it had to be killed)."""

    seconds: float
    code: int


def start_together(stack: Stack, names: Iterable[str], timeout_s: float = READY_S) -> dict[str, float]:
    """Start services that do not run; return by name the seconds until each serves, from the start of the first.

    Raises PartFailed where one ends, or does not serve in time.
    """
    config, directory = stack.config, stack.directory
    parts = {name: service_part(config, stack.config_file, name) for name in names}
    began, ready = time.monotonic(), dict[str, float]()
    with directory.lock() as lock:
        started = {
            name: start_part(directory, replace(part, ready=lambda _process: True), lock)
            for name, part in parts.items()
        }
    while len(ready) < len(parts):
        for name in [name for name in parts if name not in ready]:
            if parts[name].ready(started[name]):
                ready[name] = time.monotonic() - began
            elif not started[name].alive():
                raise PartFailed(f"{name} ended while starting: {processes.last_line(directory.log(name))}")
        if time.monotonic() - began > timeout_s:
            raise PartFailed(f"not ready within {timeout_s:.0f} s: {', '.join(sorted(parts.keys() - ready.keys()))}")
        time.sleep(_LOOK_S)
    return ready


def stop_together(stack: Stack, names: Iterable[str], grace_s: float = GRACE_S) -> dict[str, Ended]:
    """Send SIGTERM to services, and SIGKILL to those that still run after the grace; return how each ended.

    Raises PartFailed where one does not run, or does not end even then.
    """
    running = {name: _running(stack, name) for name in names}
    began, ended = time.monotonic(), dict[str, Ended]()
    for process in running.values():
        process.signal(signal.SIGTERM)
    _collect(running, ended, began, grace_s)
    for name in running.keys() - ended.keys():
        running[name].kill_session()
    _collect(running, ended, began, grace_s + _KILLED_S)
    if late := sorted(running.keys() - ended.keys()):
        raise PartFailed(f"not ended even by SIGKILL: {', '.join(late)}")
    return ended


def _running(stack: Stack, name: str) -> Process:
    process = processes.find(stack.directory.record(name))
    if process is None:
        raise PartFailed(f"{name} does not run; see {stack.directory.log(name)}")
    return process


def _collect(running: dict[str, Process], ended: dict[str, Ended], began: float, until_s: float) -> None:
    """Note those that have ended, until all have or `until_s` seconds have passed since `began`."""
    while len(ended) < len(running) and time.monotonic() - began <= until_s:
        for name in [name for name in running if name not in ended]:
            if (code := _exit_code(running[name].pid)) is not None:
                ended[name] = Ended(time.monotonic() - began, code)
        time.sleep(_LOOK_S)


def _exit_code(pid: int) -> int | None:
    """Return a child's exit code, or the negative number of the signal that ended it; None while it runs."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
