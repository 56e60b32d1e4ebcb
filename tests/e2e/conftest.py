"""One running deployment for the tests that use Keyfold as its users do: through the command line."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Answer:
    """What one command line left: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """`keyfold` on one data directory, run as a process of its own in a directory of its own."""

    data: Path
    folder: Path

    def __call__(self, *words: str, stdin: str | None = None) -> Answer:
        program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(self.data), *words]
        done = subprocess.run(
            program, capture_output=True, text=True, timeout=180, check=False, cwd=self.folder, input=stdin
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def done(self, *words: str, stdin: str | None = None) -> Answer:
        """Run what must succeed."""
        answer = self(*words, stdin=stdin)
        assert answer.code == 0, (words, answer)
        return answer


@pytest.fixture(scope="module")
def keyfold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A deployment that was begun by `keyfold up` and is removed by `keyfold reset`."""
    folder = tmp_path_factory.mktemp("cli")
    line = CommandLine(folder / "data", folder)
    try:
        line.done("up", "--development")
        yield line
    finally:
        line("reset", "--yes")
