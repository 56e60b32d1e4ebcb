"""The local stack as one object: Kafka, Postgres, a place for tokens, and Keyfold's services, in one data directory.

What runs is recorded in the data directory, so any process may start, find, kill or stop any part, and a `Stack` made
anew after a crash sees what its predecessor left. All calls block; from asyncio, use `asyncio.to_thread`. The root
ceremony and the tokens themselves belong to others: call `start_infrastructure`, run the ceremony, `set_deployment`,
then `start_services`.
"""

import json
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from keyfold.config import Config, load_config, save_config, write_private
from keyfold.embedded import kafka, kafka_fence, postgres, processes
from keyfold.embedded.directory import DataDirectory
from keyfold.embedded.errors import DataDirectoryError, PartFailed
from keyfold.embedded.parts import Part, Report, start_part, stop_part
from keyfold.embedded.services import SERVICES, service_part, services_of
from keyfold.embedded.softhsm import prepare_softhsm, softhsm_module

SUPERVISOR: Final = "supervisor"
POSTGRES_DSN: Final = "KEYFOLD_POSTGRES_DSN"
POSTGRES_READER_DSN: Final = "KEYFOLD_POSTGRES_READER_DSN"
_IDENTITIES: Final = "identities"
_INFRASTRUCTURE: Final = (kafka.NAME, postgres.NAME)
# How each part is asked to end, and for how long: Postgres takes SIGINT as "end sessions, write a checkpoint".
_STOP: Final = {kafka.NAME: (signal.SIGTERM, 30.0), postgres.NAME: (signal.SIGINT, 30.0)}

