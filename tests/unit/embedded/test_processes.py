"""Processes with records: started, found again, and never confused with another process of the same number."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyfold.embedded import PartFailed, processes
from keyfold.embedded.directory import DataDirectory
from keyfold.embedded.processes import Process

KILLED_STARTER = """
import os, sys
from keyfold.embedded import processes
from keyfold.embedded.directory import DataDirectory
processes._wait_for_record = lambda *_: os._exit(9)
data = DataDirectory(sys.argv[1])
with data.lock() as lock:
    processes.spawn(
        ["sleep", "60"],
        record=data.record("part"), log=data.log("part"), lock=lock, environment=dict(os.environ),
    )
"""

Spawn = Callable[..., Process]


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path / "data")
    made.prepare()
    return made


@pytest.fixture
def spawn(directory: DataDirectory) -> Iterator[Spawn]:
    started: list[Process] = []

    def start(*argv: str, name: str = "part") -> Process:
        with directory.lock() as lock:
            started.append(
                processes.spawn(
                    list(argv),
                    record=directory.record(name),
                    log=directory.log(name),
                    lock=lock,
                    environment=dict(os.environ),
                )
            )
        return started[-1]

    yield start
    for process in started:
        process.kill_session()


def test_a_started_process_is_found_by_its_record(directory: DataDirectory, spawn: Spawn) -> None:
    """The record names the process itself, which leads a session of its own."""
    process = spawn("sleep", "60")
    assert processes.find(directory.record("part")) == process
    assert os.getsid(process.pid) == process.pid
    assert Path(f"/proc/{process.pid}/comm").read_text().strip() == "sleep"


def test_a_stopped_process_is_gone_and_leaves_no_zombie(directory: DataDirectory, spawn: Spawn) -> None:
    """After `stop` the record finds nothing and the child is reaped."""
    process = spawn("sleep", "60")
    assert processes.stop(process) is True
    assert processes.find(directory.record("part")) is None
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_process_that_ignores_sigterm_is_killed_with_its_group(directory: DataDirectory, spawn: Spawn) -> None:
    """After the grace period the whole group is killed."""
    process = spawn("bash", "-c", "trap '' TERM; echo up; sleep 60 & echo $!; wait; sleep 60")
    lines: list[str] = []
    while len(lines) < 2:
        time.sleep(0.01)
        lines = directory.log("part").read_text().split()
    assert processes.stop(process, grace_s=0.2) is False
    child = Process(int(lines[1]), processes._started(int(lines[1])) or 0, process.boot)
    assert child.wait(5)


@pytest.mark.parametrize("field", ["started", "boot"])
def test_a_recycled_number_is_never_signalled(directory: DataDirectory, spawn: Spawn, field: str) -> None:
    """A record whose number belongs to a process of another start time, or of another boot, finds nothing."""
    process = spawn("sleep", "60")
    record = directory.record("part")
    fields = json.loads(record.read_text())
    record.write_text(json.dumps({**fields, field: fields[field] * 2}))
    stranger = processes.read_record(record)
    assert stranger is not None
    assert processes.find(record) is None
    assert stranger.signal(signal.SIGKILL) is False
    assert stranger.wait(0) is True
    stranger.kill_session()
    assert process.alive()


def test_a_damaged_record_finds_nothing(directory: DataDirectory) -> None:
    """A record that cannot be read is no process."""
    for content in ("", "{}", "[]", '{"pid": "x"}'):
        directory.record("part").write_text(content)
        assert processes.find(directory.record("part")) is None


def test_a_program_that_does_not_exist_is_reported(directory: DataDirectory, spawn: Spawn) -> None:
    """The log says why; the process is found to be gone."""
    process = spawn("keyfold-no-such-program")
    assert process.wait(5)
    assert "No such file" in processes.last_line(directory.log("part"))


def test_the_lock_is_held_until_the_record_is_written(directory: DataDirectory) -> None:
    """A starter killed between starting and recording leaves the lock with the child, which records itself."""
    done = subprocess.run([sys.executable, "-c", KILLED_STARTER, str(directory.path)], check=False, timeout=30)
    assert done.returncode == 9
    with directory.lock(wait_s=10):
        process = processes.find(directory.record("part"))
    assert process is not None, "whoever gets the lock next finds the process"
    process.kill_session()


def test_waiting_times_out_while_the_process_runs(spawn: Spawn) -> None:
    """`wait` says honestly that the process still runs."""
    assert spawn("sleep", "60").wait(0.05) is False


def test_a_log_that_grew_too_long_is_put_aside(
    directory: DataDirectory, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start begins a new log and keeps the old one once."""
    monkeypatch.setattr(processes, "_LOG_LIMIT", 3)
    directory.log("part").write_text("old lines")
    spawn("true").wait(5)
    assert directory.log("part").with_suffix(".log.1").read_text() == "old lines"
    assert directory.log("part").read_text() == ""


def test_a_launcher_that_cannot_record_is_an_error(directory: DataDirectory) -> None:
    """No record, no part: the caller learns it at once."""
    with directory.lock() as lock, pytest.raises(PartFailed, match="did not start"):
        processes.spawn(
            ["true"],
            record=directory.path / "missing" / "part.pid",
            log=directory.log("part"),
            lock=lock,
            environment=dict(os.environ),
        )
