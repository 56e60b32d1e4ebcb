"""The ceremony that puts policies and administrators right, with real tokens: what it says, what it refuses, and that
a deployment in which nobody can do anything any more works again.

The log is in memory where only the ceremony's own steps matter. There, policy's signing key writes what policy itself
would refuse; on the running deployment the lockout is one that policy lets through.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import SoftHSM
from tests.integration.ceremony_setting import NOW_MS, begin, empty_topics, events_of, now, settings
from tests.support.whole_system import WholeSystem

from keyfold.bus import Bus, Fault, MemoryBus, MemoryCluster
from keyfold.ceremony import CeremonyIncomplete, CeremonyRefused, PoliciesReset, reset_policies
from keyfold.ceremony.policy_sets import initial_policies
from keyfold.config import Config
from keyfold.deciding.cedar import Authorizer
from keyfold.deciding.repair import repairers
from keyfold.events import facts, topics
from keyfold.events.entities import DEPLOYMENT, Deployment, Entity, Principal, RegistryPolicy
from keyfold.events.errors import AccessDenied
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.events.view import get
from keyfold.identity import create_identity, load_identity
from keyfold.log import Author, RegistryFollower

pytestmark = [pytest.mark.token]
FORBID = "forbid (principal, action, resource);"
LATER = NOW_MS + 1000


@pytest.fixture
def config(tmp_path: Path, softhsm: SoftHSM) -> Config:
    return settings(tmp_path, softhsm)


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster(topics=(), clock_ms=now)


async def locked(config: Config, bus: Bus) -> None:
    """Begin a deployment and lock everybody out: a forbid for all, one administrator revoked, her policy gone."""
    done = await begin(config, bus)
    await decided(
        config,
        bus,
        done.deployment,
        event(1, facts.PolicyPut, policy="lockout", text=FORBID),
        event(2, facts.PolicyDeleted, policy="administrators"),
        event(3, facts.PrincipalRevoked, principal="admin-2"),
        registered(4, "mallory", config, done.deployment),
    )


def registered(number: int, name: str, config: Config, deployment: str) -> facts.Event:
    """The registration of an administrator whose identity file is in the directory."""
    key = create_identity(config.identities_directory / f"{name}.json", name, deployment).signer.public_key
    data = {"principal": name, "public_key": key.hex(), "algorithm": "Ed25519", "tags": {}}
    return event(number, facts.PrincipalRegistered, **data, groups=["administrators"])


def event(number: int, kind: type[facts.Event], **data: Any) -> facts.Event:
    decision = facts.Decision(
        command="{}",
        command_digest="0" * 64,
        body_digest="0" * 64,
        signature="00",
        offset=number,
        policies=[],
        registry_revision=0,
        facts_n=0,
        charges={},
    )
    return kind.new(f"0.{number}.decision", REGISTRY, to_text(NOW_MS), decision=decision, **data)


async def decided(config: Config, bus: Bus, deployment: str, *events: facts.Event) -> None:
    """Write events as policy would, as the first that it ever said."""
    signer = load_identity(config.identities_directory / "policy.json").signer
    author = Author(deployment, "policy", signer.fingerprint, signer.sign)
    entries = [Entry(each.subject.encode(), each.to_value()) for each in events]
    _, records = author.records(topics.EVENTS, 0, ChainHead(), entries)
    writer = bus.writer("policy")
    await writer.start()
    await writer.commit(records)
    await writer.stop()


async def reset(config: Config, bus: Bus, **changes: Any) -> PoliciesReset:
    return await reset_policies(config, bus, lambda: LATER, **{"reason": "nobody can act", **changes})


async def registry_of(bus: Bus, deployment: str) -> Mapping[str, Entity]:
    """Read the registry as every service does."""
    follower = RegistryFollower(bus, deployment)
    await follower.start()
    await follower.stop()
    return follower.view


def deployment_of(config: Config) -> str:
    return load_identity(config.identities_directory / "admin-1.json").deployment


async def test_everybody_was_locked_out_and_administrators_can_act_again(
    config: Config, cluster: MemoryCluster
) -> None:
    """One event: foreign policies are gone, the first ones are back, and so are the first administrators."""
    bus = MemoryBus(cluster)
    await locked(config, bus)
    before = await registry_of(bus, deployment_of(config))
    assert repairers(Authorizer(), before, LATER) == 0
    done = await reset(config, bus, revoked=("mallory",))
    assert done == PoliciesReset(("lockout",), tuple(initial_policies()), ("admin-1", "admin-2"), ("mallory",))
    registry = await registry_of(bus, deployment_of(config))
    held = {entity.policy: entity.text for entity in registry.values() if isinstance(entity, RegistryPolicy)}
    assert held == initial_policies()
    assert repairers(Authorizer(), registry, LATER) == 2
    assert get(registry, "principal/admin-2", Principal).status == "Active"
    assert get(registry, "principal/mallory", Principal).status == "Revoked"
    assert (
        get(registry, DEPLOYMENT, Deployment).policies_revision > get(before, DEPLOYMENT, Deployment).policies_revision
    )


async def test_it_is_said_by_root_with_its_reason(config: Config, cluster: MemoryCluster) -> None:
    """As root's next event, in one statement that every reader believes; auditors read why."""
    bus = MemoryBus(cluster)
    await locked(config, bus)
    await reset(config, bus, reason="  incident 7 ")
    last = (await events_of(bus))[-1]
    assert isinstance(last, facts.PolicyReset)
    assert (last.id, last.source, last.subject, last.time) == ("root.7", "keyfold/root", REGISTRY, to_text(LATER))
    assert last.data.reason == "incident 7"


