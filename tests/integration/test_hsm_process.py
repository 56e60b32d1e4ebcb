"""The worker as a process, on a real Kafka and real tokens: it starts, serves, stops when told, and comes back."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyfold.bus import BusSettings, KafkaBus
from keyfold.config import Config, ready_file
from keyfold.embedded import Stack
from keyfold.events import facts, topics

pytestmark = [pytest.mark.stack, pytest.mark.token]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """A deployment after its root ceremony, with Kafka and no service."""
    stack = Stack(tmp_path_factory.mktemp("worker") / "data", development=True)
    try:
        settings = stack.start_infrastructure()
        program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(settings.data_directory), "init"]
        subprocess.run([*program, "--existing", "--development"], check=True, capture_output=True, timeout=120)
        yield stack.config
    finally:
        stack.reset()


def start(config: Config) -> subprocess.Popen[str]:
    """Start a worker; return when it says that it serves."""
    ready_file(config, "hsm").unlink(missing_ok=True)
    program = [sys.executable, "-m", "keyfold.hsm", "--config", str(config.path)]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not ready_file(config, "hsm").exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    """Signal it; return its exit code and what it logged."""
    process.send_signal(number)
    _, log = process.communicate(timeout=10)
    return process.returncode, log


def sealing_keys(config: Config) -> list[str]:
    """What partition 0 has published."""

    async def read() -> list[str]:
        reader = KafkaBus(BusSettings(bootstrap_servers=config.bootstrap_servers)).reader(
            topics.EVENTS, 0, committed=True
        )
        await reader.start(None)
        events = [facts.parse_event(r.value or b"") async for batch in reader.read_to_end() for r in batch]
        await reader.stop()
        return [event.data.sealing_key for event in events if isinstance(event, facts.SealingKeyPublished)]

    return asyncio.run(read())


def test_it_serves_until_it_is_told_to_stop(config: Config) -> None:
    """Ready within a minute, gone within ten seconds, and the next one goes on with the same sealing key; also after
    a kill."""
    process = start(config)
    first = sealing_keys(config)
    assert len(first) == 1
    code, log = stop(process)
    own = [line for line in map(json.loads, log.splitlines()) if line["action"] != "library-log"]
    assert (code, [line for line in own if line["level"] not in {"info", "warning"}]) == (0, [])
    assert {line["action"] for line in own} >= {"partition-owned"}
    killed = start(config)
    assert stop(killed, signal.SIGKILL)[0] == -signal.SIGKILL
    process = start(config)
    assert sealing_keys(config) == first
    assert stop(process, signal.SIGINT)[0] == 0


def test_a_missing_pin_is_one_line(config: Config) -> None:
    """Exit code 3, the file's name, and no traceback."""
    pin: Path = config.pins_directory / "seal"
    aside = pin.rename(pin.with_name("aside"))
    try:
        program = [sys.executable, "-m", "keyfold.hsm", "--config", str(config.path)]
        done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    finally:
        aside.rename(pin)
    assert done.returncode == 3
    assert "PinUnusable" in done.stderr
    assert str(pin) in done.stderr
    assert "Traceback" not in done.stderr
