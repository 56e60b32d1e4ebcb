"""The projector as a whole, on a bus in memory, with a store in memory and with Postgres."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.projections import folding
from tests.unit.projections.deployment import QUICK, Deployment, until
from tests.unit.projections.histories import (
    DEPLOYMENT,
    PARTITIONS,
    ROOT,
    START_MS,
    STRANGER,
    Log,
    certificate,
    genesis_events,
    seeded,
    signer,
    simulated,
)
from tests.unit.projections.living import Living, living

from keyfold.bus import Sender
from keyfold.events import facts, topics
from keyfold.events.directory import directory_names, directory_partition, public_key_name, verify_verbatim
from keyfold.events.signatures import Signer
from keyfold.events.statements import Entry
from keyfold.events.times import to_text
from keyfold.events.trust import Trust
from keyfold.log import TrustBroken
from keyfold.projections.errors import StoreUnavailable
from keyfold.projections.memory import MemoryQueries, MemorySchemas
from keyfold.projections.ports import Colour
from keyfold.projections.store import PostgresQueries, PostgresSchemas

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

SEALING_KEY = "0193f3a0-7c00-7000-8000-00000000000b"


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.stack)])
async def deployment(request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    if request.param == "memory":
        memory = MemorySchemas()
        yield Deployment(lambda: memory, MemoryQueries(memory))
        return
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    queries = PostgresQueries(database.reader_dsn)
    yield Deployment(lambda: PostgresSchemas(database.dsn), queries)
    await queries.close()


def published(identifier: str = SEALING_KEY) -> facts.Event:
    pair = {"sealing_key": identifier, "public_key": "ab" * 1216, "blob_digest": "0" * 64}
    return facts.SealingKeyPublished.new(f"published/{identifier}", "registry", to_text(START_MS), **pair)


async def begin(deployment: Deployment) -> None:
    """A fresh deployment: genesis and certificates."""
    await deployment.write(deployment.log.sign(genesis_events()))


@pytest.mark.parametrize("generator", [simulated, living])
async def test_a_history_becomes_state_audit_and_directory(deployment: Deployment, generator: Any) -> None:
    """Every event is folded once: entities equal evolve's, the audit equals the log, the directory is verifiable."""
    events = generator(seeded(11), 80, longest_pause_ms=60_000)
    await deployment.write(*deployment.log.transactions(events, seeded(1)))
    async with deployment.projector():
        await deployment.caught_up()
        await until(deployment.published)
    store = deployment.schemas().partition_store("blue")
    truth = folding.evolved(events)
    assert await store.load(truth) == truth
    rows = (await deployment.queries.audit(limit=10_000)).rows
    assert sorted(row.value for row in rows) == sorted(event.to_value() for event in events)
    await _check_directory(deployment, events)
    await store.close()


async def _check_directory(deployment: Deployment, events: list[facts.Event]) -> None:
    trust = Trust.pin(DEPLOYMENT, ROOT.public_key)
    for event in events:
        trust = trust.with_event(event)
    directory = await deployment.directory()
    expected = {name: event.to_value() for event in events for name in directory_names(event)}
    assert {alias.alias for alias in await deployment.queries.aliases()} <= expected.keys()
    assert {name: record.value for name, record in directory.items()} == expected
    for name, record in directory.items():
        event = verify_verbatim(trust, PARTITIONS, record.value or b"", record.headers)
        assert record.partition == directory_partition(name, PARTITIONS)
        assert event.to_value() == record.value


async def test_public_keys_are_published_even_by_a_projector_that_comes_later(deployment: Deployment) -> None:
    """More of them than a page of what is still to be published, each beside the name of its key."""
    life = Living(seeded(1), 1)
    key_id = life.create("KEYFOLD", ("RSA_2048", "SIGN_VERIFY"))
    for _ in range(210):
        life.rotate_for(life.key(key_id), "requested")
    await deployment.write(*deployment.log.transactions(life.events, seeded(1)))
    async with deployment.projector():
        await deployment.caught_up()
        await until(deployment.published)
    directory = await deployment.directory()
    names = {public_key_name(key_id, version) for version in range(1, 212)}
    assert names | {f"key/{key_id}"} <= directory.keys()
    row = await deployment.queries.public_key(key_id, 7)
    assert row is not None
    assert f'"{row.public_key}"'.encode() in (directory[public_key_name(key_id, 7)].value or b"")


