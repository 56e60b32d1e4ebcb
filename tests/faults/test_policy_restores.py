"""Policy refuses a state that is not its own latest one, and a log with a gap: loudly, and that partition only."""

import asyncio
from dataclasses import replace

import pytest
from tests.support.deployment import Deployment, until
from tests.support.people import command, key_on, signer

from keyfold.bus import Inbound, Outbound
from keyfold.events import strictjson, topics
from keyfold.events.chains import ChainGap
from keyfold.events.signatures import HEAD, pae
from keyfold.events.statements import SIGNATURE_HEADER, SIGNER_HEADER, ChainHead
from keyfold.log import StateCorrupt, settling
from keyfold.policy import processor as module
from keyfold.policy.processor import Processor

KEY = key_on(2)
Records = dict[bytes, Inbound]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry soon: how long a pause is matters elsewhere."""
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(settling, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(settling, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "FACTS_PAUSE_SECONDS", 0.001)


@pytest.fixture
async def deployment() -> Deployment:
    """A deployment whose partition 2 has a state with a key and two segments."""
    made = Deployment()
    await made.begin()
    async with made.running(2):
        await made.send(command("CreateKey", KEY, 1))
        await until(lambda: len(made.decisions(2)) == 1)
        await made.send(command("Encrypt", KEY, 2))
        await until(lambda: len(made.decisions(2)) == 2)
        await until(lambda: len(made.tickets(2)) == 2)
    return made


def live(deployment: Deployment, partition: int = 2) -> Records:
    """What compaction would keep of a state topic."""
    found: Records = {}
    for record in deployment.read(topics.POLICY_STATE, partition):
        found[record.key or b""] = record
    return found


async def put(deployment: Deployment, key: bytes, value: bytes | None, headers: object = ()) -> None:
    """Write to the state topic as somebody who may."""
    assert isinstance(headers, tuple)
    await deployment.raw(Outbound(topics.POLICY_STATE, 2, key, value, headers))


async def stopped_by(deployment: Deployment, partition: int = 2) -> BaseException | None:
    """Run a processor until it stops by itself; None if it works."""
    async with deployment.following() as parts:
        processor: Processor = deployment.processor(parts, partition)
        task = asyncio.create_task(processor.run())
        running = asyncio.create_task(processor.running.wait())
        await asyncio.wait({task, running}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        task.cancel()
        await asyncio.wait({task})
        return None if task.cancelled() else task.exception()


async def test_untouched(deployment: Deployment) -> None:
    """The state as policy left it restores."""
    assert await stopped_by(deployment) is None


@pytest.mark.parametrize("name", [KEY, "segment/1", "segment/2"])
async def test_altered_record(deployment: Deployment, name: str) -> None:
    """One changed byte of any record is found."""
    value = live(deployment)[name.encode()].value or b""
    await put(deployment, name.encode(), value.replace(b'"', b"'", 1))
    assert isinstance(await stopped_by(deployment), StateCorrupt)


@pytest.mark.parametrize("name", [KEY, "segment/1", "segment/2"])
async def test_removed_record(deployment: Deployment, name: str) -> None:
    """A record that was removed is missed."""
    await put(deployment, name.encode(), None)
    assert isinstance(await stopped_by(deployment), StateCorrupt)


@pytest.mark.parametrize("key", [b"key/x", b"segment/9", b"\xff", b""])
async def test_added_record(deployment: Deployment, key: bytes) -> None:
    """A record that policy did not write is found, whatever its name is."""
    await put(deployment, key, b"{}")
    assert isinstance(await stopped_by(deployment), StateCorrupt)


async def test_harmless_null(deployment: Deployment) -> None:
    """A null for a name that is not there changes nothing: compaction leaves such records too."""
    await put(deployment, b"key/x", None)
    assert await stopped_by(deployment) is None


async def test_removed_head(deployment: Deployment) -> None:
    """Records without a head are no state."""
    await put(deployment, b"head", None)
    assert isinstance(await stopped_by(deployment), StateCorrupt)


@pytest.mark.parametrize("header", [SIGNER_HEADER, SIGNATURE_HEADER])
async def test_head_with_a_wrong_signature(deployment: Deployment, header: str) -> None:
    """A head whose signature or signer is another is refused."""
    head = live(deployment)[b"head"]
    wrong = {SIGNER_HEADER: signer("hsm").fingerprint.encode(), SIGNATURE_HEADER: bytes(64)}
    headers = tuple((name, wrong[name] if name == header else value) for name, value in head.headers)
    await put(deployment, b"head", head.value, headers)
    assert isinstance(await stopped_by(deployment), StateCorrupt)


async def test_unsigned_head(deployment: Deployment) -> None:
    """A head without headers is refused."""
    await put(deployment, b"head", live(deployment)[b"head"].value)
    assert isinstance(await stopped_by(deployment), StateCorrupt)


def signed_head(value: bytes, role: str) -> tuple[tuple[str, bytes], ...]:
    key = signer(role)
    return (SIGNER_HEADER, key.fingerprint.encode()), (SIGNATURE_HEADER, key.sign(pae(HEAD, value)))


@pytest.mark.parametrize("role", ["hsm", "root", "mallory"])
async def test_head_by_another_role(deployment: Deployment, role: str) -> None:
    """A head that another role signed, certified or not, is no head of policy's state."""
    value = live(deployment)[b"head"].value or b""
    await put(deployment, b"head", value, signed_head(value, role))
    assert isinstance(await stopped_by(deployment), StateCorrupt)


