"""Waiting until the projections show what was just done, and no longer."""

from types import SimpleNamespace
from typing import Any

import pytest

from keyfold.cli.projected import settled


class Trail:
    """An audit trail that shows one more row at each look."""

    def __init__(self, *outcomes: str) -> None:
        self._outcomes, self.looks = outcomes, 0

    async def audit(self, wanted: Any, **_: Any) -> Any:
        self.looks += 1
        return SimpleNamespace(rows=[SimpleNamespace(outcome=outcome) for outcome in self._outcomes[: self.looks]])


@pytest.mark.parametrize("last", ["completed", "failed", "denied", "dry-run"])
async def test_a_command_is_settled_by_its_last_row(last: str) -> None:
    """An outcome of the worker, a denial, or a dry run, which has no outcome; being authorized is not the end."""
    trail: Any = Trail("authorized", last)
    assert await settled(trail, "id", wait_s=1)
    assert trail.looks == 2


async def test_what_does_not_come_is_not_waited_for_for_ever() -> None:
    """The command is done in any case."""
    trail: Any = Trail("authorized")
    assert not await settled(trail, "id", wait_s=0.05)
