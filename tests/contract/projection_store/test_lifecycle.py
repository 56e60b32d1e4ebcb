"""The whole life of keys, as every store of projections keeps and answers it, in memory and in Postgres."""

import pytest
from tests.contract.projection_store.life import NOBODY, fold, keys_of, plain
from tests.contract.projection_world import World
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, START_MS, seeded
from tests.unit.projections.living import DAY_MS, Living, living

from keyfold.events import facts
from keyfold.events.entities import Capabilities
from keyfold.events.key_states import state_of
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_milliseconds, to_text
from keyfold.projections.ports import AuditFilter
from keyfold.projections.rows import LastUse


@pytest.mark.parametrize("seed", range(8))
async def test_stored_keys_equal_what_evolve_says(world: World, seed: int) -> None:
    """Validity, rotation, compromise, import and erasure, of keys and of versions, for folding on and for readers."""
    truth = await fold(world, living(seeded(seed), 250))
    assert len(keys_of(truth)) > 5
    for key in keys_of(truth):
        assert await world.queries.describe_key(key.key_id) == key
        rows = await world.queries.key_versions(key.key_id)
        told = ("version", "status", "reason", "changed_at", "compromised_at", "occurred_at", "compromise_reason")
        for row, version in zip(rows, key.versions, strict=True):
            for name in (*told, "material", "valid_to", "key_check_value", "created_at", "protected_items"):
                assert getattr(row, name) == getattr(version, name)
            assert row.certified_at == version.erased_at
    assert await world.queries.deployment() == truth["deployment"]


@pytest.mark.parametrize("seed", range(8))
async def test_states_are_those_that_policy_decides_by(world: World, seed: int) -> None:
    """At every moment at which something of a key begins or is over, a millisecond before, and long after."""
    keys = keys_of(await fold(world, living(seeded(seed), 250)))
    bounds = {b for k in keys for b in (k.not_before, k.not_after, *(v.valid_to for v in k.versions)) if b is not None}
    moments = {to_milliseconds(bound) + step for bound in sorted(bounds)[:12] for step in (-1, 0)}
    seen = set()
    for moment in {*moments, START_MS, START_MS + 4000 * DAY_MS}:
        listed = {key.key_id: key.state for key in (await world.queries.list_keys(now=to_text(moment))).keys}
        assert listed == {key.key_id: state_of(key, moment) for key in keys}
        seen |= set(listed.values())
    assert len(seen) > 3


async def test_keys_are_listed_by_state(world: World) -> None:
    """Only those that are in it at that time, page by page."""
    keys = keys_of(await fold(world, living(seeded(3), 300)))
    at = START_MS + 400 * DAY_MS
    for state in {state_of(key, at) for key in keys}:
        wanted = [key.key_id for key in keys if state_of(key, at) == state]
        page = await world.queries.list_keys(state=state, now=to_text(at), limit=2)
        found = list(page.keys)
        while page.next is not None:
            page = await world.queries.list_keys(state=state, now=to_text(at), limit=2, after=page.next)
            found += page.keys
        assert [key.key_id for key in found] == wanted


async def test_the_present_state_needs_no_time(world: World, life: Living) -> None:
    """Without one, the store looks at its own clock."""
    over, ahead = plain(life, not_after=to_text(START_MS)), plain(life, not_before="2999-01-01T00:00:00.000Z")
    await fold(world, life.events)
    states = {key.key_id: key.state for key in (await world.queries.list_keys()).keys}
    assert states == {over: "Expired", ahead: "PreActive"}


async def test_material_that_comes_again_is_not_erased(world: World, life: Living) -> None:
    """What the worker said last counts: imported, deleted, imported."""
    key_id = plain(life, "EXTERNAL")
    shown = []
    for delete in (False, True, False):
        if delete:
            life.delete_material(life.key(key_id))
        else:
            life.get_parameters(life.key(key_id))
            life.import_material(life.key(key_id), "2999-01-01T00:00:00.000Z")
        await fold(world, life.events)
        (row,) = await world.queries.key_versions(key_id)
        shown.append((row.material, row.imported_at is not None, row.erased_at is not None, row.generated_at))
    assert shown == [(True, True, False, None), (False, True, True, None), (True, True, False, None)]


