"""What every store of projections guarantees, in memory and in Postgres."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.contract.projection_world import STORES, World, folded, history, prepared
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, START_MS, seeded

from keyfold.events import facts
from keyfold.events.entities import Alias, Key, Principal, SealingKey
from keyfold.events.times import to_text
from keyfold.projections.errors import OwnedElsewhere, SchemaClosed, StoreRefused
from keyfold.projections.filters import InvalidCursor
from keyfold.projections.fold import Batch, Fold
from keyfold.projections.ports import AuditFilter, Queries
from keyfold.projections.rows import AuditRow, Report


@pytest.fixture(params=STORES)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with prepared(request) as made:
        yield made


async def first_batch(world: World) -> Batch:
    leaves = folding.by_partition(history())[1]
    return await folding.fold_batch(world.blue, await world.blue.offsets(1), leaves[:5])


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


async def test_stored_entities_equal_what_evolve_says(world: World) -> None:
    """State = fold(events), for every kind of entity, read back for folding on and for readers."""
    events = await folded(world)
    truth = folding.evolved(events)
    assert await world.blue.load(truth) == truth
    keys = {entity.key_id: entity for entity in truth.values() if isinstance(entity, Key)}
    assert keys
    for key_id, key in keys.items():
        assert await world.queries.describe_key(key_id) == key
    listed = (await world.queries.list_keys()).keys
    assert [key.key_id for key in listed] == sorted(keys)
    assert set(await world.queries.aliases()) == {e for e in truth.values() if isinstance(e, Alias)}
    by_name = {principal.principal: principal for principal in await world.queries.principals()}
    assert by_name == {e.principal: e for e in truth.values() if isinstance(e, Principal)}
    sealing = {key.sealing_key: key for key in await world.queries.sealing_keys()}
    assert sealing == {e.sealing_key: e for e in truth.values() if isinstance(e, SealingKey)}
    assert await world.queries.deployment() == truth["deployment"]


async def test_absent_entities_are_none(world: World) -> None:
    """What does not exist is said to be absent, also under a name that cannot exist."""
    absent = "0193f3a0-7c00-7000-8000-00000000000a"
    names = [f"key/{absent}", "sealing-key/None", "alias/x", "policy/x", "deployment", "signing-key/ff", "issuer/x"]
    names += ["limit/x", f"grant/{absent}", "grant/x", f"grants/{absent}/x", "grants/x/y", f"proposal/{absent}"]
    assert await world.blue.load(names) == dict.fromkeys(names)


async def test_every_event_has_one_audit_row(world: World) -> None:
    """The audit is the log: positions without holes, exact bytes, in order."""
    events = await folded(world)
    for partition, leaves in folding.by_partition(events).items():
        rows = await world.queries.audit_log(partition)
        assert [row.position for row in rows] == list(range(len(leaves)))
        assert [row.value for row in rows] == [leaf.accepted.entry.value for leaf in leaves]
        assert [row.kafka_offset for row in rows] == [leaf.kafka_offset for leaf in leaves]
        assert [row.time for row in rows] == [leaf.event.time for leaf in leaves]
        assert [row.statement_n for row in rows] == list(range(1, len(leaves) + 1))


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


async def test_usage_is_exact(world: World) -> None:
    """Commands, items, bytes and failures add up to what the outcomes said, per key, principal and verb."""
    events = await folded(world, seed=3, steps=150)
    used = [event for event in events if isinstance(event, facts.KeyUsed)]
    rows = [row for row in await world.queries.usage() if row.stream.startswith("key/")]
    assert len(used) > 10
    assert sum(row.commands for row in rows) == len(used)
    assert sum(row.items for row in rows) == sum(sum(event.data.versions.values()) for event in used)
    assert sum(row.bytes for row in rows) == sum(event.data.bytes for event in used)
    assert sum(row.failed_items for row in rows) == sum(len(f) for e in used for f in e.data.failures.values())
    stream = used[0].subject
    assert {row.stream for row in await world.queries.usage(stream=stream)} == {stream}
    random_rows = await world.queries.usage(stream="principal/alice")
    completed = [e for e in events if isinstance(e, facts.CommandCompleted) and e.data.verb == "GenerateRandom"]
    assert sum(row.items for row in random_rows) == sum(event.data.items for event in completed)


async def test_versions_show_their_use_and_material(world: World) -> None:
    """Per version: items used, last use, when material was generated and erased."""
    events = await folded(world, seed=3, steps=150)
    for key_id in {event.data.key_id for event in events if isinstance(event, facts.KeyUsed)}:
        for row in await world.queries.key_versions(key_id):
            mine = [e for e in events if isinstance(e, facts.KeyUsed) and e.data.key_id == key_id]
            uses = [e for e in mine if e.data.versions.get(str(row.version))]
            assert row.used_items == sum(e.data.versions[str(row.version)] for e in uses)
            assert row.last_used_at == max((e.time for e in uses), default=None)
            made = [e for e in events if isinstance(e, facts.KeyMaterialGenerated) and e.data.key_id == key_id]
            times = {e.data.version: e.time for e in made}
            assert row.generated_at == times.get(row.version)


FILTERS = [
    AuditFilter(),
    AuditFilter(principal="alice"),
    AuditFilter(verb="Decrypt"),
    AuditFilter(event_type=facts.KeyUsed.type_name),
    AuditFilter(denied_only=True),
    AuditFilter(since=to_text(START_MS + 86_400_000), until=to_text(START_MS + 40 * 86_400_000)),
    AuditFilter(stream="registry", principal="alice"),
]


@pytest.mark.parametrize("oldest_first", [True, False])
async def test_audit_pages_are_all_rows_that_match(world: World, oldest_first: bool) -> None:
    """For every filter, paging gives each matching row once, in order; what does not match never comes."""
    events = await folded(world, seed=3, steps=150)
    everything = (await world.queries.audit(limit=10_000)).rows
    assert len(everything) == len(events)
    for wanted in FILTERS:
        rows = await _all_pages(world.queries, wanted, oldest_first=oldest_first)
        places = [(row.time, row.partition, row.position) for row in rows]
        assert places == sorted(set(places), reverse=not oldest_first)
        expected = {row.event_id for row in everything if _passes(wanted, row.time, row)}
        assert len(rows) == len(expected) > 0
        assert {row.event_id for row in rows} == expected


async def _all_pages(queries: Queries, wanted: AuditFilter, *, oldest_first: bool) -> list[AuditRow]:
    rows: list[AuditRow] = []
    after: str | None = None
    while True:
        page = await queries.audit(wanted, limit=7, after=after, oldest_first=oldest_first)
        rows += page.rows
        if (after := page.next) is None:
            return rows


def _passes(wanted: AuditFilter, time: str, row: AuditRow) -> bool:
    for name in ("principal", "verb", "event_type", "stream"):
        if getattr(wanted, name) is not None and getattr(row, name) != getattr(wanted, name):
            return False
    denied = row.event_type == facts.CommandDenied.type_name
    after, before = wanted.since or "", wanted.until or "9"
    return after <= time < before and (denied or not wanted.denied_only)


async def test_a_denied_command_is_in_the_audit(world: World) -> None:
    """Who asked for what, with which context, and why not."""
    await folded(world)
    row = (await world.queries.audit(AuditFilter(denied_only=True, verb="Decrypt"))).rows[0]
    assert (row.outcome, row.code, row.principal) == ("denied", "AccessDenied", "alice")
    assert row.policies == ("administrators",)
    assert row.contexts is not None
    assert '"tenant": "blue"' in row.contexts
    by_command = await world.queries.audit(AuditFilter(command_id=row.command_id))
    assert [found.event_id for found in by_command.rows] == [row.event_id]


async def test_a_cursor_that_was_not_given_out_is_refused(world: World) -> None:
    """A damaged cursor is an error, not another page."""
    with pytest.raises(InvalidCursor):
        await world.queries.audit(after="yesterday")


async def test_keys_are_paged_and_filtered(world: World) -> None:
    """Paging gives every key once; a status filter gives those in that state only."""
    await folded(world, seed=3, steps=150)
    everything = (await world.queries.list_keys(limit=1000)).keys
    page = await world.queries.list_keys(limit=2)
    assert page.keys == everything[:2]
    assert (await world.queries.list_keys(after=page.next, limit=2)).keys == everything[2:4]
    disabled = (await world.queries.list_keys(status="Disabled")).keys
    assert disabled == tuple(key for key in everything if key.status == "Disabled")


async def test_due_deletions_are_those_whose_date_has_come(world: World) -> None:
    """The scheduler sees a key from its deletion date on, not before."""
    events = await folded(world, seed=2, steps=200)
    pending = {
        entity.key_id: entity.deletion_date
        for entity in folding.evolved(events).values()
        if isinstance(entity, Key) and entity.status == "PendingDeletion"
    }
    assert pending
    key_id, date = min(pending.items(), key=lambda item: str(item[1]))
    assert date is not None
    due = await world.queries.due_deletions(date)
    assert key_id in {row.key_id for row in due}
    assert await world.queries.due_deletions("2020-01-01T00:00:00.000Z") == ()
    assert {row.key_id for row in await world.queries.due_deletions("2099-01-01T00:00:00.000Z")} == set(pending)


async def test_policies_of_registry_and_keys(world: World) -> None:
    """Policies are listed by where they are attached, in their order."""
    events = await folded(world, seed=5, steps=200)
    truth = folding.evolved(events)
    key = next(e for e in truth.values() if isinstance(e, Key) and e.policies)
    rows = await world.queries.policies(stream=f"key/{key.key_id}")
    assert [(row.policy, row.text) for row in rows] == [(p.policy, p.text) for p in key.policies]
    registry = {f"policy/{row.policy}" for row in await world.queries.policies(stream="registry")}
    assert registry == {name for name in truth if name.startswith("policy/")}


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


async def test_a_rebuild_fills_the_other_schema_and_takes_over(world: World) -> None:
    """Readers see the live schema until the swap, and the rebuilt one afterwards, with the same content."""
    events = await folded(world)
    before = (await world.queries.audit(limit=10_000), await world.queries.list_keys())
    await world.schemas.request_rebuild()
    assert (await world.schemas.status()).requested
    status = await world.schemas.begin_rebuild()
    assert (status.building, status.phase, status.requested) == ("green", "building", False)
    green = world.schemas.partition_store("green")
    assert (await world.schemas.remaining() or 0) > 0
    assert not await world.schemas.swap()
    await folding.feed_all(green, events[: len(events) // 2], seeded(1))
    assert (await world.queries.audit(limit=10_000), await world.queries.list_keys()) == before
    await world.schemas.close_live()
    assert not await world.schemas.swap()
    await folding.feed_all(green, events, seeded(2))
    assert await world.schemas.remaining() == 0
    assert await world.schemas.swap()
    status = await world.schemas.status()
    assert (status.live, status.building, status.phase, status.generation) == ("green", None, "steady", 1)
    assert (await world.queries.audit(limit=10_000), await world.queries.list_keys()) == before
    await world.schemas.drop_idle()
    assert (await world.queries.audit(limit=10_000), await world.queries.list_keys()) == before
    await green.close()


async def test_a_closed_schema_takes_no_writes(world: World) -> None:
    """From closing on, the old owner can move nothing; reopening lets it go on."""
    batch = await first_batch(world)
    await world.schemas.begin_rebuild()
    await world.schemas.close_live()
    with pytest.raises(SchemaClosed):
        await world.blue.apply(batch)
    with pytest.raises(SchemaClosed):
        await world.blue.offsets(1)
    assert (await world.schemas.reopen_live()).phase == "building"
    await world.blue.apply(batch)
    assert len(await world.queries.audit_log(1)) == 5


async def test_a_cancelled_rebuild_leaves_the_live_schema_alone(world: World) -> None:
    """Giving up: the building schema takes no writes, the live one does."""
    await world.schemas.begin_rebuild()
    green = world.schemas.partition_store("green")
    batch = await first_batch(world)
    await world.schemas.close_live()
    status = await world.schemas.cancel_rebuild()
    assert (status.live, status.building, status.phase) == ("blue", None, "steady")
    with pytest.raises(SchemaClosed):
        await green.apply(batch)
    await world.blue.apply(batch)
    await green.close()


async def test_a_second_rebuild_starts_from_nothing(world: World) -> None:
    """Nothing of an earlier life of a schema is left when it is filled again."""
    events = await folded(world, steps=10)
    for colour in ("green", "blue", "green"):
        await world.schemas.begin_rebuild()
        building = world.schemas.partition_store(colour)
        assert (await building.offsets(1)).next == 0
        await folding.feed_all(building, events, seeded(1))
        await world.schemas.close_live()
        assert await world.schemas.swap()
        await building.close()
    assert len((await world.queries.audit(limit=1000)).rows) == len(events)
    assert (await world.schemas.status()).generation == 3


async def test_two_generations_of_a_partition_are_independent(world: World) -> None:
    """Owning a partition in one schema is not owning it in the other."""
    await folded(world, steps=10)
    await world.schemas.begin_rebuild()
    green = world.schemas.partition_store("green")
    assert (await green.offsets(0)).next == 0
    assert (await world.blue.offsets(0)).next > 0
    await green.close()


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
