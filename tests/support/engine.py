"""Docker Engine and Keyfold's images for tests: taken where an engine answers, brought where that may be done.

Where none can be had, tests are skipped, with the reason, and the summary says so in a line of its own (`missing`).
`brought` starts one that is installed (as root), and on CI also installs it; what was started is stopped again.
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SETUP_S, _BUILD_S = 600, 900


_missing: list[str] = []


def missing() -> str | None:
    """Tell why no engine could be had, if one was wanted in this session."""
    return _missing[0] if _missing else None


@contextmanager
def brought() -> Iterator[None]:
    """An engine answers while the block runs. Skips the test where that cannot be; it is tried once in a session."""
    there = answers()
    try:
        if not there and not _missing and (reason := _bring()):
            _missing.append(reason)
        if not there and _missing:
            pytest.skip(f"no Docker Engine can be had here: {_missing[0]}")
        yield
    finally:
        if not there:
            _script("images/engine", "stop", timeout_s=90)


def _bring() -> str | None:
    """Start an engine, on CI also install it; return why that cannot be done."""
    if os.geteuid() != 0:
        return "none answers, and only root may bring one (scripts/setup --containers)"
    if shutil.which("dockerd") is None and os.environ.get("CI") != "true":
        return "none is installed; scripts/setup --containers brings one, and so does CI=true"
    try:
        done = _script("setup", "--containers", timeout_s=_SETUP_S)
    except subprocess.TimeoutExpired:
        return f"scripts/setup --containers was not done after {_SETUP_S} s"
    return (done.stderr.strip().splitlines() or ["no reason was given"])[-1] if done.returncode else None


def answers() -> bool:
    """Tell whether an engine answers."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=60, check=False).returncode == 0


@functools.cache
def images(*names: str) -> dict[str, str]:
    """Build images that are not built yet, all by default; return the variables that name them."""
    done = _script("images/build", *names, timeout_s=_BUILD_S)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def _script(name: str, *words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    program = [str(ROOT / "scripts" / name), *words]
    return subprocess.run(program, capture_output=True, text=True, timeout=timeout_s, check=False)
