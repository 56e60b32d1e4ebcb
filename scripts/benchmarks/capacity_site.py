"""A deployment for measuring capacity: one broker or three, services without a supervisor, any number of workers.

`policy-0`, `hsm-0` and so on are processes; each has its record and its log under that name. All calls block. Only
processes that were started here are stopped.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from fault_injection.cluster import NODES, Cluster, node_name

from benchmarks.capacity_points import WORKERS
from keyfold.config import Config, save_config
from keyfold.embedded import Stack, postgres, processes
from keyfold.embedded.parts import Part, start_part, stop_part
from keyfold.embedded.services import service_part

SINGLE: Final = ("notary", "projector", "scheduler")
_SETTLED_S: Final = 60.0
_POLL_S: Final = 0.1
_SLOW_COMPILER: Final = "-XX:TieredStopAtLevel=1"


class Site:
    """One data directory and what runs there."""

    def __init__(self, directory: Path, partitions: int, brokers: int) -> None:
        self.stack = Stack(directory, development=True)
        self.partitions, self.brokers = partitions, brokers
        self.workers = 0

    @property
    def config(self) -> Config:
        """The settings on disk."""
        return self.stack.config

    @property
    def parts(self) -> dict[str, list[int]]:
        """The processes of each part, by their ids."""
        records = {path.stem: processes.find(path) for path in self.stack.directory.run.glob("*.pid")}
        found: dict[str, list[int]] = {}
        for name, process in sorted(records.items()):
            if process is not None:
                found.setdefault(name.partition("-")[0], []).append(process.pid)
        return found

    def begin(self) -> None:
        """Start brokers and Postgres, hold the root ceremony, start everything once."""
        if self.brokers == 1:
            self.stack.start_infrastructure()
            self._settle(replication_factor=1)
        else:
            self._start_cluster()
        program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(self.config.data_directory), "init"]
        done = subprocess.run(
            [*program, "--existing", "--development"], capture_output=True, text=True, timeout=180, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the root ceremony failed: {done.stderr[-1000:]}")
        self.scale(1)
        for name in SINGLE:
            self._start(name)

    def scale(self, workers: int) -> None:
        """Start policy processors and HSM workers until there are so many of each, and wait until they share."""
        for number in range(self.workers, workers):
            for name in WORKERS:
                # Whoever comes after all partitions are shared out stands by, and is never ready.
                awaited = number < self.partitions
                self._start(name, f"{name}-{number}", "--instance", str(number), awaited=awaited)
        self.workers = max(self.workers, workers)
        deadline = time.monotonic() + _SETTLED_S
        while not all(map(self._shared, WORKERS)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the workers do not share: {[self.assigned(name) for name in WORKERS]}")
            time.sleep(_POLL_S)

    def assigned(self, service: str) -> list[set[int]]:
        """Return the partitions of each process of a service, as it was told last."""
        logs = (self.stack.directory.log(f"{service}-{number}") for number in range(self.workers))
        return [last_assignment(log.read_text()) for log in logs]

    def busiest(self, service: str) -> int:
        """Return how many partitions with keys (all but 0) the process has that has most of them."""
        return max(len(each - {0}) for each in self.assigned(service))

    def pids(self, service: str) -> dict[str, int]:
        """Return a service's processes by name. Raises RuntimeError where one has ended."""
        found = {}
        for number in range(self.workers):
            name = f"{service}-{number}"
            process = processes.find(self.stack.directory.record(name))
            if process is None:
                raise RuntimeError(f"{name} ended: {processes.last_line(self.stack.directory.log(name))}")
            found[name] = process.pid
        return found

    def end(self) -> None:
        """Stop everything and delete the directory."""
        if not self.stack.directory.exists():
            return
        services = [path.stem for path in self.stack.directory.run.glob("*.pid")]
        for name in services:
            if name.partition("-")[0] in {*WORKERS, *SINGLE}:
                stop_part(self.stack.directory, name)
        for name in services:
            # Together and at once: the last broker would wait for a majority of controllers.
            if name.startswith("kafka-"):
                stop_part(self.stack.directory, name, signal.SIGKILL)
        self.stack.reset()

    def _shared(self, service: str) -> bool:
        logs = (self.stack.directory.log(f"{service}-{number}").read_text() for number in range(self.workers))
        if not all(f"synced group keyfold-{service}" in log for log in logs):
            return False
        assigned = self.assigned(service)
        counts = sum(map(len, assigned))
        return counts == self.partitions and set().union(*assigned) == set(range(self.partitions))

    def _start(self, service: str, name: str = "", *words: str, awaited: bool = True) -> None:
        part = service_part(self.config, self.stack.config_file, service)
        part = replace(part, name=name or service, argv=(*part.argv, *words))
        if not awaited:
            part = replace(part, ready=lambda _process: True)
        with self.stack.directory.lock() as lock:
            start_part(self.stack.directory, part, lock)

    def _settle(self, **places: object) -> None:
        save_config(self.config.model_copy(update={"partitions": self.partitions, **places}))

    def _start_cluster(self) -> None:
        directory = self.stack.directory
        directory.prepare()
        cluster = Cluster(directory, ())
        cluster.format()
        with directory.lock() as lock:
            for node in NODES:
                start_part(directory, replace(_compiled(cluster.part(node)), ready=lambda _process: True), lock)
        deadline = time.monotonic() + _SETTLED_S
        for node in NODES:
            while not cluster.part(node).ready(processes.find(directory.record(node_name(node)))):  # type: ignore[arg-type]
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{node_name(node)} does not serve")
                time.sleep(_POLL_S)
        self.stack.start_infrastructure([postgres.NAME])
        self._settle(bootstrap_servers=cluster.bootstrap_servers(), replication_factor=len(NODES))


@contextmanager
def site(directory: Path, partitions: int, brokers: int = 1) -> Iterator[Site]:
    """Begin a deployment, and remove it afterwards."""
    made = Site(directory, partitions, brokers)
    try:
        made.begin()
        yield made
    finally:
        made.end()


def _compiled(part: Part) -> Part:
    """Let a broker's code be compiled as well as the single broker's is: the cluster of fault injection starts fast."""
    return replace(part, argv=tuple(word for word in part.argv if word != _SLOW_COMPILER))


def last_assignment(log: str) -> set[int]:
    """Return the partitions that a process was told last, from what it logged; none where it was told nothing yet."""
    lines = [json.loads(line) for line in log.splitlines() if '"assignment"' in line]
    return set(lines[-1]["partitions"]) if lines else set()
