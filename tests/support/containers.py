"""The option `--backend=containers`: Kafka and Postgres of every `Stack` run in containers, for the same tests.

A stack's part is then a small program that keeps a container (`container_part`, by testcontainers) instead of the
broker or server itself; services, tokens and everything else stay local processes. `Stack.kill` kills, stops and
continues the container as well as the program. Tests of the embedded stack itself are left out: they are about local
processes.
"""

import contextlib
import hashlib
import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.support import engine

from keyfold.config import write_private
from keyfold.embedded import Stack, kafka, postgres
from keyfold.embedded.directory import DataDirectory
from keyfold.embedded.parts import Part, Report
from keyfold.embedded.processes import Process

LOCAL_ONLY = ("test_embedded.py", "test_embedded_services.py", "test_embedded_stack.py")
_PROGRAM = Path(__file__).with_name("container_part.py")
_PASSWORD = "/run/secrets/password"
_SIGNALS = {signal.SIGKILL: ("rm", "--force"), signal.SIGSTOP: ("pause",), signal.SIGCONT: ("unpause",)}


class Containers:
    """The plugin. An engine and images are asked for when the first test needs them."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._images: dict[str, str] = {}
        self._session = f"keyfoldtest-{secrets.token_hex(4)}"
        self._patch = pytest.MonkeyPatch()

    def pytest_sessionstart(self) -> None:
        """Put containers in the place of processes."""
        self._patch.setattr(kafka, "prepare", self._kafka)
        self._patch.setattr(kafka, "fencing", lambda _directory: None)
        self._patch.setattr(postgres, "prepare", self._postgres)
        kill = Stack.kill

        def killed(stack: Stack, name: str, number: signal.Signals = signal.SIGKILL) -> int | None:
            killed = kill(stack, name, number)
            if name in {kafka.NAME, postgres.NAME} and number in _SIGNALS:
                command = ["docker", *_SIGNALS[number], self._name(stack.directory, name)]
                subprocess.run(command, check=True, timeout=60, capture_output=True)
            return killed

        self._patch.setattr(Stack, "kill", killed)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what is about local processes."""
        left = [item for item in items if item.path.name in LOCAL_ONLY]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item.path.name not in LOCAL_ONLY]

    def pytest_sessionfinish(self) -> None:
        """Remove every container and volume of this session; stop the engine, if it was started for it."""
        self._patch.undo()
        if self._images:
            _remove(("ps", "--all", "--quiet", "--filter", f"name={self._session}"), ("rm", "--force"))
            _remove(("volume", "ls", "--quiet", "--filter", f"name={self._session}"), ("volume", "rm", "--force"))
        self._open.close()

    def _name(self, directory: DataDirectory, name: str) -> str:
        """Return what a part's container is called, and its volume."""
        return f"{self._session}-{hashlib.sha256(str(directory.path).encode()).hexdigest()[:12]}-{name}"

    def _kafka(self, directory: DataDirectory, _report: Report) -> Part:
        port = directory.port(kafka.NAME)
        data = Path("/var/lib/kafka/data")
        lines = kafka.server_properties(data, port, 9093).splitlines()
        settings = dict(line.split("=", 1) for line in lines)
        settings["listeners"] = f"PLAINTEXT://:{port},CONTROLLER://:9093"
        environment = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in settings.items()}
        environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"] = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
        environment["CLUSTER_ID"] = "a2V5Zm9sZC10ZXN0cy4uLg"
        environment["KAFKA_HEAP_OPTS"] = "-Xms256m -Xmx768m"
        probe = ["bash", "-c", f"</dev/tcp/127.0.0.1/{port}"]
        return self._part(directory, kafka.NAME, port, data, environment=environment, probe=probe)

    def _postgres(self, directory: DataDirectory, _report: Report) -> Part:
        place = postgres.cluster(directory)
        place.home.mkdir(mode=0o700, exist_ok=True)
        password = place.home / "initial-password"
        write_private(password, postgres._password(place, "postgres") + "\n")
        return self._part(
            directory,
            postgres.NAME,
            place.port,
            Path("/var/lib/postgresql"),
            environment={"POSTGRES_USER": "postgres", "POSTGRES_PASSWORD_FILE": _PASSWORD},
            command=f"postgres -c port={place.port} -c timezone=UTC -c log_timezone=UTC",
            secret=(str(password), _PASSWORD),
            probe=["pg_isready", "--host", "127.0.0.1", "--port", str(place.port)],
        )

    def _part(
        self,
        directory: DataDirectory,
        name: str,
        port: int,
        data: Path,
        *,
        environment: dict[str, str],
        probe: list[str],
        command: str | None = None,
        secret: tuple[str, str] | None = None,
    ) -> Part:
        if not self._images:
            self._open.enter_context(engine.brought())
            self._images = engine.images("kafka", "postgres")
        home = directory.path / name
        home.mkdir(mode=0o700, exist_ok=True)
        ready = directory.run / f"{name}.ready"
        wanted = {
            "image": self._images[f"KEYFOLD_{name.upper()}_IMAGE"],
            "name": self._name(directory, name),
            "port": port,
            "environment": environment,
            "command": command,
            "data": str(data),
            "secret": secret,
            "probe": probe,
            "ready": str(ready),
        }
        described = home / "container.json"
        write_private(described, json.dumps(wanted))
        return Part(
            name=name,
            argv=(sys.executable, "-P", str(_PROGRAM), str(described)),
            ready=lambda process: _says_ready(ready, process),
            ready_timeout_s=120.0,
        )


def _says_ready(ready: Path, process: Process) -> bool:
    try:
        return ready.read_text().strip() == str(process.pid)
    except OSError:
        return False


def _remove(listing: Iterable[str], removal: Iterable[str]) -> None:
    found = subprocess.run(["docker", *listing], capture_output=True, text=True, timeout=60, check=False)
    if names := found.stdout.split():
        subprocess.run(["docker", *removal, *names], capture_output=True, timeout=120, check=False)
