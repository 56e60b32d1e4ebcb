"""Findings are told in the order of the log, whenever it is known what signatures are worth."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import pairwise

import pytest
from tests.support.audited_log import honest

from keyfold.auditing.batches import by_statement
from keyfold.auditing.findings import Finding, Findings, Illegal
from keyfold.auditing.settling import Settling
from keyfold.auditing.signed import Known, Pending, Verdicts
from keyfold.bus import Inbound
from keyfold.collecting import collecting_rarely
from keyfold.deciding.signed import Signed

SIGNED = Signed("00", "Ed25519", b"", b"")


class Late(Known):
    """Verdicts that are never there before they are asked for."""

    def ready(self) -> bool:
        return False


class Scripted:
    """A checker that says what it was told to."""

    def __init__(self, *wrong: int, late: bool) -> None:
        self.wrong, self.late, self.asked = frozenset(wrong), late, 0

    def check(self, signed: Sequence[Signed]) -> Verdicts:
        places = frozenset(place for place in range(len(signed)) if self.asked + place in self.wrong)
        self.asked += len(signed)
        return Late(places) if self.late else Known(places)


def finding(leaf: int, illegal: Illegal) -> Finding:
    return Finding(1, leaf, None, "", illegal.rule, illegal.expected, illegal.found)


@pytest.mark.parametrize("late", [True, False])
def test_findings_are_told_in_their_order(late: bool) -> None:
    """Of a decision: its signature if that is wrong, else what is wrong besides."""
    findings = Findings()
    settling = Settling(findings, Scripted(1, 4, late=late))
    other = Illegal("NotAllowed", "a", "b")
    for batch in range(20):
        for at, otherwise in enumerate((None, None, other)):
            pending = Pending([SIGNED] * (2 if batch == 0 and at == 1 else 1), ("alice", "key"), otherwise)
            settling.wait(pending, partial(finding, 10 * batch + at))
        settling.add(finding(10 * batch + 3, Illegal("OrderBroken", "a", "b")))
        settling.close()
        assert len(findings.kept) >= 2 * (batch + 1 - 8)
    settling.finish()
    found = [(each.leaf, each.code) for each in findings.kept]
    besides = [(10 * n + at, code) for n in range(20) for at, code in ((2, "NotAllowed"), (3, "OrderBroken"))]
    assert found == sorted([*besides, (1, "SignatureInvalid"), (10, "SignatureInvalid")])


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
@pytest.mark.parametrize("most", [2, 4000])
def test_batches_are_cut_where_statements_begin(size: int, most: int) -> None:
    """Every record once and in its order; a statement is cut only where it is longer than what is held back."""
    records = honest(14, 90).kept[1]

    async def given() -> AsyncIterator[list[Inbound]]:
        for at in range(0, len(records), size):
            yield records[at : at + size]

    async def taken() -> list[list[Inbound]]:
        return [batch async for batch in by_statement(given(), most)]

    batches = asyncio.run(taken())
    assert [record for batch in batches for record in batch] == records
    assert all(batches)
    if most > len(records):
        ends = [(before[-1].headers[:3], after[0].headers[:3]) for before, after in pairwise(batches)]
        assert all(before != after for before, after in ends)


def test_collections_are_put_off_for_a_while_only() -> None:
    """Whoever verifies inside a longer life leaves it as it was."""
    before = gc.get_threshold()
    with collecting_rarely():
        assert gc.isenabled()
        assert gc.get_threshold() > before
    assert gc.get_threshold() == before
