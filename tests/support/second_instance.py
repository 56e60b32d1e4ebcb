"""A second process of a service beside the one that the stack started, as an operator would add it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from tests.support.whole_system import WholeSystem

from keyfold.config import ready_file


class SecondInstance:
    """One process with `--instance 1`. `owned` reads from its log which partitions it took over."""

    def __init__(self, system: WholeSystem, service: str) -> None:
        self._system, self._service = system, service
        self._log = system.config.logs_directory / f"{service}-1.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, timeout_s: float = 60.0) -> None:
        """Start it and wait until it serves what it was given."""
        self._process = await asyncio.to_thread(self._spawn)
        ready = ready_file(self._system.config, self._service)
        async with asyncio.timeout(timeout_s):
            while _text(ready).strip() != str(self._process.pid):
                assert self._process.poll() is None, f"{self._service} 1 ended: {_text(self._log)[-2000:]}"
                await asyncio.sleep(0.1)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def owned(self) -> set[int]:
        """All partitions that it ever owned."""
        lines = (json.loads(line) for line in _text(self._log).splitlines() if line.startswith("{"))
        return {int(line["partition"]) for line in lines if line.get("action") == "partition-owned"}

    def _spawn(self) -> subprocess.Popen[bytes]:
        config = str(self._system.stack.config_file)
        command = [sys.executable, "-P", "-m", f"keyfold.{self._service}", "--config", config, "--instance", "1"]
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