@pytest.mark.parametrize(
    ("name", "value"), [("partition", 1), ("topic", topics.HSM_STATE), ("role", "hsm"), ("deployment", "ab" * 32)]
)
async def test_head_of_another_place(deployment: Deployment, name: str, value: object) -> None:
    """A head that policy's key signed for another place does not count here."""
    head = strictjson.loads(live(deployment)[b"head"].value or b"")
    moved = strictjson.canonical(head | {name: value})
    await put(deployment, b"head", moved, signed_head(moved, "policy"))
    assert isinstance(await stopped_by(deployment), StateCorrupt)


async def test_another_partition_s_whole_state(deployment: Deployment) -> None:
    """Another partition's complete and consistent state is not this one's."""
    async with deployment.running(1):
        await deployment.send(command("CreateKey", key_on(1), 9))
        await until(lambda: len(deployment.decisions(1)) == 1)
    for name in live(deployment):
        await put(deployment, name, None)
    for name, record in live(deployment, 1).items():
        await put(deployment, name, record.value, record.headers)
    assert isinstance(await stopped_by(deployment), StateCorrupt)


async def test_an_older_state_put_back(deployment: Deployment) -> None:
    """An older state that is complete, consistent and signed does not fit the log: it would decide commands again."""
    old = live(deployment)
    async with deployment.running(2):
        await deployment.send(command("DisableKey", KEY, 3))
        await until(lambda: len(deployment.decisions(2)) == 3)
    for name in live(deployment).keys() - old.keys():
        await put(deployment, name, None)
    for name, record in old.items():
        await put(deployment, name, record.value, record.headers)
    error = await stopped_by(deployment)
    assert isinstance(error, StateCorrupt)
    assert "older state" in str(error)
    assert len(deployment.decisions(2)) == 3


async def test_a_state_that_vanished(deployment: Deployment) -> None:
    """A state topic that was emptied is not a new partition: the log knows of decisions."""
    for name in live(deployment):
        await put(deployment, name, None)
    assert isinstance(await stopped_by(deployment), StateCorrupt)


async def test_a_stranger_under_policy_s_name(deployment: Deployment) -> None:
    """An unsigned record that claims policy's signer and a later statement stops nothing."""
    record = deployment.read(topics.EVENTS, 2)[-1]
    forged = tuple(
        (name, value.replace(b'"n":2', b'"n":9') if name == "kf_statement" else value) for name, value in record.headers
    )
    assert forged != record.headers
    await deployment.raw(Outbound(topics.EVENTS, 2, record.key, record.value, forged))
    assert await stopped_by(deployment) is None


async def test_a_position_that_the_log_no_longer_has(deployment: Deployment) -> None:
    """Commands that were deleted before they were decided stop the partition: nothing is skipped in silence."""
    await deployment.send(command("Encrypt", KEY, 3), command("Encrypt", KEY, 4))
    deployment.cluster.log(topics.COMMANDS, 2).delete_before(3)
    error = await stopped_by(deployment)
    assert getattr(error, "code", None) == "PositionLost"


async def test_a_gap_stops_its_partition_only(deployment: Deployment) -> None:
    """A missing statement of the worker stops deciding there, at once and for good; other partitions go on."""
    async with deployment.service() as service:
        head = deployment.hsm.heads.get((topics.EVENTS, 2), ChainHead())
        deployment.hsm.heads[topics.EVENTS, 2] = replace(head, n=head.n + 1)
        await deployment.execute(2)
        await until(lambda: not service.ownership.runners[2].running.is_set())
        await deployment.send(command("Encrypt", KEY, 3), command("CreateKey", key_on(1), 4))
        await until(lambda: len(deployment.decisions(1)) == 1)
        await asyncio.sleep(0.05)
        assert not service.ownership.runners[2].running.is_set()
    assert len(deployment.tickets(2)) == 2
    assert isinstance(await stopped_by(deployment), ChainGap)