async def test_public_keys_are_found_by_version(world: World, life: Living) -> None:
    """Each version has its own; symmetric keys and unknown versions have none."""
    key_id, secret = plain(life, kind=("ECC_NIST_P256", "SIGN_VERIFY")), plain(life)
    life.rotate_for(life.key(key_id), "requested")
    stated = {e.data.version: e.data.public_key for e in life.events if isinstance(e, facts.KeyMaterialGenerated)
              and e.data.key_id == key_id}  # fmt: skip
    await fold(world, life.events)
    for version, public_key in stated.items():
        row = await world.queries.public_key(key_id, version)
        assert row is not None
        assert (row.version, row.public_key, row.key_spec, row.key_usage) == (
            version,
            public_key,
            "ECC_NIST_P256",
            "SIGN_VERIFY",
        )
    assert await world.queries.public_key(key_id) == await world.queries.public_key(key_id, 2)
    for nothing in (await world.queries.public_key(key_id, 3), await world.queries.public_key(secret)):
        assert nothing is None
    assert await world.queries.public_key(NOBODY) is None


async def test_erasures_are_the_certificates(world: World, life: Living) -> None:
    """One for each version, with what the worker stated, word for word."""
    key_id = plain(life)
    life.rotate_for(life.key(key_id), "requested")
    life.schedule(life.key(key_id))
    life.destroy(life.key(key_id))
    await fold(world, life.events)
    assert await world.queries.erasures(key_id) == ()
    life.erase(life.key(key_id))
    stated = life.events[-1]
    await fold(world, life.events)
    found = await world.queries.erasures(key_id)
    assert [(each.version, each.event_id, each.certified_at) for each in found] == [
        (version, stated.id, stated.time) for version in (1, 2)
    ]
    assert all(each.certificate == stated.data for each in found)
    assert [row.certified_at for row in await world.queries.key_versions(key_id)] == [stated.time] * 2


async def test_the_last_use_of_each_version(world: World, life: Living) -> None:
    """Who used it last and when, and how many items it served in all; a version that served nothing is not there."""
    key_id = plain(life)
    life.rotate_for(life.key(key_id), "requested")
    life.rotate_for(life.key(key_id), "requested")
    for version in (2, 1, 2):
        life.use_old(life.key(key_id), version, "Decrypt", 6)
    used = [event for event in life.events if isinstance(event, facts.KeyUsed)]
    bob = used[0].model_copy(update={"data": used[0].data.model_copy(update={"principal": "bob"})})
    life.events[life.events.index(used[0])] = bob
    await fold(world, life.events)
    served = {v: sum(e.data.versions.get(str(v), 0) for e in used) for v in (1, 2)}
    assert await world.queries.last_use(key_id) == (
        LastUse(key_id, 1, used[1].time, "alice", served[1]),
        LastUse(key_id, 2, used[2].time, "alice", served[2]),
    )
    assert await world.queries.last_use(NOBODY) == ()


@pytest.mark.parametrize("seed", range(4))
async def test_use_is_counted_by_version_principal_and_verb(world: World, seed: int) -> None:
    """Of every verb that there is; failures stand beside what was served."""
    events = living(seeded(seed), 300)
    await fold(world, events)
    expected: dict[tuple[str, str], tuple[int, int, int]] = {}
    for event in events:
        if isinstance(event, facts.KeyUsed):
            place, data = (event.subject, event.data.verb), event.data
            failed = sum(map(len, data.failures.values()))
            before = expected.get(place, (0, 0, 0))
            expected[place] = (before[0] + 1, before[1] + sum(data.versions.values()), before[2] + failed)
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for row in await world.queries.usage():
        if row.stream.startswith("key/"):
            before = found.get((row.stream, row.verb), (0, 0, 0))
            counts = (before[0] + row.commands, before[1] + row.items, before[2] + row.failed_items)
            found[row.stream, row.verb] = counts
    assert found == expected
    assert {"Sign", "VerifyMac", "Decapsulate", "DeriveSharedSecret"} & {verb for _, verb in expected}


