"""A program: runs Kafka or Postgres in a container for as long as it lives itself, as a part of an embedded stack.

`container_part.py FILE`, where FILE is a JSON object: `image`, `name` (of the container and of its volume), `port` (the
same inside and outside, on 127.0.0.1), `environment`, `command`, `data` (where the volume goes), `secret` (null, or a
file and where it goes), `probe` (a command that succeeds inside when it serves), `ready` (a file that then gets our
process id).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import docker
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

LABEL = "keyfold-test"
_PATIENCE_S, _STOP_S, _LOOK_S = 90, 25, 0.3


class Told(BaseException):
    """A signal to end."""


def _end(_number: int, _frame: FrameType | None) -> None:
    raise Told


def main(file: str) -> int:
    """Return 0 after SIGTERM or SIGINT, 1 where the container ended by itself or never served."""
    wanted = json.loads(Path(file).read_text())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    testcontainers_config.ryuk_disabled = True
    container = _described(wanted)
    try:
        _remove_left(wanted["name"])
        container.start()
        _await(container, wanted["probe"])
        Path(wanted["ready"]).write_text(f"{os.getpid()}\n")
        while _runs(container):
            time.sleep(_LOOK_S)
    except Told:
        if _runs(container):
            container.get_wrapped_container().stop(timeout=_STOP_S)
        return 0
    finally:
        container.stop(delete_volume=False)
    return 1


def _described(wanted: dict[str, object]) -> DockerContainer:
    port = int(str(wanted["port"]))
    container = DockerContainer(str(wanted["image"]), name=str(wanted["name"]), env=wanted["environment"])
    container.with_kwargs(labels={LABEL: str(wanted["name"])})
    container.ports[f"{port}/tcp"] = ("127.0.0.1", port)
    container.with_volume_mapping(str(wanted["name"]), str(wanted["data"]), "rw")
    if wanted["secret"]:
        container.with_volume_mapping(*wanted["secret"], "ro")
    return container.with_command(wanted["command"]) if wanted["command"] else container


def _remove_left(name: str) -> None:
    """Remove the container of a predecessor that was killed."""
    for left in docker.from_env().containers.list(all=True, filters={"label": f"{LABEL}={name}"}):
        left.remove(force=True)


def _await(container: DockerContainer, probe: list[str]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not _runs(container) or container.exec(probe).exit_code:
        if container.status == "exited" or time.monotonic() > deadline:
            out, error = container.get_logs()
            sys.exit(f"the container does not serve: {(error or out).decode(errors='replace')[-500:]}")
        time.sleep(_LOOK_S)


def _runs(container: DockerContainer) -> bool:
    wrapped = container.get_wrapped_container()
    wrapped.reload()
    return bool(wrapped.status == "running")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
