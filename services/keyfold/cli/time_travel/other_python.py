"""Running this command with the code of another installation. It reads the same deployment; what it prints is its own.

The other interpreter must not import our code: what would lead it here (PYTHONPATH, the working directory) is left out.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from keyfold.cli.exits import UsageError
from keyfold.cli.session import Session
from keyfold.deciding import remaking

_PROBE_S: Final = 60.0
_WHERE: Final = "import keyfold.deciding.remaking as r, keyfold.cli.time_travel.replay; print(r.__file__)"


def run_elsewhere(session: Session, python: Path, arguments: Sequence[str]) -> int:
    """Run `replay` with another interpreter and return its exit code. Raises `UsageError` where it cannot."""
    where = _code_of(python)
    same = where == Path(remaking.__file__).resolve()
    session.say(f"deciding with the code in {where.parent}" + (", which is this very code" if same else ""))
    globals_ = ["--data", str(session.data), "--as", session.principal, *(["--json"] * session.as_json)]
    words = [str(python), "-m", "keyfold.cli.main", *globals_, "replay", *arguments]
    return subprocess.run(words, env=_environment(), check=False).returncode


def _code_of(python: Path) -> Path:
    """Ask where the other installation's code is, and whether it has this command."""
    try:
        asked = subprocess.run(
            [str(python), "-c", _WHERE],
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"--python: {python} cannot be run: {type(error).__name__}") from None
    if asked.returncode != 0:
        last = (asked.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise UsageError(f"--python: the Keyfold of {python} has no `keyfold replay` ({last})")
    return Path(asked.stdout.strip()).resolve()


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    return {**kept, "PYTHONSAFEPATH": "1"}
