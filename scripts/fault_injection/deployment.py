"""A deployment to be broken: three brokers, Postgres, SoftHSM, two policy processors, two HSM workers, the rest once.

Each service process has a name (`policy-0`), settings of its own, and its own way through the proxies to each broker
(the projector to Postgres, too). Nothing starts again by itself. All calls block but those of `WholeSystem`.
"""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from psycopg.conninfo import make_conninfo
from tests.support.whole_system import WholeSystem

from fault_injection.cluster import NODES, Cluster, node_name
from fault_injection.proxy import Proxies
from keyfold.config import Config, save_config
from keyfold.embedded import postgres, processes
from keyfold.embedded.parts import Part, start_part, stop_part
from keyfold.embedded.services import service_part

SERVICES: Final = ("policy-0", "policy-1", "hsm-0", "hsm-1", "notary-0", "projector-0", "scheduler-0")
ANALYTICS: Final = "analytics-0"
"""Runs where it is asked for."""
SPARES: Final = ("policy-2", "hsm-2", "projector-1")
"""Processes that only join for a while."""
POSTGRES: Final = postgres.NAME
BROKERS: Final = tuple(map(node_name, NODES))
READY_S: Final = 120.0
_ENDING_S: Final = 20.0
_STOP: Final = {POSTGRES: (signal.SIGINT, 30.0), **dict.fromkeys(BROKERS, (signal.SIGTERM, 60.0))}


class Deployment(WholeSystem):
    """One data directory and what runs there."""

    def __init__(self, directory: Path, services: Sequence[str] = SERVICES) -> None:
        super().__init__(directory)
        self.services = tuple(services)
        self.directory = self.stack.directory
        self.environments: dict[str, dict[str, str]] = {}
        self._parts: dict[str, Part] = {}

    @property
    def tokens(self) -> Path:
        """Where SoftHSM keeps its tokens."""
        return self.directory.path / "softhsm" / "tokens"

    def prepare(self) -> None:
        """Make the data directory, so that file systems can be mounted in it before `begin`."""
        self.directory.prepare()
        self.cluster = Cluster(self.directory, (*self.services, *SPARES))

    def begin(self) -> None:
        """Start everything, with the root ceremony in between."""
        self.cluster.format()
        self.start_all(BROKERS)
        config = self.stack.start_infrastructure([POSTGRES])
        places = {"bootstrap_servers": self.cluster.bootstrap_servers(), "replication_factor": len(NODES)}
        save_config(config.model_copy(update=places))
        self.proxies = Proxies(self._routes())
        program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(self.directory.path), "init"]
        done = subprocess.run(
            [*program, "--existing", "--development"], capture_output=True, text=True, timeout=180, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the root ceremony failed: {done.stderr[-1000:]}")
        for name in (*self.services, *SPARES):
            self._settle(name)
        self.start_all(self.services)

    def start_process(self, name: str) -> None:
        """Start one process, and return when it serves."""
        self.start_all([name])

    def start_all(self, names: Sequence[str]) -> None:
        """Start processes at the same time, and return when all of them serve. Does nothing to those that run."""
        names = [name for name in names if not self.runs(name)]
        self.spawn(names)
        deadline = time.monotonic() + READY_S
        for name in names:
            self.await_ready(name, deadline - time.monotonic())

    def spawn(self, names: Sequence[str]) -> None:
        """Start processes without waiting for them."""
        for name in names:
            if self.runs(name):
                continue
            self._parts[name] = part = self._part(name)
            with self.directory.lock() as lock:
                start_part(self.directory, replace(part, ready=lambda _process: True), lock)

    def await_ready(self, name: str, timeout_s: float = READY_S) -> None:
        """Return when a process serves. Raises RuntimeError where it ends or takes too long."""
        part, deadline = self._parts[name], time.monotonic() + timeout_s
        while True:
            process = processes.find(self.directory.record(name))
            last = processes.last_line(self.directory.log(name))
            if process is None:
                raise RuntimeError(f"{name} ended: {last}")
            if part.ready(process):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not serve; it said: {last}")
            time.sleep(0.05)

    def runs(self, name: str) -> bool:
        """Whether a process runs."""
        return processes.find(self.directory.record(name)) is not None

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one process; kill -9 also waits for its end."""
        self.stack.kill(name, number)

    def stop_process(self, name: str) -> float:
        """Stop one process in order; returns how many seconds that took."""
        began = time.monotonic()
        number, grace_s = _STOP.get(name, (signal.SIGTERM, 30.0))
        with self.directory.lock():
            stop_part(self.directory, name, number, grace_s)
        return time.monotonic() - began

    def cut(self, name: str, *targets: str) -> None:
        """Let nothing pass between a process and these brokers (or Postgres)."""
        for target in targets:
            self.proxies.cut(f"{name}/{target}")

    def heal(self, name: str, *targets: str) -> None:
        """End a cut."""
        for target in targets:
            self.proxies.heal(f"{name}/{target}")

    def end(self, *, keep: bool) -> None:
        """Stop everything; without `keep`, delete the data directory."""
        for name in (*self.services, *SPARES):
            self.stack.kill(name, signal.SIGCONT)
            self.stop_process(name)
        if hasattr(self, "proxies"):
            self.proxies.stop()
        self._end_brokers(signal.SIGTERM if keep else signal.SIGKILL)
        self.stack.stop()
        if not keep:
            shutil.rmtree(self.directory.path, ignore_errors=True)

    def _end_brokers(self, number: signal.Signals) -> None:
        """End them together: the last one would wait for a majority of controllers."""
        running = [each for name in BROKERS if (each := processes.find(self.directory.record(name))) is not None]
        for process in running:
            process.signal(signal.SIGCONT)
            process.signal(number)
        deadline = time.monotonic() + _ENDING_S
        for process in running:
            if not process.wait(max(0.0, deadline - time.monotonic())):
                process.kill_session()

    def logs(self) -> list[Path]:
        """What every process said."""
        return sorted(self.directory.logs.glob("*.log*"))

    def _routes(self) -> dict[str, tuple[int, int]]:
        cluster, names = self.cluster, (*self.services, *SPARES)
        routes = {
            f"{name}/{node_name(node)}": (cluster.advertised(name, node), cluster.listener(name, node))
            for name in names
            for node in NODES
        }
        server = postgres.cluster(self.directory).port
        return routes | {
            f"{name}/{POSTGRES}": (self.directory.port(f"proxy/{name}/{POSTGRES}"), server) for name in names
        }

    def _settle(self, name: str) -> None:
        """Write a process's own settings: its places for records, its way to brokers and Postgres."""
        home = self.directory.path / "instances" / name
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        port = self.directory.port(f"proxy/{name}/{POSTGRES}")
        dsns = {
            field: make_conninfo(getattr(self.config, field), port=port)
            for field in ("postgres_dsn", "postgres_reader_dsn")
        }
        servers = self.cluster.bootstrap_servers(name)
        save_config(self.config.model_copy(update={"data_directory": home, "bootstrap_servers": servers, **dsns}))

    def _instance(self, name: str) -> Config:
        return self.config.model_copy(update={"data_directory": self.directory.path / "instances" / name})

    def _part(self, name: str) -> Part:
        if name in BROKERS:
            return self.cluster.part(NODES[BROKERS.index(name)])
        if name == POSTGRES:
            return postgres.prepare(self.directory, lambda _line: None)
        service, _, number = name.partition("-")
        config = self._instance(name)
        part = service_part(config, config.path, service)
        program = part.argv if number == "0" else (*part.argv, "--instance", number)
        return replace(part, name=name, argv=program, environment=self.environments.get(name, {}))
