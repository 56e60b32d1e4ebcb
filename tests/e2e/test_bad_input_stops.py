"""Where the design says stop: a damaged state or a missing ticket stops its partition, loudly and alone.

These tests break a system of their own, one partition after the other, as a thief of the policy's key or a stranger
with a plain producer could: what is broken stays so, the other partitions serve to the end.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.forge import Forged
from tests.support.intruder import INTERNAL, after_next, copy_of, forgeries, last_of, service_key
from tests.support.scene import FORGED, Scene, Stage, partition_stream, set_up
from tests.support.whole_system import WholeSystem

from keyfold.bus import Outbound
from keyfold.events import facts, topics
from keyfold.events.statements import STATEMENT_HEADER, ChainHead, parse_statement
from keyfold.events.streams import REGISTRY

pytestmark = pytest.mark.stack
pytest_plugins = ["tests.support.running_stack"]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeSystem]:
    """A deployment that may be broken."""
    made = WholeSystem(tmp_path_factory.mktemp("stops") / "data")
    try:
        made.begin()
        yield made
    finally:
        made.stack.reset()


@pytest.fixture(scope="module")
def scene(system: WholeSystem, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Principals and keys."""
    return set_up(system.config, tmp_path_factory.mktemp("people"))


async def test_forged_records_survive_no_restart_either(on: Stage, system: WholeSystem) -> None:
    """What running services ignored is ignored again by those that read the whole log."""
    for topic in INTERNAL:
        for partition in range(on.scene.config.partitions):
            if (topic, partition) == (topics.AUTHORIZED, 0):
                await on.goes_on(REGISTRY)
            for _, record in forgeries(await last_of(on.wire.bus, topic, partition), on.scene.config, FORGED):
                await on.wire.send(record)
    for name in ("policy", "hsm", "projector"):
        await system.kill(name)
        await system.start(name)
    await _serve(on, 0, 1, 2, 3)
    assert "keystore-record-ignored" in _log(system, "hsm")


async def test_an_unsigned_policy_state_record_stops_its_partition_at_the_next_start(
    on: Stage, system: WholeSystem
) -> None:
    """Nobody reads it while policy runs; a restart refuses to decide from it, on that partition only."""
    await on.wire.send(Outbound(topics.POLICY_STATE, 1, on.scene.stream("software").encode(), FORGED))
    await _serve(on, 1, 2, 3)
    await system.kill("policy")
    await _start_without(system, "policy", 1, "StateCorrupt")
    await _serve(on, 0, 2, 3)
    assert await _silent(on, 1)


async def test_a_null_hsm_state_record_stops_its_partition_at_the_next_start(on: Stage, system: WholeSystem) -> None:
    """A head that was deleted is not taken for a first start: the keystore says that there was one."""
    await _serve(on, 2, 3)
    await on.wire.send(Outbound(topics.HSM_STATE, 2, b"head", None))
    await system.kill("hsm")
    await _start_without(system, "hsm", 2, "StateCorrupt", "KeystoreBroken")
    await _serve(on, 0, 3)
    assert await _silent(on, 2)


async def test_a_missing_ticket_stops_the_worker_on_its_partition(on: Stage, system: WholeSystem) -> None:
    """A statement of policy's own that skips one: something was dropped, and nothing after it may be executed."""
    await _serve(on, 3)
    last = await last_of(on.wire.bus, topics.AUTHORIZED, 3)
    statement = last.header(STATEMENT_HEADER) or b""
    head = ChainHead(parse_statement(statement).n, "0" * 64)
    policy = service_key(on.scene.config, "policy")
    await on.wire.send(after_next(policy, system.deployment, "policy", last, head))
    await on.wire.until(lambda: _stopped(system, "hsm", 3, "ChainGap") or None, "the worker's last word")
    command = _use(on, 3)
    await on.send(command)
    await on.wire.event(command, facts.CommandAuthorized)
    await asyncio.sleep(1)
    assert not any(isinstance(event, facts.Outcome) for event in on.wire.events_of(command))
    assert on.wire.replies_to(command) == []
    await _serve(on, 0)


async def test_a_state_that_was_wiped_is_not_a_first_start(on: Stage, system: WholeSystem) -> None:
    """Nulls for every state record leave nothing to verify, but events show that policy was here before."""
    reader = on.wire.bus.reader(topics.POLICY_STATE, 3, committed=True)
    await reader.start(None)
    keys = {record.key async for records in reader.read_to_end() for record in records}
    await reader.stop()
    await system.kill("policy")
    for key in keys:
        await on.wire.send(Outbound(topics.POLICY_STATE, 3, key, None))
    await _start_without(system, "policy", 3, "StateCorrupt")
    await _serve(on, 0)
    assert await _silent(on, 3)


async def test_a_gap_in_the_registry_stops_all_deciding(on: Stage, system: WholeSystem) -> None:
    """Partition 0 is what everybody decides by: with a hole in it, nothing is decided any more."""
    last = await last_of(on.wire.bus, topics.EVENTS, 0)
    chain = [record for record, event in on.wire.events if record.partition == 0 and event.role == "policy"]
    if not chain:
        await _serve(on, 0)
        chain = [record for record, event in on.wire.events if record.partition == 0 and event.role == "policy"]
    last = chain[-1]
    head = ChainHead(parse_statement(last.header(STATEMENT_HEADER) or b"").n, "0" * 64)
    policy = service_key(on.scene.config, "policy")
    await on.wire.send(after_next(policy, system.deployment, "policy", last, head))
    await on.wire.until(lambda: "RegistryBroken" in _log(system, "policy") or None, "policy's last word")
    assert await _silent(on, 3)
    assert copy_of(last)  # what was read before the gap stands


async def _serve(on: Stage, *partitions: int) -> None:
    for partition in partitions:
        await on.goes_on(partition_stream(on.scene, partition))


def _use(on: Stage, partition: int) -> Forged:
    return on.forge().command("Encrypt", partition_stream(on.scene, partition), items=[(0, b"x")])


async def _silent(on: Stage, partition: int) -> bool:
    """A command on a stopped partition gets no result: it stays in the log until somebody acts."""
    command = _use(on, partition)
    await on.send(command)
    await asyncio.sleep(1.5)
    return not any(told.data.code is None for told in on.wire.replies_to(command))


async def _start_without(system: WholeSystem, name: str, partition: int, *reasons: str) -> None:
    """Start a service one of whose partitions cannot be believed; it must serve the others."""
    await system.start(name)
    assert any(_stopped(system, name, partition, reason) for reason in reasons), _log(system, name)[-2000:]


def _stopped(system: WholeSystem, name: str, partition: int, reason: str) -> bool:
    lines = [line for line in _log(system, name).splitlines() if '"partition-stopped"' in line]
    return any(f'"partition": {partition},' in line and reason in line for line in lines)


def _log(system: WholeSystem, name: str) -> str:
    return Path(system.stack.directory.log(name)).read_text()
