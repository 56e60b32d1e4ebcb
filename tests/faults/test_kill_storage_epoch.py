"""kill -9 of the worker, again and again, and of policy while thousands of keys are turned to the next storage epoch.

The load goes on meanwhile. In the end every live blob is under the new epoch, made anew once; the old epoch's key is
gone, what was destroyed before is certified, and what was encrypted before decrypts.
"""

import asyncio
import os
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Literal, TypeVar

import pytest
from tests.support.kill_load import Load
from tests.support.log_checker import explain
from tests.support.log_snapshot import TicketRecorder
from tests.support.log_story import Story
from tests.support.whole_system import WholeSystem, whole_system

from keyfold.bus import Admin
from keyfold.events import facts, topics
from keyfold.identity import create_identity
from keyfold.projections.store import PostgresQueries

T = TypeVar("T")
KEYS, DOOMED, AT_ONCE = 1500, 20, 300
KILLS = 4
GROWTH = 100
"""Records that are added to the keystore, committed or not, before the worker is killed again: part of a slice."""


@pytest.mark.stack
@pytest.mark.timeout(240)
async def test_a_turn_survives_kills_of_worker_and_policy(tmp_path: Path) -> None:
    """The worker dies in the middle of its slices, several times; each live blob is made anew once all the same."""
    seed = int(os.environ.get("KEYFOLD_SEED") or secrets.randbelow(1_000_000))
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    async with (
        whole_system(tmp_path / "data") as system,
        TicketRecorder(system.bus(), system.config.partitions) as recorder,
    ):
        load = Load(system, seed, tmp_path)
        try:
            await load.start(clients=1)
            doomed = await _timed("created", _create(system))
            await _timed("destroyed", _destroyed(system, doomed))
            await _timed("begun", _begin(system, tmp_path))
            kills = await _timed("turned", _kill_during_the_turn(system))
            await _timed("finished", load.finish())
        finally:
            await load.close()
        await _timed("certified", _certified(system, doomed))
        await _timed("quiet", system.quiet())
        story = await _timed("checked", system.check(load.tally.acknowledged, recorder))
    print(f"{kills} kills of the worker, calls {len(load.tally.served)}, {dict(load.tally.errors)}")  # noqa: T201
    assert not load.tally.wrong, f"seed {seed}: {load.tally.wrong[:20]}"
    assert not story.findings, f"seed {seed}: {explain(story.findings)}"
    assert kills > 1
    _check_turn(story, doomed)


async def _timed(what: str, work: Awaitable[T]) -> T:
    began = time.monotonic()
    result = await work
    print(f"{what}: {time.monotonic() - began:.1f} s")  # noqa: T201
    return result


async def _create(system: WholeSystem) -> list[str]:
    """Create keys of both levels, and let the scheduler destroy some, which are returned."""
    made: list[str] = []
    async with system.client("admin-1", call_timeout_s=60.0) as admin:
        for start in range(0, KEYS, AT_ONCE):
            levels: list[Literal["HSM", "SOFTWARE"]] = ["HSM", "SOFTWARE", "SOFTWARE", "SOFTWARE"]
            created = (admin.create_key(protection=levels[n % 4]) for n in range(start, start + AT_ONCE))
            made += [key.key_id for key in await asyncio.gather(*created)]
        doomed = made[:DOOMED]
        await asyncio.gather(*(admin.schedule_key_deletion(key_id, timedelta(seconds=1)) for key_id in doomed))
    return doomed


async def _destroyed(system: WholeSystem, doomed: list[str]) -> None:
    async def erased(queries: PostgresQueries) -> bool:
        rows = [await queries.key_versions(key_id) for key_id in doomed]
        return all(row and row[0].erased_at is not None for row in rows)

    await _until(system, erased, "the keys whose date has come are not destroyed")


