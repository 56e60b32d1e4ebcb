"""The data directory: what makes a directory ours, the lock on it, and the ports it remembers.

One directory holds everything of an embedded deployment. A marker file tells it from any other directory, so that
`reset` can never delete something else. Nothing here starts a process.
"""

import fcntl
import json
import os
import random
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keyfold.config import CONFIG_FILE, write_private
from keyfold.embedded.errors import DataDirectoryError, NoDiskSpace, PortInUse, StackBusy

_MARKER: Final = ".keyfold-data"
_PORTS_FILE: Final = "ports.json"
_MINIMUM_FREE_BYTES: Final = 512 * 1024 * 1024
# Below Linux's ephemeral range, so that no outgoing connection takes a remembered port while the stack is down.
_PORT_RANGE: Final = range(20_000, 32_000)


class DataDirectory:
    """Paths and small persistent choices of one embedded deployment."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().absolute()
        self.run = self.path / "run"
        self.logs = self.path / "logs"
        self.config_file = self.path / CONFIG_FILE

    def exists(self) -> bool:
        """Whether this is a Keyfold data directory already."""
        return (self.path / _MARKER).is_file()

    def prepare(self) -> None:
        """Create the directory (0700) or check that it is ours, writable and not almost full."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.exists():
                self._claim()
            for directory in (self.run, self.logs):
                directory.mkdir(mode=0o700, exist_ok=True)
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            raise DataDirectoryError(
                f"the data directory {self.path} cannot be used ({error.strerror}); choose one that you may write to"
            ) from None
        if free < _MINIMUM_FREE_BYTES:
            raise NoDiskSpace(f"only {free >> 20} MiB are free for {self.path}; make room for at least 512 MiB")

    def delete(self) -> None:
        """Delete the directory and all that is in it; refuses one that is not a Keyfold data directory."""
        if not self.path.exists():
            return
        if self.path.is_symlink() or not self.exists():
            raise DataDirectoryError(f"{self.path} is not a Keyfold data directory (no {_MARKER} in it); left alone")
        for entry in self.path.iterdir():  # the marker last: an interrupted reset can be repeated
            if entry.name != _MARKER:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        (self.path / _MARKER).unlink()
        self.path.rmdir()

    @contextmanager
    def lock(self, wait_s: float = 60.0) -> Iterator[int]:
        """Hold the directory for one change of what runs; yields the lock's file descriptor for `processes.spawn`.

        It is let go by closing, never by unlocking: a child that still has to write its record keeps it held.
        """
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            deadline = time.monotonic() + wait_s
            while not _try_lock(handle):
                if time.monotonic() > deadline:
                    raise StackBusy(f"another keyfold command is busy with {self.path}; wait for it or end it")
                time.sleep(0.1)
            yield handle
        finally:
            os.close(handle)

    def record(self, name: str) -> Path:
        return self.run / f"{name}.pid"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def port(self, name: str, wanted: int | None = None) -> int:
        """The port of part `name`: as wanted, or as remembered, or a free one that is remembered from now on."""
        ports = self._ports()
        chosen = wanted or ports.get(name) or _free_port(set(ports.values()))
        if ports.get(name) != chosen:
            write_private(self.path / _PORTS_FILE, json.dumps({**ports, name: chosen}, indent=2) + "\n")
        return chosen

    def has_port(self, name: str) -> bool:
        """Whether part `name` was ever given a port here."""
        return name in self._ports()

    def require_free(self, name: str, port: int) -> None:
        """Refuse to start part `name` where another program listens."""
        if not _is_free(port):
            raise PortInUse(
                f"port {port} of {name} is in use by another program; end it, or take {name} out of "
                f"{self.path / _PORTS_FILE} to have another port chosen"
            )

    def _ports(self) -> dict[str, int]:
        try:
            ports: dict[str, int] = json.loads((self.path / _PORTS_FILE).read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            raise DataDirectoryError(f"{self.path / _PORTS_FILE} is damaged; correct or remove it") from None
        return ports

    def _claim(self) -> None:
        if any(self.path.iterdir()):
            raise DataDirectoryError(f"{self.path} is not empty and not a Keyfold data directory; choose another")
        (self.path / _MARKER).write_text("This directory belongs to Keyfold; `keyfold reset` deletes it.\n")


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port(taken: set[int]) -> int:
    for port in random.sample(_PORT_RANGE, 200):
        if port not in taken and _is_free(port):
            return port
    raise PortInUse("no free port was found between 20000 and 32000 on 127.0.0.1; end what occupies them")