async def test_capabilities_are_those_found_last(world: World, life: Living) -> None:
    """All of them, in the order in which the worker said them; none before it looked."""
    assert await world.queries.capabilities() is None
    for _ in range(2):
        life.find_capabilities()
        await fold(world, life.events)
        found = await world.queries.capabilities()
        assert found == life.view["capabilities"]
        assert isinstance(found, Capabilities)
        assert len(found.capabilities) == 3


async def test_the_storage_epoch_says_who_has_turned(world: World, life: Living) -> None:
    """Begun by whom, turned where, ended when; then the next one, of which nobody has turned."""
    assert await world.queries.storage_epoch() is None
    await fold(world, life.events)
    first = await world.queries.storage_epoch()
    assert first is not None
    assert (first.epoch, first.ended, first.partitions, first.begun_at, first.turned) == (1, 0, PARTITIONS, None, ())
    life.begin_epoch()
    begun = next(event for event in life.events if isinstance(event, facts.StorageEpochBegun))
    for partition in (3, 0):
        life.turn(partition)
    await fold(world, life.events)
    second = await world.queries.storage_epoch()
    assert second is not None
    assert (second.epoch, second.ended, second.begun_at, second.begun_by) == (2, 0, begun.time, "alice")
    assert [turn.partition for turn in second.turned] == [0, 3]
    for turn in second.turned:
        rows = await world.queries.audit_log(turn.partition)
        (row,) = [row for row in rows if row.event_type == facts.StorageEpochTurned.type_name]
        assert (turn.kafka_offset, turn.turned_at) == (row.kafka_offset, row.time)
    life.end_epoch()
    life.begin_epoch()
    await fold(world, life.events)
    third = await world.queries.storage_epoch()
    assert third is not None
    assert (third.epoch, third.ended, third.turned, third.answer) == (3, 1, (), "CKR_OK")
    assert third.destroyed_at is not None


async def test_a_partition_turns_where_it_speaks(world: World, life: Living) -> None:
    """What it says of another counts for nobody else: evidence is where it lies."""
    life.begin_epoch()
    said = {"epoch": 2, "partition": 1, "versions": 0}
    life.append(facts.StorageEpochTurned, "partition/2", **said)
    await fold(world, life.events)
    epoch = await world.queries.storage_epoch()
    assert epoch is not None
    assert [turn.partition for turn in epoch.turned] == [2]


async def test_one_event_answers_for_several_names(world: World, life: Living) -> None:
    """Pages count events, so no name is lost between two; a name that a later event answers for is the later one's."""
    key_id = plain(life, kind=("RSA_2048", "SIGN_VERIFY"))
    for _ in range(4):
        life.rotate_for(life.key(key_id), "requested")
    await fold(world, life.events)
    partition = next(p for p, leaves in folding.by_partition(life.events).items() if leaves and p)
    whole = await world.blue.unpublished(partition, 0, 100)
    names = [record.names for record in whole]
    public = [(f"public-key/{key_id}/{version}",) for version in range(1, 5)]
    assert names == [*public, (f"key/{key_id}", f"public-key/{key_id}/5")]
    paged, since = [], 0
    while records := await world.blue.unpublished(partition, since, 2):
        paged += records
        since = records[-1].kafka_offset + 1
    assert paged == whole


async def test_the_audit_is_asked_by_algorithm(world: World, life: Living) -> None:
    """Who still signs by an algorithm that is to be left."""
    key_id = plain(life, kind=("RSA_2048", "SIGN_VERIFY"))
    stream = f"key/{key_id}"
    for algorithm in ("RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PSS_SHA_256"):
        text = life.signed_command(stream, "Sign", arguments={"signing_algorithm": algorithm})
        refused = {"verb": "Sign", "principal": "alice", "code": "AccessDenied"}
        life.decided(facts.CommandDenied, stream, "Sign", command=text, **refused)
    await fold(world, life.events)
    (row,) = (await world.queries.audit(AuditFilter(algorithm="RSASSA_PSS_SHA_256"))).rows
    assert (row.verb, row.algorithm, row.key_id) == ("Sign", "RSASSA_PSS_SHA_256", key_id)
    assert {row.algorithm for row in (await world.queries.audit(AuditFilter(stream=REGISTRY))).rows} == {None}