async def test_a_restart_goes_on_where_it_stopped(deployment: Deployment) -> None:
    """Stopped and started in the middle of a history, any number of times, nothing is lost or doubled."""
    events = simulated(seeded(12), 60)
    groups = deployment.log.transactions(events, seeded(2))
    for start in range(0, len(groups), 20):
        await deployment.write(*groups[start : start + 20])
        async with deployment.projector():
            if start % 40 == 0:
                await deployment.caught_up()
    async with deployment.projector():
        await deployment.caught_up()
    rows = (await deployment.queries.audit(limit=10_000)).rows
    assert sorted(row.value for row in rows) == sorted(event.to_value() for event in events)
    assert sum(row.position for row in await deployment.queries.progress()) == len(events)


async def test_a_new_alias_is_in_the_directory_at_once(deployment: Deployment) -> None:
    """Idle, a sealing key is published within 100 ms of its event (here with room for a busy machine)."""
    await begin(deployment)
    async with deployment.projector():
        await deployment.caught_up()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await deployment.happen(published())

        async def there() -> bool:
            return f"sealing-key/{SEALING_KEY}" in await deployment.directory()

        await until(there)
        assert loop.time() - begun < 0.5


async def test_an_idle_partition_passes_markers(deployment: Deployment) -> None:
    """Lag becomes zero when nothing is left to read: the marker behind the last record is passed too."""
    await begin(deployment)
    async with deployment.projector():
        await deployment.caught_up()
        progress = (await deployment.queries.progress())[0]
        assert progress.next == deployment.cluster.log(topics.EVENTS, 0).end(committed=True) == 4
        assert progress.position == 3

        async def marked() -> bool:
            return (await deployment.queries.progress())[0].published == 4

        await until(marked)


BAD = {
    "unsigned": "UntrustedRecord",
    "null value": "UntrustedRecord",
    "null key": "UntrustedRecord",
    "wrong author": "UntrustedRecord",
    "stranger's key": "UntrustedRecord",
    "wrong partition": "UntrustedRecord",
    "wrong record key": "UntrustedRecord",
    "no event": "UntrustedRecord",
    "repeat": "ChainRepeat",
}


async def _write_bad(deployment: Deployment, kind: str) -> None:
    event = published("0193f3a0-7c00-7000-8000-0000000000ee")
    key, value = b"registry", event.to_value()
    if kind == "unsigned":
        await deployment.raw(0, key, value)
    elif kind == "null value":
        await deployment.raw(0, key, None)
    elif kind == "null key":
        await deployment.raw(0, None, value)
    elif kind == "wrong author":  # policy may not publish sealing keys
        await deployment.write(deployment.log.sign_entries("policy", 0, [Entry(key, value)]))
    elif kind == "stranger's key":
        log = Log()
        log.signers["hsm"] = STRANGER
        await deployment.write(log.sign([event]))
    elif kind == "wrong partition":
        signed = deployment.log.sign_entries("hsm", 2, [Entry(key, value)])
        await deployment.write(signed)
        deployment.log.heads.clear()
    elif kind == "wrong record key":
        (one,) = Log().sign([event])
        await deployment.raw(2, b"principal/alice", one[2], one[3])
    elif kind == "no event":
        await deployment.write(deployment.log.sign_entries("hsm", 0, [Entry(key, b'{"type":"nothing"}')]))
    else:
        (one,) = deployment.log.sign([published("0193f3a0-7c00-7000-8000-0000000000aa")])
        await deployment.write([one])
        await deployment.raw(*one)


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_record_is_reported_and_skipped(deployment: Deployment, kind: str) -> None:
    """It costs itself only: a report, a dead letter, no state; what comes after it counts."""
    await begin(deployment)
    await _write_bad(deployment, kind)
    heads = dict(deployment.log.heads)
    if kind == "wrong partition":
        deployment.log.heads = {("root", 0): heads.get(("root", 0))} if heads.get(("root", 0)) else {}  # type: ignore[dict-item]
    await deployment.happen(published())
    async with deployment.projector():
        await deployment.caught_up()
        reports = await deployment.queries.reports()
    assert [report.code for report in reports] == [BAD[kind]]
    sealing = {key.sealing_key for key in await deployment.queries.sealing_keys()}
    assert SEALING_KEY in sealing
    assert "0193f3a0-7c00-7000-8000-0000000000ee" not in sealing
    letters = await deployment.everything(topics.DEAD_LETTERS, 0)
    assert len(letters) == 1
    assert BAD[kind].encode() in (letters[0].value or b"")
    assert "sealing-key/0193f3a0-7c00-7000-8000-0000000000ee" not in await deployment.directory()


