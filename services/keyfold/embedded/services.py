"""How Keyfold's own processes are run: `python -m keyfold.<name> --config FILE`, ready when they say so themselves.

Only the command line and the ready file are known here; the services are never imported.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Final

from keyfold.config import Config, ready_file
from keyfold.embedded.errors import PartFailed
from keyfold.embedded.parts import Part
from keyfold.embedded.processes import Process

ANALYTICS: Final = "analytics"
_OPTIONAL: Final = (ANALYTICS,) if importlib.util.find_spec("river") is not None else ()
SERVICES: Final = ("policy", "hsm", "notary", "projector", "scheduler", *_OPTIONAL)
"""In starting order. Analytics runs where its extra (`keyfold[analytics]`) is installed."""


def services_of(identities: Path) -> tuple[str, ...]:
    """Return the services that a deployment has: one that is older than analytics has no identity for it.

    For the others nothing is looked up: they have an identity since every deployment began, or need none.
    """
    has_analytics = (identities / f"{ANALYTICS}.json").exists()
    return tuple(name for name in SERVICES if name != ANALYTICS or has_analytics)


def service_part(config: Config, config_file: Path, name: str) -> Part:
    """Describe the service `keyfold.<name>`. Raises PartFailed when there is no such service."""
    if not name.isidentifier() or not _can_be_run(name):
        raise PartFailed(f"there is no service called {name}; known are {', '.join(SERVICES)}")
    ready = ready_file(config, name)
    return Part(
        name=name,
        argv=(sys.executable, "-P", "-m", f"keyfold.{name}", "--config", str(config_file)),
        ready=lambda process: _says_ready(ready, process),
        ready_timeout_s=300.0,
    )


def _can_be_run(name: str) -> bool:
    """Whether the package has a `__main__`, found without importing it."""
    package = importlib.util.find_spec(f"keyfold.{name}")
    places = package.submodule_search_locations if package is not None else None
    return any((Path(place) / "__main__.py").is_file() for place in places or ())


def _says_ready(ready: Path, process: Process) -> bool:
    try:
        return ready.read_text().strip() == str(process.pid)
    except OSError:
        return False
