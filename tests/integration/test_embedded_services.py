"""Service processes under the stack: started, restarted, given up, stopped; with a stand-in service, without Kafka."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyfold.embedded import PartFailed, Stack, StackBusy, processes
from keyfold.embedded.stack import SUPERVISOR

SERVICE = """
import pathlib, sys, time
from keyfold.config import load_config, mark_ready
config = load_config(sys.argv[2])
if (config.data_directory / "broken").exists():
    sys.exit("the example is broken")
mark_ready(config, "example")
time.sleep(600)
"""


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a service `keyfold.example` on the path of this process and of those that it starts."""
    package = tmp_path / "path" / "keyfold" / "example"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(SERVICE)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))


@pytest.fixture
def make_stack(tmp_path: Path, example: None) -> Iterator[Callable[..., Stack]]:
    directory = tmp_path / "data"

    def make(*, supervised: bool = False) -> Stack:
        stack = Stack(directory, supervised=supervised)
        stack.start_infrastructure([])
        return stack

    yield make
    Stack(directory).reset()  # whatever the test left, also when it failed


def state(stack: Stack, name: str = "example") -> str:
    return next((part.state for part in stack.status() if part.name == name), "stopped")


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_service_is_started_once_killed_and_started_again(make_stack: Callable[..., Stack]) -> None:
    """Starting twice keeps the process; after `kill` the part is reported failed, and `start` brings a new process."""
    stack = make_stack()
    stack.start_services(["example"])
    stack.start_services(["example"])
    first = stack.kill("example")
    assert state(stack) == "failed"
    assert stack.kill("example") is None
    stack.start("example")
    second = stack.kill("example", signal.SIGTERM)
    assert None not in {first, second}
    assert first != second


def test_stopped_processes_can_be_continued(make_stack: Callable[..., Stack]) -> None:
    """SIGSTOP and SIGCONT do not wait for an end that does not come."""
    stack = make_stack()
    stack.start_services(["example"])
    assert stack.kill("example", signal.SIGSTOP) == stack.kill("example", signal.SIGCONT)
    assert state(stack) == "running"


def test_a_service_that_dies_at_start_says_why(make_stack: Callable[..., Stack]) -> None:
    """The error is one line with the service's last words and its log file."""
    stack = make_stack()
    (stack.directory.path / "broken").touch()
    with pytest.raises(PartFailed, match=r"example ended while starting: the example is broken \(see .*example\.log\)"):
        stack.start_services(["example"])


def test_another_stack_object_finds_and_stops_what_runs(make_stack: Callable[..., Stack]) -> None:
    """Nothing depends on the object, or the process, that started a part."""
    stack = make_stack()
    stack.start_services(["example"])
    process = processes.find(stack.directory.record("example"))
    assert process is not None
    Stack(stack.directory.path).stop()
    assert not process.alive()
    assert state(stack) == "stopped"


def test_stop_leaves_a_stranger_with_a_recycled_number_alone(make_stack: Callable[..., Stack]) -> None:
    """A record that names this very process, but with another start time, stops nothing."""
    stack = make_stack()
    stack.directory.record("example").write_text(f'{{"pid": {os.getpid()}, "started": 1, "boot": "x"}}')
    stack.stop()
    assert not stack.directory.record("example").exists()


def test_the_supervisor_starts_again_what_dies(make_stack: Callable[..., Stack]) -> None:
    """A killed service comes back as another process, and `status` counts it."""
    stack = make_stack(supervised=True)
    stack.start_services(["example"])
    killed = stack.kill("example")
    eventually(lambda: any(p.name == "example" and p.restarts == 1 and p.state == "running" for p in stack.status()))
    process = processes.find(stack.directory.record("example"))
    assert process is not None
    assert process.pid != killed
    stack.stop()
    time.sleep(1.5)
    assert state(stack) == "stopped", "what was stopped on purpose is not started again"


def test_a_killed_supervisor_leaves_nothing_that_cannot_be_found(make_stack: Callable[..., Stack]) -> None:
    """After kill -9 of the supervisor the services run on; the next `up` starts a new one, `down` stops all."""
    stack = make_stack(supervised=True)
    stack.start_services(["example"])
    process = processes.find(stack.directory.record("example"))
    first = stack.kill(SUPERVISOR)
    assert process is not None
    assert process.alive()
    again = make_stack(supervised=True)
    second = processes.find(again.directory.record(SUPERVISOR))
    assert second is not None
    assert second.pid != first
    again.stop()
    assert not process.alive()
    assert not second.alive()


def test_stop_part_is_not_undone_by_the_supervisor(make_stack: Callable[..., Stack]) -> None:
    """A part that was stopped by name stays stopped."""
    stack = make_stack(supervised=True)
    stack.start_services(["example"])
    stack.stop_part("example")
    time.sleep(1.5)
    assert state(stack) == "stopped"


def test_a_part_that_was_stopped_meanwhile_is_not_started_again(make_stack: Callable[..., Stack]) -> None:
    """The supervisor saw it end, then waited for the lock that `stop_part` held: it asks again whether it is wanted."""
    stack = make_stack()
    stack.start_services(["example"])
    stack.stop_part("example")
    assert stack.start_again("example") is False
    assert state(stack) == "stopped"


def test_a_busy_directory_is_waited_for_and_then_reported(make_stack: Callable[..., Stack]) -> None:
    """The supervisor's attempt steps back while another command changes the directory."""
    stack = make_stack()
    with stack.directory.lock(), pytest.raises(StackBusy):
        stack.start_again("example")