async def test_a_strange_leaf_takes_a_position(deployment: Deployment) -> None:
    """An authentic record that is no event of its author is a leaf of the log: later positions count it."""
    await begin(deployment)
    await _write_bad(deployment, "wrong author")
    await deployment.happen(published())
    async with deployment.projector():
        await deployment.caught_up()
    rows = await deployment.queries.audit_log(0)
    assert [row.position for row in rows] == [0, 1, 2, 4]


async def test_a_gap_stops_its_partition_alone(deployment: Deployment) -> None:
    """What came before the gap counts, the partition stops with its reason, the others go on; also after a restart."""
    await begin(deployment)
    await deployment.happen(published())
    deployment.log.sign([published("0193f3a0-7c00-7000-8000-0000000000aa")])  # signed, and lost
    await deployment.happen(published("0193f3a0-7c00-7000-8000-0000000000ab"))
    events = [event for event in simulated(seeded(3), 30) if event.subject.startswith("key/")]
    await deployment.happen(*events)
    for mark in (0, 5):  # what was committed before the stop is published by the next start, which stops again
        async with deployment.projector():

            async def halted(mark: int = mark) -> bool:
                progress = (await deployment.queries.progress())[0]
                return progress.halted is not None and progress.published == mark

            await until(halted)

            async def others() -> bool:
                return sum(row.position for row in (await deployment.queries.progress())[1:]) == len(events)

            await until(others)
    progress = (await deployment.queries.progress())[0]
    assert progress.position == 4
    assert progress.halted is not None
    assert progress.halted.startswith("ChainGap")
    assert [key.sealing_key for key in await deployment.queries.sealing_keys()] == [SEALING_KEY]


async def test_an_event_that_cannot_follow_stops_its_partition(deployment: Deployment) -> None:
    """An authentic rotation of a key that was never created: the log and the state disagree."""
    await begin(deployment)
    rotation = next(e for e in simulated(seeded(3), 150) if isinstance(e, facts.KeyRotated))
    await deployment.happen(rotation)
    async with deployment.projector():

        async def halted() -> list[str]:
            return [row.halted for row in await deployment.queries.progress() if row.halted]

        await until(halted)
        assert (await halted())[0].startswith("StateMismatch")


async def test_a_signer_certified_while_running_is_believed(deployment: Deployment) -> None:
    """An unknown signer makes the projector read partition 0 again before it refuses a record."""
    await begin(deployment)
    async with deployment.projector(settings=replace(QUICK, trust_interval_s=3600.0)):
        await deployment.caught_up()
        renewed = Signer(b"\x07" * 32)
        await deployment.happen(certificate("hsm", renewed))
        deployment.log.signers["hsm"] = renewed
        await deployment.happen(published())
        await deployment.caught_up()
    assert await deployment.queries.reports() == ()
    assert [key.sealing_key for key in await deployment.queries.sealing_keys()] == [SEALING_KEY]


def revoked(last_valid: dict[str, int]) -> facts.Event:
    key = signer("hsm").public_key.hex()
    return facts.ServiceKeyRevoked.new("revoked", "registry", to_text(START_MS), public_key=key, last_valid=last_valid)


async def test_who_folded_past_a_revocation_demands_a_rebuild(deployment: Deployment) -> None:
    """A statement that was taken back is in the state: the partition stops, and a rebuild leaves it out."""
    await begin(deployment)
    await deployment.happen(published(), published("0193f3a0-7c00-7000-8000-0000000000ab"))
    async with deployment.projector():
        await deployment.caught_up()
        await deployment.happen(revoked({f"{topics.EVENTS}/0": 1}))

        async def halted() -> bool:
            return ((await deployment.queries.progress())[0].halted or "").startswith("RebuildNeeded")

        await until(halted)
        schemas = deployment.schemas()
        await schemas.request_rebuild()

        async def swapped() -> bool:
            return (await deployment.queries.status()).generation == 1

        await until(swapped)
        await deployment.caught_up()
        await schemas.close()
    assert [key.sealing_key for key in await deployment.queries.sealing_keys()] == [SEALING_KEY]
    assert len(await deployment.queries.reports()) == 1


