"""Starts again what dies: a process beside the stack that watches the wanted parts and restarts them with back-off.

It owns nothing: the parts are not its children, and killing it stops none of them. A part that keeps dying is given up
after `GIVE_UP_AFTER` restarts without a minute of calm between, which is logged and shown by `status`.
"""

import json
import os
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyfold.config import write_private
from keyfold.embedded import processes
from keyfold.embedded.errors import EmbeddedError, StackBusy
from keyfold.embedded.stack import Stack
from keyfold.events.errors import KeyfoldError
from keyfold.logging import configure_logging, get_logger

GIVE_UP_AFTER: Final = 8
CALM_S: Final = 60.0
_ROUND_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """When a part that ended is started again: a value, advanced by `after_end`."""

    attempts: int = 0
    not_before_s: float = 0.0
    last_start_s: float = float("-inf")

    def after_end(self, now_s: float) -> "Backoff":
        """The part was found ended at `now_s`: the next start waits 0.5, 1, 2, … at most 15 seconds."""
        attempts = 0 if now_s - self.last_start_s >= CALM_S else self.attempts
        return Backoff(attempts + 1, now_s + min(0.5 * 2**attempts, 15.0), self.last_start_s)

    def started(self, now_s: float) -> "Backoff":
        return Backoff(self.attempts, 0.0, now_s)

    @property
    def given_up(self) -> bool:
        return self.attempts > GIVE_UP_AFTER


class Supervisor:
    """The loop: wait until a wanted part ends or a second has passed, then start what is due."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._backoff: dict[str, Backoff] = {}
        self._restarts: dict[str, int] = {}
        self._log = get_logger()

    def run(self) -> None:
        """Supervise until a signal raises SystemExit."""
        self._log.info("supervisor-started")
        while True:
            self._wait()
            for name in sorted(self._stack.wanted()):
                self._look_after(name)

    def _look_after(self, name: str) -> None:
        now = time.monotonic()
        known = self._backoff.get(name)
        if processes.find(self._stack.directory.record(name)) is not None:
            if known is not None and known.not_before_s:
                self._backoff[name] = known.started(now)  # somebody else started it
            return
        if known is None or not known.not_before_s:
            known = self._backoff[name] = (known or Backoff()).after_end(now)
            self._log.warning("part-ended", part=name, attempts=known.attempts, gives_up=known.given_up)
        if not known.given_up and now >= known.not_before_s:
            self._start_again(name, known)

    def _start_again(self, name: str, backoff: Backoff) -> None:
        try:
            if not self._stack.start_again(name):
                return
        except StackBusy:
            return  # an `up` or `down` is at work: look again in the next round
        except (KeyfoldError, OSError) as error:
            self._log.error("part-not-started", part=name, error=str(error))
            self._backoff[name] = backoff.after_end(time.monotonic())
            return
        self._backoff[name] = backoff.started(time.monotonic())
        self._restarts[name] = self._restarts.get(name, 0) + 1
        write_private(self._stack.directory.run / "restarts.json", json.dumps(self._restarts))
        self._log.info("part-restarted", part=name, restarts=self._restarts[name])

    def _wait(self) -> None:
        """Sleep until one of the parts that run now ends, at most a round."""
        poll = select.poll()
        handles: list[int] = []
        for name in self._stack.wanted():
            process = processes.find(self._stack.directory.record(name))
            handle = process.open() if process is not None else None
            if handle is not None:
                handles.append(handle)
                poll.register(handle, select.POLLIN)
        try:
            poll.poll(_ROUND_S * 1000)
        finally:
            for handle in handles:
                os.close(handle)


def main(argv: list[str]) -> int:
    """`python -m keyfold.embedded DATA_DIRECTORY`: supervise that stack until SIGTERM."""
    stack = Stack(Path(argv[0]))
    configure_logging("supervisor", stack.config.log_level)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Raising anywhere is safe: whatever is being started records itself and is found by the next command.
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        Supervisor(stack).run()
    except EmbeddedError as error:
        get_logger().error("supervisor-failed", error=str(error))
    return 1