async def test_a_second_reset_is_another_event(config: Config, cluster: MemoryCluster) -> None:
    """Root's chain goes on, and there is nothing left to remove."""
    bus = MemoryBus(cluster)
    await locked(config, bus)
    await reset(config, bus)
    assert (await reset(config, bus)).removed == ()
    resets = [each.id for each in await events_of(bus) if isinstance(each, facts.PolicyReset)]
    assert resets == ["root.7", "root.8"]


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_commit_in_doubt_is_settled(config: Config, cluster: MemoryCluster, fault: Fault) -> None:
    """Lost, landed, left open or refused once: it is said once in the end, and told as it was said."""
    bus = MemoryBus(cluster)
    await locked(config, bus)
    cluster.fail_next_commit(fault)
    assert (await reset(config, bus)).removed == ("lockout",)
    resets = [each.data for each in await events_of(bus) if isinstance(each, facts.PolicyReset)]
    assert [data.removed for data in resets] == [["lockout"]]


async def test_named_identities_become_administrators(config: Config, cluster: MemoryCluster) -> None:
    """New ones are registered; who was registered keeps the keys there are and gets this one beside them."""
    bus = MemoryBus(cluster)
    await locked(config, bus)
    carol = create_identity(config.identities_directory / "carol.json", "carol", deployment_of(config))
    done = await reset(config, bus, administrators=("carol", "admin-1", "carol"))
    assert done.administrators == ("carol", "admin-1")
    registry = await registry_of(bus, deployment_of(config))
    new = get(registry, "principal/carol", Principal)
    assert (new.groups, [key.signing_key for key in new.keys]) == (("administrators",), [carol.signer.fingerprint])
    assert get(registry, "principal/admin-2", Principal).status == "Revoked"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"reason": " "}, "reason"),
    ({"reason": "x" * 1025}, "reason"),
    ({"revoked": ("nobody",)}, "no principal nobody"),
    ({"revoked": ("admin-1",)}, "cannot be an administrator and be revoked"),
    ({"administrators": (), "revoked": ("mallory",)}, "fewer than two"),
    ({"administrators": ("admin-1",), "revoked": ("mallory",)}, "fewer than two"),
]


@pytest.mark.parametrize(("changes", "why"), REFUSED, ids=[f"{why}-{n}" for n, (_, why) in enumerate(REFUSED)])
async def test_what_makes_no_sense_is_refused(
    config: Config, cluster: MemoryCluster, changes: dict[str, Any], why: str
) -> None:
    """A reset says why, revokes who exists, and leaves two administrators who can act; else nothing is written."""
    bus = MemoryBus(cluster)
    await locked(config, bus)
    before = await events_of(bus)
    with pytest.raises(CeremonyRefused, match=why):
        await reset(config, bus, **changes)
    assert await events_of(bus) == before


