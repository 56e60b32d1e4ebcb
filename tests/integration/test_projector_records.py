"""What the projector does with records that it cannot believe or fold, in memory and with Postgres: report, or stop."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.integration.projector_setting import BACKENDS, SEALING_KEY, begin, published, set_up
from tests.unit.projections.deployment import QUICK, Deployment, until
from tests.unit.projections.histories import (
    PARTITIONS,
    START_MS,
    STRANGER,
    Log,
    certificate,
    genesis_events,
    seeded,
    signer,
    simulated,
)

from keyfold.events import facts, topics
from keyfold.events.signatures import Signer
from keyfold.events.statements import Entry
from keyfold.events.times import to_text
from keyfold.log import TrustBroken
from keyfold.projections.errors import StoreUnavailable


@pytest.fixture(params=BACKENDS)
async def deployment(request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    async with set_up(request) as made:
        yield made


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