State = Literal["running", "starting", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part as it is now. `failed` is a part that should run and does not; `restarts` counts the supervisor's."""

    name: str
    state: State
    pid: int | None
    restarts: int
    log: Path


class Stack:
    """One embedded deployment.

    `supervised` keeps a supervisor process beside the parts that starts again what dies; fault tests leave it off.
    `report` gets one line per long step. Ports are chosen once and remembered, unless given.
    """

    def __init__(
        self,
        data_directory: Path | str,
        *,
        supervised: bool = False,
        development: bool = False,
        report: Report | None = None,
        kafka_port: int | None = None,
        postgres_port: int | None = None,
    ) -> None:
        self.directory = DataDirectory(data_directory)
        self._supervised = supervised
        self._development = development
        self._report: Report = report or (lambda _line: None)
        self._ports = {kafka.NAME: kafka_port, postgres.NAME: postgres_port}

    @property
    def config(self) -> Config:
        """The settings as they are on disk now."""
        return load_config(self.directory.config_file)

    @property
    def config_file(self) -> Path:
        return self.directory.config_file

    @property
    def postgres_admin_dsn(self) -> str:
        """The embedded server's superuser, for making databases in tests."""
        return postgres.cluster(self.directory).admin_dsn

    def start_infrastructure(self, names: Iterable[str] = _INFRASTRUCTURE) -> Config:
        """Start Kafka and Postgres (unless another server is set) and prepare SoftHSM's place; does nothing twice."""
        self.directory.prepare()
        with self.directory.lock() as lock:
            config = self._settle_config()
            for name in names:
                self._start(name, lock)
            if self._supervised:
                self._start_supervisor(lock)
        return config

    def start_services(self, names: Iterable[str] | None = None) -> None:
        """Start services in this order, each once the one before serves; does nothing for those that run.

        Without names, all that have an identity.
        """
        with self._existing().lock() as lock:
            for name in self._services() if names is None else names:
                self._start(name, lock)
            for name in set(SERVICES).difference(self._services()) if names is None else ():
                self._report(f"{name} is left out: it has no identity; `keyfold ceremony renew` makes it, then `up`")

    def start(self, name: str) -> None:
        """Start one named part, also after `kill`."""
        with self._existing().lock() as lock:
            self._start(name, lock)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int | None:
        """Signal exactly one part's process and return its process id, or None when it does not run.

        Waits (at most 30 s) for the end of a process that is to end; a supervisor, if there is one, starts it again.
        """
        process = processes.find(self.directory.record(name))
        if process is None or not process.signal(number):
            return None
        if number not in {signal.SIGSTOP, signal.SIGCONT} and not process.wait(30.0):
            raise PartFailed(f"{name} still runs 30 s after {number.name}; see {self.directory.log(name)}")
        return process.pid

    def stop_part(self, name: str) -> None:
        """Stop one named part, and do not start it again."""
        with self._existing().lock():
            self._want(set(), but_not=name)
            self._stop(name)

    def stop(self) -> None:
        """Stop everything that was started in this data directory, and nothing else; harmless when nothing runs."""
        if not self.directory.exists():
            return
        # The supervisor first, and without the lock: it may hold it while it starts a part again.
        stop_part(self.directory, SUPERVISOR)
        with self.directory.lock():
            (self.directory.run / "wanted.json").unlink(missing_ok=True)
            stop_part(self.directory, SUPERVISOR)
            for name in self._recorded():
                self._stop(name)

    def reset(self) -> None:
        """Stop everything and delete the data directory; refuses a directory that is not Keyfold's."""
        self.stop()
        self.directory.delete()

    def status(self) -> list[PartStatus]:
        """Every part that is known here, in starting order."""
        wanted = self.wanted()
        names = dict.fromkeys((*_INFRASTRUCTURE, *self._services(), *sorted(wanted), SUPERVISOR))
        return [self._status_of(name, name in wanted) for name in names]

    def wanted(self) -> frozenset[str]:
        """The parts that were started and not stopped: what the supervisor keeps running."""
        try:
            return frozenset(json.loads((self.directory.run / "wanted.json").read_text()))
        except FileNotFoundError:
            return frozenset()

    def start_again(self, name: str) -> bool:
        """Start a part that ended by itself, if it is still wanted; the supervisor's call."""
        with self.directory.lock(wait_s=1.0) as lock:
            if name not in self.wanted() or processes.find(self.directory.record(name)) is not None:
                return False
            self._start(name, lock)
            return True

    def set_deployment(self, fingerprint: str) -> Config:
        """Write the root identity's fingerprint, which the ceremony has made, into the settings."""
        config = Config.model_validate({**self.config.model_dump(), "deployment": fingerprint})
        save_config(config)
        return config

    def _existing(self) -> DataDirectory:
        if not self.directory.exists():
            raise DataDirectoryError(f"{self.directory.path} is not a Keyfold data directory; run `keyfold up` first")
        return self.directory

    def _settle_config(self) -> Config:
        """Make the settings, or correct the places in existing ones (the directory may have been moved)."""
        home = self.directory.path
        places = {
            "data_directory": home,
            "bootstrap_servers": kafka.bootstrap_servers(self.directory, self._ports[kafka.NAME]),
            "pkcs11_module": softhsm_module(),
            "softhsm2_conf": prepare_softhsm(home / "softhsm"),
            "pins_directory": home / "pins",
            "identities_directory": home / _IDENTITIES,
            **self._postgres_places(),
        }
        for directory in (home / "pins", home / _IDENTITIES):
            directory.mkdir(mode=0o700, exist_ok=True)
        known = self.config.model_dump() if self.config_file.exists() else {"development": self._development}
        config = Config.model_validate({**known, **places})
        save_config(config)
        return config

    def _postgres_places(self) -> dict[str, str]:
        if (other := self._other_postgres()) is not None:
            return {"postgres_dsn": other[0], "postgres_reader_dsn": other[1]}
        place = postgres.cluster(self.directory, self._ports[postgres.NAME])
        return {"postgres_dsn": place.dsn(postgres.OWNER), "postgres_reader_dsn": place.dsn(postgres.READER)}

    def _other_postgres(self) -> tuple[str, str] | None:
        """The connection strings of an existing server: from the environment, or what this directory began with."""
        if dsn := os.environ.get(POSTGRES_DSN):
            return dsn, os.environ.get(POSTGRES_READER_DSN, dsn)
        if self.config_file.exists() and not self.directory.has_port(postgres.NAME):
            return self.config.postgres_dsn, self.config.postgres_reader_dsn
        return None

    def _services(self) -> tuple[str, ...]:
        return services_of(self.directory.path / _IDENTITIES)

    def _start(self, name: str, lock: int) -> None:
        if name == postgres.NAME and self._other_postgres() is not None:
            return
        running = processes.find(self.directory.record(name)) is not None
        if name == kafka.NAME and not running:
            stop_part(self.directory, kafka_fence.NAME)  # left by whoever crashed while it ran
        part = self._describe(name, running)
        if not running:
            self._report(f"starting {name}")
        if name == kafka.NAME and not running:
            self._fence_killed_broker(lock)
        start_part(self.directory, part, lock)
        if name == postgres.NAME:
            postgres.ensure_roles(postgres.cluster(self.directory))
        # If we crash before this line the part runs, is on record, and is not yet kept running by the supervisor.
        self._want({name})

    def _fence_killed_broker(self, lock: int) -> None:
        """If we crash here, the controller is left alone; the next start stops it first."""
        if (fencing := kafka.fencing(self.directory)) is not None:
            start_part(self.directory, fencing, lock)
            stop_part(self.directory, kafka_fence.NAME)

    def _describe(self, name: str, running: bool) -> Part:
        if name == kafka.NAME:
            self._require_free(name, kafka.ports(self.directory), running)
            return kafka.prepare(self.directory, self._report)
        if name == postgres.NAME:
            self._require_free(name, (postgres.cluster(self.directory).port,), running)
            return postgres.prepare(self.directory, self._report)
        return service_part(self.config, self.config_file, name)

    def _require_free(self, name: str, ports: tuple[int, ...], running: bool) -> None:
        for port in () if running else ports:
            self.directory.require_free(name, port)

    def _start_supervisor(self, lock: int) -> None:
        argv = (sys.executable, "-P", "-m", "keyfold.embedded", str(self.directory.path))
        start_part(self.directory, Part(SUPERVISOR, argv, ready=lambda _process: True), lock)

    def _stop(self, name: str) -> None:
        number, grace_s = _STOP.get(name, (signal.SIGTERM, 15.0))
        if processes.find(self.directory.record(name)) is not None:
            self._report(f"stopping {name}")
        stop_part(self.directory, name, number, grace_s)

    def _recorded(self) -> list[str]:
        """Parts with a record, in stopping order: services before what they need, the broker before nothing."""
        names = {record.stem for record in self.directory.run.glob("*.pid")}
        first = sorted(names - {*_INFRASTRUCTURE, *SERVICES})
        return first + [name for name in (*reversed(SERVICES), *reversed(_INFRASTRUCTURE)) if name in names]

    def _want(self, names: set[str], but_not: str | None = None) -> None:
        wanted = (self.wanted() | names) - {but_not}
        write_private(self.directory.run / "wanted.json", json.dumps(sorted(wanted)))

    def _status_of(self, name: str, wanted: bool) -> PartStatus:
        process = processes.find(self.directory.record(name))
        ready = name not in SERVICES or (self.directory.run / f"{name}.ready").exists()
        state: State = "stopped"
        if process is not None:
            state = "running" if ready else "starting"
        elif wanted:
            state = "failed"
        restarts = _restarts(self.directory).get(name, 0)
        return PartStatus(name, state, process.pid if process else None, restarts, self.directory.log(name))


def _restarts(directory: DataDirectory) -> dict[str, int]:
    try:
        counts: dict[str, int] = json.loads((directory.run / "restarts.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return counts
