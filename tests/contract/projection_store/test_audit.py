"""What may be asked of the audit trail, in memory and in Postgres: every filter, alone and together, page by page."""

import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import pairwise

import pytest
from tests.contract.projection_world import STORES, World, folded, prepared

from keyfold.events import facts
from keyfold.projections.audit import USES
from keyfold.projections.ports import AuditFilter
from keyfold.projections.rows import AuditRow

Passes = Callable[[AuditRow], bool]


@pytest.fixture(params=STORES)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with prepared(request) as made:
        await folded(made, seed=7, steps=150)
        yield made


def _is(column: str, value: str, row: AuditRow) -> bool:
    return bool(getattr(row, column) == value)


async def everything(world: World) -> tuple[AuditRow, ...]:
    return (await world.queries.audit(limit=10_000)).rows


async def check(world: World, wanted: AuditFilter, passes: Passes) -> None:
    """The answer is exactly what passes, and it is neither nothing nor all."""
    rows = await everything(world)
    expected = [row for row in rows if passes(row)]
    assert 0 < len(expected) < len(rows)
    assert list((await world.queries.audit(wanted, limit=10_000)).rows) == expected


async def test_by_outcome(world: World) -> None:
    """What policy decided, and what the worker did, apart from each other."""
    for outcome in ("authorized", "denied", "dry-run", "completed", "failed", "recorded"):
        await check(world, AuditFilter(outcome=outcome), partial(_is, "outcome", outcome))


async def test_by_code(world: World) -> None:
    """Refusals of policy and failures of the worker by their stable code."""
    for code in ("AccessDenied", "TokenUnavailable"):
        await check(world, AuditFilter(code=code), partial(_is, "code", code))
    assert (await world.queries.audit(AuditFilter(code="NoSuchCode"))).rows == ()


async def test_by_context(world: World) -> None:
    """One of the command's contexts has all the pairs; a name or a value alone is not enough."""
    await check(world, AuditFilter(contexts=(("tenant", "blue"),)), lambda row: '"blue"' in (row.contexts or ""))
    both = (("tenant", "blue"), ("b", "\\ \t Ünï"))
    await check(world, AuditFilter(contexts=both), lambda row: '"blue"' in (row.contexts or ""))
    for pairs in ((("tenant", "red"),), (("blue", "tenant"),), (("tenant", "blue"), ("b", "other"))):
        assert (await world.queries.audit(AuditFilter(contexts=pairs))).rows == ()


async def test_administrators(world: World) -> None:
    """Every decision that is no use of a key, denied ones too, and what root said; nothing of the worker."""

    def passes(row: AuditRow) -> bool:
        return row.role == "root" or (row.role == "policy" and row.command_id is not None and row.verb not in USES)

    await check(world, AuditFilter(administrators=True), passes)
    rows = (await world.queries.audit(AuditFilter(administrators=True), limit=10_000)).rows
    assert {row.role for row in rows} == {"root", "policy"}
    assert facts.Genesis.type_name in {row.event_type for row in rows}
    assert not {"Encrypt", "Decrypt", "GenerateRandom"} & {row.verb for row in rows}


async def test_filters_together(world: World) -> None:
    """All of them must hold; time from `since` on and before `until`."""
    rows = await everything(world)
    middle = rows[len(rows) // 2].time
    wanted = AuditFilter(principal="alice", outcome="authorized", administrators=True, since=middle)
    await check(
        world,
        wanted,
        lambda r: r.principal == "alice" and r.outcome == "authorized" and r.administrative and r.time >= middle,
    )
    denied = AuditFilter(denied_only=True, code="AccessDenied", verb="Decrypt", until=middle)
    await check(world, denied, lambda r: r.outcome == "denied" and r.verb == "Decrypt" and r.time < middle)


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_pages_join_without_holes(world: World, *, oldest_first: bool) -> None:
    """A cursor goes on exactly behind the last row, in both directions, under any filter."""
    for wanted in (AuditFilter(), AuditFilter(administrators=True), AuditFilter(contexts=(("tenant", "blue"),))):
        whole = (await world.queries.audit(wanted, limit=10_000, oldest_first=oldest_first)).rows
        rows: list[AuditRow] = []
        after: str | None = None
        while True:
            page = await world.queries.audit(wanted, limit=7, after=after, oldest_first=oldest_first)
            rows += page.rows
            after = page.next
            if after is None:
                break
        assert tuple(rows) == whole
        places = [(row.time, row.partition, row.position) for row in rows]
        assert all((a < b) is oldest_first for a, b in pairwise(places))


async def test_contexts_are_those_that_were_signed(world: World) -> None:
    """A row shows all distinct contexts of the command, the empty one too."""
    rows = (await world.queries.audit(AuditFilter(contexts=(("tenant", "blue"),)), limit=10_000)).rows
    assert all(json.loads(row.contexts or "[]") == [{"tenant": "blue", "b": "\\ \t Ünï"}, {}] for row in rows)
