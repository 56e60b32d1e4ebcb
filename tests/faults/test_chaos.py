"""A short run of `scripts/chaos` (docs/faults.md): three brokers, two of each worker, a few faults, every rule.

`KEYFOLD_SEED` chooses other faults. Longer runs, and the kinds that need root or libfaketime, are for the script.
"""

import os
import sys
from pathlib import Path

import pytest
from tests.support.log_checker import explain

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

from fault_injection.running import Wanted, run

SEED = 24
KINDS = ("kill", "pause", "partition")


@pytest.mark.stack
@pytest.mark.timeout(420)
async def test_a_cluster_that_is_broken_under_load_keeps_every_promise(tmp_path: Path) -> None:
    """After a kill, a pause and a partition everything is served again, and no rule of the checker is broken."""
    seed = int(os.environ.get("KEYFOLD_SEED") or SEED)
    result = await run(tmp_path / "stack", Wanted(seed, 2.0, KINDS, most=len(KINDS)))
    print(result.as_markdown())  # noqa: T201 - shown when the test fails
    assert not result.findings, f"seed {seed}: {explain(result.findings)}"
    assert result.recoveries[0].fault.kind == "nothing"
    assert len(result.recoveries) >= 2
    assert result.told["acknowledged"] > 200
    assert result.counts["leaves"] == result.counts["events"] > 400
