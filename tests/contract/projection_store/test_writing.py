"""What every store of projections guarantees to who writes, in memory and in Postgres: all of a batch, and once."""

from dataclasses import replace

import pytest
from tests.contract.projection_world import World, first_batch, folded, history
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, START_MS

from keyfold.events import facts
from keyfold.events.times import to_text
from keyfold.projections.errors import OwnedElsewhere, StoreRefused
from keyfold.projections.fold import Batch, Fold
from keyfold.projections.ports import AuditFilter
from keyfold.projections.rows import Report


async def test_a_new_store_is_empty_and_stands_at_the_start(world: World) -> None:
    """Every partition of a fresh store is at offset 0, position 0, with nothing to read."""
    for partition in range(PARTITIONS):
        offsets = await world.blue.offsets(partition)
        assert (offsets.next, offsets.position, offsets.published, dict(offsets.places)) == (0, 0, 0, {})
    assert (await world.queries.audit()).rows == ()
    assert await world.queries.deployment() is None
    assert await world.queries.describe_key("0193f3a0-7c00-7000-8000-00000000000a") is None


async def test_preparing_twice_changes_nothing(world: World) -> None:
    """Start-up may always prepare; what is there stays."""
    await folded(world, steps=5)
    before = await world.queries.progress()
    await world.schemas.prepare(PARTITIONS)
    assert await world.queries.progress() == before


async def test_another_number_of_partitions_is_refused(world: World) -> None:
    """The number of partitions is fixed for ever."""
    with pytest.raises(StoreRefused, match="partitions"):
        await world.schemas.prepare(PARTITIONS + 1)


async def test_offsets_come_back_as_they_were_written(world: World) -> None:
    """Chain places, signers and time survive, so that reading goes on exactly where it stopped."""
    leaves = folding.by_partition(history())[1]
    batch = await folding.fold_batch(world.blue, await world.blue.offsets(1), leaves)
    after = replace(batch.after, published=3)
    await world.blue.apply(replace(batch, after=after))
    assert await world.blue.offsets(1) == after
    assert after.next == leaves[-1].kafka_offset + 1
    assert after.position == len(leaves)


async def test_a_batch_counts_once(world: World) -> None:
    """Applying the same batch again writes nothing: the offsets have moved."""
    batch = await first_batch(world)
    await world.blue.apply(batch)
    with pytest.raises(OwnedElsewhere):
        await world.blue.apply(batch)
    assert len(await world.queries.audit_log(1)) == 5


async def test_who_lost_a_partition_writes_nothing(world: World) -> None:
    """A second owner that moved the offsets stops the first one, whole batch."""
    other = world.schemas.partition_store("blue")
    leaves = folding.by_partition(history())[1]
    mine = await folding.fold_batch(world.blue, await world.blue.offsets(1), leaves[:3])
    theirs = await folding.fold_batch(other, await other.offsets(1), leaves[:2])
    await other.apply(theirs)
    with pytest.raises(OwnedElsewhere):
        await world.blue.apply(mine)
    assert await other.offsets(1) == theirs.after
    assert len(await world.queries.audit_log(1)) == 2
    await other.close()


async def test_a_batch_without_records_moves_on(world: World) -> None:
    """A marker of a transaction takes an offset: passing it is progress without rows."""
    before = await world.blue.offsets(2)
    await world.blue.apply(Batch(before, replace(before, next=9)))
    assert (await world.blue.offsets(2)).next == 9


async def test_the_directory_keeps_the_latest_event_of_a_name(world: World) -> None:
    """Records come back verbatim, with the signature headers only, in the order of the partition."""
    events = await folded(world, seed=5, steps=100)
    records = await world.blue.unpublished(0, 0, 1000)
    assert [r.kafka_offset for r in records] == sorted(r.kafka_offset for r in records)
    by_name = {name: record for record in records for name in record.names}
    assert len(by_name) == sum(len(record.names) for record in records)
    registry = [event for event in events if event.subject == "registry"]
    for name in (name for name in by_name if name.startswith("alias/")):
        latest = [e for e in registry if getattr(e.data, "alias", None) == name][-1]
        assert by_name[name].value == latest.to_value()
        assert by_name[name].headers == folding.HEADERS[:4]
    assert len(await world.blue.unpublished(0, records[-1].kafka_offset, 10)) == 1
    assert await world.blue.unpublished(0, records[-1].kafka_offset + 1, 10) == []


async def test_reports_are_kept_with_the_offsets(world: World) -> None:
    """A record that could not be believed leaves its place, hash and reason."""
    before = await world.blue.offsets(2)
    report = Report(2, 0, "UntrustedRecord", "a null key or value", "ab" * 32, "", to_text(START_MS))
    fold = Fold(before, {})
    fold.refuse(report)
    await world.blue.apply(fold.batch(before.places))
    assert await world.queries.reports() == (report,)
    assert (await world.blue.offsets(2)).next == 1
    assert (await world.blue.offsets(2)).position == 0


async def test_a_halt_is_shown_and_cleared_by_progress(world: World) -> None:
    """An operator sees why a partition stopped, until it goes on."""
    before = await world.blue.offsets(1)
    await world.blue.halt(before, "ChainGap: something is missing")
    assert (await world.queries.progress())[1].halted == "ChainGap: something is missing"
    await world.blue.apply(await first_batch(world))
    assert (await world.queries.progress())[1].halted is None


async def test_times_outside_of_all_months_are_kept(world: World) -> None:
    """An event from a broken clock is audited like any other."""
    offsets = await world.blue.offsets(0)
    times = ["0001-01-01T00:00:00.000Z", "2026-01-31T23:59:59.999Z", "2026-12-31T12:00:00.000Z"]
    times += ["2099-12-31T23:59:59.999Z", "2100-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"]
    events = [facts.SealingKeyErased.new(str(n), "registry", time, sealing_key="0" * 8 + "-0000" * 3 + "-" + "0" * 12)
              for n, time in enumerate(times)]  # fmt: skip
    genesis = history(steps=0)
    leaves = [folding.leaf(event, n) for n, event in enumerate(genesis)]
    await world.blue.apply(await folding.fold_batch(world.blue, offsets, leaves))
    after = await world.blue.offsets(0)
    strange = [
        facts.PrincipalRevoked.new(f"t{n}", "registry", time, decision=_decision(), principal="alice")
        for n, time in enumerate(times)
    ]
    more = [folding.leaf(event, after.next + n) for n, event in enumerate(strange)]
    await world.blue.apply(await folding.fold_batch(world.blue, after, more))
    rows = (await world.queries.audit(AuditFilter(principal="alice"), oldest_first=True)).rows
    assert [row.time for row in rows] == times
    assert len(events) == len(times)


def _decision() -> facts.Decision:
    return facts.Decision(
        command='{"data":{"principal":"alice"}}',
        command_digest="0" * 64,
        body_digest="0" * 64,
        signature="",
        offset=0,
        policies=[],
        registry_revision=0,
        facts_n=0,
    )
