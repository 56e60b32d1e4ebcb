"""Processes that outlive the command which started them: start, find again, signal, wait.

Every process leads a session of its own and has a record (process id, kernel start time, boot id) that it wrote itself
before it became its program (`launch.py`). A record whose process id was given to another process is no process of
ours: nothing is ever signalled by name or by a bare number. Does not know what the processes are, restarts nothing.
"""

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyfold.embedded.errors import PartFailed

_LAUNCHER: Final = Path(__file__).with_name("launch.py")
_LOG_LIMIT: Final = 16 * 1024 * 1024
_LOCK_FD: Final = 9
_RECORD_WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process as its record names it. `started` is in clock ticks since boot (proc(5), field 22)."""

    pid: int
    started: int
    boot: str

    def open(self) -> int | None:
        """Return a pidfd of exactly this process, or None when it is gone (or its number is another's now)."""
        try:
            handle = os.pidfd_open(self.pid)
        except (ProcessLookupError, OSError):
            return None
        # The handle is taken first, so the number cannot change hands between this check and a signal.
        if self.boot == _boot_id() and _started(self.pid) == self.started and not _ended(handle, 0.0):
            return handle
        os.close(handle)
        return None

    def alive(self) -> bool:
        _reap(self.pid)
        handle = self.open()
        if handle is None:
            return False
        os.close(handle)
        return True

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to this one process; False when it is gone already."""
        handle = self.open()
        if handle is None:
            return False
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def wait(self, seconds: float) -> bool:
        """Wait for its end without polling; False when it still runs after `seconds`."""
        handle = self.open()
        if handle is None:
            return True
        try:
            ended = _ended(handle, seconds)
        finally:
            os.close(handle)
        _reap(self.pid)
        return ended

    def kill_session(self) -> None:
        """SIGKILL the process and what it started in its process group."""
        handle = self.open()
        if handle is None:
            return
        try:
            # The leader is alive or unreaped while we hold this check, so the group number is still its own.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def read_record(path: Path) -> Process | None:
    """The process that a record names, whether it still runs or not."""
    try:
        fields = json.loads(path.read_text())
        return Process(int(fields["pid"]), int(fields["started"]), str(fields["boot"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def find(path: Path) -> Process | None:
    """The running process of a record, else None."""
    process = read_record(path)
    return process if process is not None and process.alive() else None


def spawn(argv: list[str], *, record: Path, log: Path, lock: int, environment: dict[str, str]) -> Process:
    """Start a program in a session of its own, its output appended to `log`; return when its record is written.

    `lock` is the file descriptor of the held data directory lock. If we are killed here, the child goes on to write its
    record and only then lets go of the lock: the next command finds it.
    """
    record.unlink(missing_ok=True)
    _rotate(log)
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(record), str(_LOCK_FD), *argv]
    pid = os.posix_spawn(
        sys.executable,
        launcher,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, lock, _LOCK_FD),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
    )
    return _wait_for_record(record, pid, log)


def stop(process: Process, *, number: signal.Signals = signal.SIGTERM, grace_s: float = 10.0) -> bool:
    """Ask a process to end, and kill its group when it has not after `grace_s`; True when it ended by itself."""
    process.signal(number)
    if process.wait(grace_s):
        return True
    process.kill_session()
    if not process.wait(5.0):
        raise PartFailed(f"process {process.pid} does not end even when killed; look at its state with ps")
    return False


def last_line(log: Path) -> str:
    """The last non-empty line of a log file, shortened: what a process said before it died."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        if lines:
            return lines[-1][:300]
    return "it said nothing"


def _wait_for_record(record: Path, pid: int, log: Path) -> Process:
    deadline = time.monotonic() + _RECORD_WAIT_S
    while time.monotonic() < deadline:
        process = read_record(record)
        if process is not None and process.pid == pid:
            return process
        if _reap(pid):
            break
        time.sleep(0.01)
    raise PartFailed(f"a process did not start: {last_line(log)} (see {log})")


def _ended(handle: int, seconds: float) -> bool:
    """Wait for a pidfd's process. Ready only when all its threads are gone: /proc shows a zombie long before that."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _started(pid: int) -> int | None:
    """Start time in clock ticks of whatever has this number now."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _reap(pid: int) -> bool:
    """Collect an ended child, so that it does not stay a zombie; True when it was ours and has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def _rotate(log: Path) -> None:
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
