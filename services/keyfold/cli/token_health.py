"""What HSM workers on this machine say of their token, in the files `run/hsm-<instance>.token` (`keyfold.hsm.status`).

A file of a process that has ended is passed over. Workers on other machines say it in their logs and metrics.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

from keyfold.cli.health import Finding
from keyfold.config import Config

SERVING: Final = frozenset({"Healthy", "Degraded"})
_NAMES: Final = ("instance", "pid", "state", "code", "reason", "since_ms", "sessions", "sessions_wished")


def token_states(config: Config) -> list[dict[str, Any]]:
    """Return what each running worker says, by instance."""
    files = sorted(config.run_directory.glob("hsm-*.token"))
    return [found for found in map(_said, files) if found is not None and _runs(found["pid"])]


def troubles(states: list[dict[str, Any]]) -> str | None:
    """Return in one line what keeps tokens from serving; None where nothing does."""
    down = [
        f"{state['instance']}: {state['state']} ({state['code']})" for state in states if state["state"] not in SERVING
    ]
    return "; ".join(down) or None


def finding(config: Config) -> Finding:
    """Return what the workers here say, as a finding of `status`; nothing where none is on this machine."""
    states = token_states(config)
    worst = [state for state in states if state["state"] not in SERVING] or states
    return Finding({"state": worst[0]["state"], "code": worst[0]["code"]} if worst else {}, troubles(states))


def _said(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
        return {name: found.get(name) for name in _NAMES} if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def _runs(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
