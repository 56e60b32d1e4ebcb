"""What a worker process says of its token, in a file that programs on this machine read: `run/hsm-<instance>.token`.

One JSON object: `pid` and `instance` of the process, `state` and `code` (see `keyfold.hsm.health`), `reason` in words,
`since_ms` (when this became so, milliseconds since 1970), `sessions` and `sessions_wished`. It is replaced at every
change and removed when the process ends in good order: a reader compares the pid. It holds no secret.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keyfold.config import Config, write_private


def token_file(config: Config, instance: str) -> Path:
    """The file of the worker process with this instance name."""
    return config.run_directory / f"hsm-{instance}.token"


def publisher(config: Config, instance: str, clock_ms: Callable[[], int]) -> Callable[[dict[str, Any]], None]:
    """Return what writes the state whenever it changes."""

    def publish(facts: dict[str, Any]) -> None:
        config.run_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = {"pid": os.getpid(), "instance": instance, "since_ms": clock_ms(), **facts}
        write_private(token_file(config, instance), json.dumps(told) + "\n")

    return publish
