"""docs/faults.md names every kind of fault, and no other."""

import re
from pathlib import Path

from fault_injection.faults import KINDS
from fault_injection.planning import plan

PAGE = Path(__file__).resolve().parents[3] / "docs" / "faults.md"


def test_the_page_describes_every_kind() -> None:
    """In the order in which the program names them; each can be planned."""
    table = PAGE.read_text("utf-8").split("<!-- kinds:begin -->")[1].split("<!-- kinds:end -->")[0]
    assert tuple(re.findall(r"^\| `([a-z]+)`", table, re.MULTILINE)) == KINDS
    for kind in KINDS:
        _, planned = (next(faults) for faults in [plan(1, [kind], ["policy-0", "projector-0"])] for _ in range(2))
        assert planned.kind == kind
