"""The demonstration is the main job on real input; it checks what it claims, so its exit code is the test."""

from pathlib import Path

import pytest
from tests.e2e.conftest import CommandLine

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


def test_it_runs_twice_and_keeps_its_promises(tmp_path: Path) -> None:
    """Once from nothing, once on what is there; with the user's own files; nothing runs afterwards."""
    line = CommandLine(tmp_path / "data", tmp_path)
    document = tmp_path / "letter.txt"
    document.write_text("a distinctive line that must not be in any topic's log file\n" * 50)
    try:
        first = line.done("demo", "--once", str(document))
        assert "Everything is as it must be" in first.out
        assert "AccessDenied" in first.out
        assert line.done("demo", "--once", str(document)).code == 0
        assert "running" not in line("status").out
    finally:
        line("reset", "--yes")
