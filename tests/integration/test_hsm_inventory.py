"""The inventory of a real deployment, beside a running worker; and what that worker says of its token."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from keyfold.config import Config, ready_file
from keyfold.embedded import Stack
from keyfold.hsm.status import token_file

pytestmark = [pytest.mark.stack, pytest.mark.token]

STRAY = """
import os, sys
from pathlib import Path
from keyfold.token import keys, load_module, open_token
with open_token(load_module(Path(sys.argv[1])), "kms", Path(sys.argv[2])) as token, token.manager() as session:
    keys.create_envelope_key(session, b"stray", "stray")
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """A deployment after its root ceremony, with Kafka and no service."""
    stack = Stack(tmp_path_factory.mktemp("inventory") / "data", development=True)
    try:
        settings = stack.start_infrastructure()
        program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(settings.data_directory), "init"]
        subprocess.run([*program, "--existing", "--development"], check=True, capture_output=True, timeout=120)
        yield stack.config
    finally:
        stack.reset()


@pytest.fixture(scope="module")
def running(config: Config) -> Iterator[subprocess.Popen[str]]:
    """A worker that serves."""
    program = [sys.executable, "-m", "keyfold.hsm", "--config", str(config.path)]
    process = subprocess.Popen(program, stderr=subprocess.DEVNULL, text=True)
    try:
        deadline = time.monotonic() + 60
        while not ready_file(config, "hsm").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait(10)


def take(config: Config) -> tuple[int, dict[str, Any], str]:
    """Run the program; return exit code, report and what it logged."""
    program = [sys.executable, "-m", "keyfold.hsm", "inventory", "--config", str(config.path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_a_fresh_deployment_agrees(config: Config, running: subprocess.Popen[str]) -> None:
    """Beside the worker, which goes on; one sealing key, one storage epoch."""
    code, report, log = take(config)
    assert (code, report["ok"], report["findings"]) == (0, True, []), log
    assert (report["sealing_keys"], report["epochs"]) == (1, [1])
    assert running.poll() is None


def test_a_stray_key_is_reported(config: Config, running: subprocess.Popen[str]) -> None:
    """Exit code 4, and the key by its CKA_ID."""
    del running
    conf = {"SOFTHSM2_CONF": str(config.softhsm2_conf)}
    program = [sys.executable, "-c", STRAY, str(config.pkcs11_module), str(config.pins_directory / "kms")]
    subprocess.run(program, check=True, timeout=60, env={**os.environ, **conf})
    code, report, _ = take(config)
    assert code == 4
    assert [(each["kind"], each["subject"]) for each in report["findings"]] == [("orphan", "stray")]


def test_without_its_pin_it_says_so(config: Config) -> None:
    """Exit code 3, the error as JSON, no traceback."""
    pin = config.pins_directory / "seal"
    aside = pin.rename(pin.with_name("aside"))
    try:
        code, report, log = take(config)
    finally:
        aside.rename(pin)
    assert (code, report["error"]["code"]) == (3, "PinUnusable")
    assert "Traceback" not in log


def test_the_worker_says_how_its_token_is(config: Config, running: subprocess.Popen[str]) -> None:
    """Readable by its owner only; gone when the worker ended in good order."""
    told = json.loads(token_file(config, "0").read_text())
    assert (told["pid"], told["state"], told["code"]) == (running.pid, "Healthy", "")
    assert token_file(config, "0").stat().st_mode & 0o077 == 0
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 0
    assert not token_file(config, "0").exists()
