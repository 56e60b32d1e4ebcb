"""What every store of projections tells its readers, in memory and in Postgres: entities, the audit, usage, pages."""

import pytest
from tests.contract.projection_world import World, folded
from tests.unit.projections import folding
from tests.unit.projections.histories import START_MS

from keyfold.events import facts
from keyfold.events.entities import Alias, Key, Principal, SealingKey
from keyfold.events.times import to_text
from keyfold.projections.filters import InvalidCursor
from keyfold.projections.ports import AuditFilter, Queries
from keyfold.projections.rows import AuditRow


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