async def test_a_key_of_somebody_else_is_refused(config: Config, cluster: MemoryCluster) -> None:
    """A signing key has one principal: the identity file of another name with the same key is a mistake."""
    bus = MemoryBus(cluster)
    await locked(config, bus)
    document = json.loads((config.identities_directory / "mallory.json").read_text())
    path = config.identities_directory / "trent.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({**document, "name": "trent"}))
    with pytest.raises(CeremonyRefused, match="is mallory's"):
        await reset(config, bus, administrators=("admin-1", "trent"))


async def test_identity_files_that_cannot_be_used_are_named(config: Config, cluster: MemoryCluster) -> None:
    """None of that name, or of an algorithm that root does not register."""
    bus = MemoryBus(cluster)
    await locked(config, bus)
    with pytest.raises(CeremonyIncomplete, match=r"missing\.json"):
        await reset(config, bus, administrators=("admin-1", "missing"))
    path = config.identities_directory / "pq.json"
    create_identity(path, "pq", deployment_of(config), algorithm="ML-DSA-65")
    with pytest.raises(CeremonyIncomplete, match="only Ed25519"):
        await reset(config, bus, administrators=("admin-1", "pq"))


async def test_a_log_of_another_root_is_refused(config: Config, cluster: MemoryCluster) -> None:
    """Root says nothing on a log that is not its own."""
    await begin(config, MemoryBus(cluster))
    with pytest.raises(CeremonyRefused, match="not of this root"):
        await reset(config, MemoryBus(empty_topics()))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeSystem]:
    """A running deployment."""
    made = WholeSystem(tmp_path_factory.mktemp("reset") / "data")
    try:
        made.begin()
        yield made
    finally:
        made.stack.reset()


async def eventually(call: Callable[[], Awaitable[None]], *, denied: bool) -> None:
    """Try until it is denied, or is not: other partitions follow the registry within five seconds."""
    deadline = time.monotonic() + 15
    while True:
        try:
            await call()
        except AccessDenied:
            if denied:
                return
        else:
            if not denied:
                return
        assert time.monotonic() < deadline, "nothing changes"
        await asyncio.sleep(0.2)


def ceremony(system: WholeSystem, *words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(system.config.data_directory), "--json"]
    return subprocess.run(
        [*program, "ceremony", "reset-policies", *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.stack
@pytest.mark.timeout(300)
async def test_a_running_deployment_works_again(system: WholeSystem) -> None:
    """A forbid that begins later locks everybody out. Root's word counts in partition 0 and in the others, at once and
    for the policy processor that takes over."""
    async with system.client("admin-1") as admin:
        keys = [(await admin.create_key(protection="SOFTWARE")).key_id for _ in range(4)]

        async def act_on(key: str) -> None:
            await admin.disable_key(key)
            await admin.enable_key(key)

        async def act_on_registry() -> None:
            await admin.put_policy("harmless", 'permit (principal == Principal::"nobody", action, resource);')

        calls = [act_on_registry, *((lambda key=key: act_on(key)) for key in keys)]
        for call in calls:
            await call()
        begins = int(time.time()) + 3
        text = f"forbid (principal, action, resource) when {{ context.time.epoch_seconds >= {begins} }};"
        await admin.put_policy("lockout", text)
        for call in calls:
            await eventually(call, denied=True)
        with pytest.raises(AccessDenied):
            await admin.delete_policy("lockout")

        done = await asyncio.to_thread(ceremony, system, "--reason", "a policy forbids everything")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["removed"] == ["harmless", "lockout"]
        assert told["administrators"] == ["admin-1", "admin-2"]
        for call in calls:
            await eventually(call, denied=False)

        await system.kill("policy")
        await system.start("policy")
        for call in calls:
            await call()


@pytest.mark.stack
def test_a_command_line_that_makes_no_sense_is_refused(system: WholeSystem) -> None:
    """Without a reason it is a usage error; what root will not say is refused, in one line."""
    assert ceremony(system).returncode == 2
    refused = ceremony(system, "--reason", "test", "--revoke", "nobody")
    assert refused.returncode == 1
    assert "no principal nobody" in json.loads(refused.stderr)["error"]["message"]