async def test_a_rebuild_while_writing_ends_with_the_same_state(deployment: Deployment) -> None:
    """Events keep coming during the rebuild; readers never see less than before, and end with everything."""
    events = simulated(seeded(21), 120)
    groups = deployment.log.transactions(events, seeded(3))
    half = len(groups) // 2
    await deployment.write(*groups[:half])
    async with deployment.projector():
        await deployment.caught_up()
        schemas = deployment.schemas()
        await schemas.request_rebuild()
        seen = 0
        for group in groups[half:]:
            await deployment.write(group)
            count = len((await deployment.queries.audit(limit=10_000)).rows)
            assert count >= seen
            seen = count

        async def swapped() -> bool:
            return (await deployment.queries.status()).generation == 1

        await until(swapped)
        await deployment.caught_up()
        status = await deployment.queries.status()
        assert (status.live, status.building) == ("green", None)
        await schemas.close()
    rows = (await deployment.queries.audit(limit=10_000)).rows
    assert sorted(row.value for row in rows) == sorted(event.to_value() for event in events)
    await _equal(deployment, "green", events)


async def _equal(deployment: Deployment, colour: Colour, events: list[facts.Event]) -> None:
    schemas = deployment.schemas()
    store = schemas.partition_store(colour)
    truth = folding.evolved(events)
    assert await store.load(truth) == truth
    await store.close()
    await schemas.close()


async def test_a_projector_stopped_during_a_rebuild_finishes_it_later(deployment: Deployment) -> None:
    """The rebuild is kept in the store: the next projector goes on with it."""
    events = simulated(seeded(22), 60)
    await deployment.write(*deployment.log.transactions(events, seeded(4)))
    async with deployment.projector():
        await deployment.caught_up()
    schemas = deployment.schemas()
    await schemas.begin_rebuild()
    await schemas.close_live()
    async with deployment.projector():

        async def swapped() -> bool:
            return (await deployment.queries.status()).generation == 1

        await until(swapped)
    await schemas.close()
    await _equal(deployment, "green", events)


async def test_two_projectors_share_and_never_double(deployment: Deployment) -> None:
    """Partitions are shared; during hand-over the stored offsets decide who may write."""
    events = simulated(seeded(23), 100)
    groups = deployment.log.transactions(events, seeded(5))
    third = len(groups) // 3
    await deployment.write(*groups[:third])
    async with deployment.projector("one"):
        async with deployment.projector("two"):
            await deployment.write(*groups[third : 2 * third])
            await deployment.caught_up()
        await deployment.write(*groups[2 * third :])
        await deployment.caught_up()
    rows = (await deployment.queries.audit(limit=10_000)).rows
    assert sorted(row.value for row in rows) == sorted(event.to_value() for event in events)
    await _equal(deployment, "blue", events)


async def test_an_unavailable_bus_is_waited_for(deployment: Deployment) -> None:
    """The broker goes away and comes back: nothing is lost, nobody restarts the process."""
    await begin(deployment)
    async with deployment.projector() as task:
        await deployment.caught_up()
        deployment.cluster.down = True
        await asyncio.sleep(0.1)
        deployment.cluster.down = False
        await deployment.happen(published())
        await deployment.caught_up()
        assert not task.done()
    assert len(await deployment.queries.sealing_keys()) == 1


async def test_the_directory_is_completed_after_a_crash_between_commit_and_publication(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed and not published is published by the next start."""
    await begin(deployment)
    from keyfold.bus.memory.bus import MemorySender

    async def lost(self: Sender, record: object) -> object:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(MemorySender, "send", lost)
        async with deployment.projector():
            await deployment.caught_up()
    assert await deployment.directory() == {}
    async with deployment.projector():

        async def complete() -> bool:
            return "genesis" in await deployment.directory()

        await until(complete)
    assert len(await deployment.directory()) == 3


async def test_another_genesis_is_refused(deployment: Deployment) -> None:
    """A log whose root key is not the pinned one is never believed: the projector waits for the right one."""
    log = Log()
    log.signers["root"] = STRANGER
    await deployment.write(log.sign(genesis_events()))

    async def prepared() -> bool:
        try:
            return bool(await deployment.queries.progress())
        except StoreUnavailable:
            return False

    async with deployment.projector(patience_s=0.3) as task:
        await until(prepared)
        await asyncio.sleep(0.3)
        assert not task.done()
        assert await deployment.queries.deployment() is None


async def test_another_number_of_partitions_ends_the_process(deployment: Deployment) -> None:
    """Genesis fixed the number of partitions; other settings are an error that names it."""
    deployment.log.partitions = PARTITIONS
    events = genesis_events()
    data = events[0].data.model_copy(update={"partitions": 9})
    await deployment.write(deployment.log.sign([events[0].model_copy(update={"data": data})]))
    async with deployment.projector() as task:
        await asyncio.wait({task}, timeout=5)
        assert isinstance(task.exception(), TrustBroken)
