"""SIGTERM to every service at once while callers are at work: each ends in order, and nothing is lost.

`KEYFOLD_SEED` chooses other calls. `scripts/bench startup` measures the same for longer, with aims for the times.
"""

import os
import sys
from pathlib import Path

import pytest
from tests.support.log_checker import explain
from tests.support.together import GRACE_S
from tests.support.whole_system import whole_system

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

from benchmarks.startup_load import stop_under_load

from keyfold.embedded.services import services_of

SEED = 5
AWAY_S = (0.0, 35.0)
"""At once, and for longer than callers wait: those are told so, and their commands are done once."""


@pytest.mark.stack
@pytest.mark.timeout(420)
async def test_services_that_are_asked_to_end_under_load_end_in_order_and_lose_nothing(tmp_path: Path) -> None:
    """Exit code 0 within the grace; every acknowledged command has one outcome, every caller a typed answer."""
    seed = int(os.environ.get("KEYFOLD_SEED") or SEED)
    async with whole_system(tmp_path / "data") as system:
        names = services_of(system.config.identities_directory)
        result = await stop_under_load(system, names, AWAY_S, tmp_path, seed=seed, rate=2.0, say=print)
    print(f"told {result.told}; not answered before the end {result.unanswered}")  # noqa: T201 - shown when it fails
    assert not result.findings, f"seed {seed}: {explain(result.findings)}"
    for each in result.rounds:
        assert {name: how.code for name, how in each.ended.items()} == dict.fromkeys(names, 0)
        assert max(how.seconds for how in each.ended.values()) < GRACE_S
    assert result.unanswered[0]["acknowledged"], "nobody waited over the restart"
    assert result.unanswered[1]["unknown DeadlineExceeded"], "nobody waited in vain"
    assert result.told["acknowledged"] > 200