async def _begin(system: WholeSystem, tmp_path: Path) -> None:
    """Two approve what a third has proposed, as the default policies ask for."""
    people = [tmp_path / f"{name}.json" for name in ("ada", "bea")]
    async with system.client("admin-1", call_timeout_s=60.0) as admin:
        for path in people:
            signer = create_identity(path, path.stem, system.deployment).signer
            await admin.register_principal(path.stem, signer.public_key, groups=["approvers"])
        proposal = await admin.propose("BeginStorageEpoch")
    for path in people:
        async with system.client(path, call_timeout_s=60.0) as approver:
            await approver.approve_proposal(proposal.id, proposal.digest)


async def _kill_during_the_turn(system: WholeSystem) -> int:
    """Kill the worker whenever it has begun some more slices, and policy once; return how often the worker was killed.

    How far it is, is seen from the keystore. It turns as soon as it owns partitions, so it may die before it serves.
    """
    admin, kills = system.bus().admin(), 0
    await admin.start()
    starting = asyncio.create_task(asyncio.sleep(0))
    queries = PostgresQueries(system.config.postgres_reader_dsn)
    try:
        before = await _written(admin)
        while kills < KILLS and await _grown(admin, queries, before + GROWTH):
            await system.kill("hsm")
            kills += 1
            await asyncio.gather(starting, return_exceptions=True)
            if kills == 2:
                await system.kill("policy")
                await system.start("policy")
            before = await _written(admin)
            starting = asyncio.create_task(system.start("hsm"))
        await starting
    finally:
        await admin.stop()
        await queries.close()
    return kills


async def _written(admin: Admin) -> int:
    return sum((await admin.end_offsets(topics.KEYSTORE, committed=False)).values())


async def _grown(admin: Admin, queries: PostgresQueries, wanted: int) -> bool:
    """Wait until the keystore has so many records; False where every partition has turned before."""
    for number in count():
        if await _written(admin) >= wanted:
            return True
        epoch = await queries.storage_epoch() if number % 20 == 0 else None
        if epoch is not None and epoch.epoch == 2 and len(epoch.turned) == epoch.partitions:
            return False
        await asyncio.sleep(0.005)
    raise AssertionError


async def _certified(system: WholeSystem, doomed: list[str]) -> None:
    """The scheduler ends the epoch, and has the sealing keys of that time erased."""

    async def done(queries: PostgresQueries) -> bool:
        epoch = await queries.storage_epoch()
        if epoch is None or (epoch.epoch, epoch.ended) != (2, 1):
            return False
        return all([len(await queries.erasures(key_id)) == 1 for key_id in doomed])

    await _until(system, done, "the epoch does not end, or erasure is not certified")


async def _until(
    system: WholeSystem, look: Callable[[PostgresQueries], Awaitable[bool]], failure: str, timeout_s: float = 60.0
) -> None:
    queries, deadline = PostgresQueries(system.config.postgres_reader_dsn), time.monotonic() + timeout_s
    try:
        while not await look(queries):
            assert time.monotonic() < deadline, failure
            await asyncio.sleep(0.2)
    finally:
        await queries.close()


def _check_turn(story: Story, doomed: list[str]) -> None:
    """Each blob of before is made anew once, those of destroyed keys never; those are certified, and nothing else."""
    records = [believed.event for kept in story.keystore.values() for believed in kept]
    anew = Counter(
        (event.data.key_id, int(version))
        for event in records
        if isinstance(event, facts.KeyMaterialRewrapped)
        for version in event.data.blobs
    )
    assert set(anew.values()) == {1}
    assert len(anew) >= KEYS - DOOMED
    assert not {key_id for key_id, _ in anew} & set(doomed)
    certified = [event.data.key_id for _, event in story.all_events() if isinstance(event, facts.KeyErased)]
    assert sorted(certified) == sorted(doomed)
    turned = Counter(
        event.data.partition for _, event in story.all_events() if isinstance(event, facts.StorageEpochTurned)
    )
    assert turned == dict.fromkeys(range(story.partitions), 1)
