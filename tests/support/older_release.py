"""The root ceremony as a release before analytics held it: `python -m tests.support.older_release DATA_DIRECTORY`.

It is today's ceremony with the tables of then: no topics, identity, certificate, principal or policy of analytics, and
alerts by their writers' clock. A process of its own, as the tables are taken when modules are imported.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from keyfold.events import topics

topics.TOPICS = tuple(  # type: ignore[misc]
    dataclasses.replace(row, append_time=False) if row.name == topics.ALERTS else row
    for row in topics.TOPICS
    if not row.internal
)

from keyfold.ceremony import policy_sets, root, statements  # noqa: E402 - they read the table
from keyfold.cli import main  # noqa: E402
from keyfold.config import CONFIG_FILE, load_config  # noqa: E402
from keyfold.events import facts  # noqa: E402


def without_analytics(genesis: facts.Genesis) -> facts.Genesis:
    """Return genesis as it was."""
    services = [each for each in genesis.data.services if each.principal != "analytics"]
    return genesis.model_copy(update={"data": genesis.data.model_copy(update={"services": services})})


def begin(data: Path) -> int:
    """Hold the ceremony on infrastructure that runs; return the exit code."""
    real: Any = statements.genesis
    statements.genesis = lambda *given, **named: without_analytics(real(*given, **named))  # type: ignore[assignment]
    root.SERVICE_ROLES = tuple(role for role in root.SERVICE_ROLES if role != "analytics")  # type: ignore[attr-defined, misc]
    policy_sets.NAMES = tuple(name for name in policy_sets.NAMES if name != "analytics")  # type: ignore[misc]
    code = main.run(["--data", str(data), "init", "--existing"])
    identities = load_config(data / CONFIG_FILE).identities_directory
    (identities / "analytics-principal.json").unlink()
    assert not (identities / "analytics.json").exists()
    return code


if __name__ == "__main__":
    sys.exit(begin(Path(sys.argv[1])))
