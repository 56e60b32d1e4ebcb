"""The root ceremony with real tokens: what it leaves, that it can be repeated, and where it refuses.

The log is in memory where only the ceremony's own steps matter, so that a crash can be put anywhere; one has Kafka.
"""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import SoftHSM
from tests.integration.ceremony_setting import NOW_MS, begin, empty_topics, events_of, now, settings

from keyfold.bus import Bus, BusSettings, Fault, InDoubt, KafkaBus, MemoryBus, MemoryCluster, Outbound
from keyfold.ceremony import CeremonyIncomplete, CeremonyRefused, conduct, initialise, renew, root, statements, tokens
from keyfold.ceremony.head import author_of, read_head
from keyfold.ceremony.policy_sets import initial_policies
from keyfold.cli.session import now_ms
from keyfold.config import Config
from keyfold.custody import checkpoint_keys
from keyfold.embedded import Stack
from keyfold.events import facts, topics
from keyfold.events.entities import Principal
from keyfold.events.signatures import fingerprint
from keyfold.events.times import to_milliseconds
from keyfold.events.trust import MAX_CERTIFICATE_MS
from keyfold.identity import Identity, create_identity, load_identity
from keyfold.log import RegistryFollower
from keyfold.token import data_objects, open_token
from keyfold.token import keys as token_keys
from keyfold.token.module import _loaded as loaded_modules

pytestmark = [pytest.mark.token]


class Crash(Exception):
    """The process ends here."""


@pytest.fixture
def config(tmp_path: Path, softhsm: SoftHSM) -> Config:
    """Settings whose token directory is empty. (`softhsm` puts the environment back afterwards.)"""
    return settings(tmp_path, softhsm)


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster(topics=(), clock_ms=now)


async def test_it_begins_a_deployment(config: Config, cluster: MemoryCluster) -> None:
    """Genesis, then the certificates of five services, in one statement signed by the root token's key."""
    bus = MemoryBus(cluster)
    done = await begin(config, bus)
    events = await events_of(bus)
    assert [event.id for event in events] == [f"root.{n}" for n in range(1, 7)]
    genesis, *certificates = events
    assert isinstance(genesis, facts.Genesis)
    assert done.created
    assert done.deployment == fingerprint(bytes.fromhex(genesis.data.root_public_key))
    assert [a.principal for a in genesis.data.administrators] == ["admin-1", "admin-2"]
    assert genesis.data.partitions == 3
    services = [c.data.service for c in certificates if isinstance(c, facts.ServiceKeyCertified)]
    assert services == ["policy", "hsm", "projector", "notary", "analytics"]
    for certificate in certificates:
        assert isinstance(certificate, facts.ServiceKeyCertified)
        lasts = to_milliseconds(certificate.data.not_after) - to_milliseconds(certificate.data.not_before)
        assert 0 < lasts <= MAX_CERTIFICATE_MS


async def test_certified_keys_are_the_services_own_files(config: Config, cluster: MemoryCluster) -> None:
    """Each certificate is for the key in the service's identity file, and for the topics that the table gives it.

    The notary's is for the keys in its token.
    """
    bus = MemoryBus(cluster)
    done = await begin(config, bus)
    by_service = {e.data.service: e.data for e in await events_of(bus) if isinstance(e, facts.ServiceKeyCertified)}
    for service, data in by_service.items():
        if service == "notary":
            assert (data.public_key, data.checkpoint_key) == tuple(key.hex() for key in notary_keys(config))
        else:
            identity = load_identity(config.identities_directory / f"{service}.json")
            assert (identity.signer.public_key.hex(), None) == (data.public_key, data.checkpoint_key)
            assert identity.deployment == done.deployment
        writes = {topic.name for topic in topics.TOPICS if service in topic.writers} - {topics.REPLIES}
        assert set(data.topics) == writes
    assert len({data.public_key for data in by_service.values()}) == 5


async def test_secrets_are_private_files(config: Config, cluster: MemoryCluster) -> None:
    """Every PIN (user's and security officer's) and every identity is readable by its owner only, and PINs differ."""
    await begin(config, MemoryBus(cluster))
    pins = sorted(config.pins_directory.iterdir())
    labels = ("kms", "notary", "root", "seal")
    assert [path.name for path in pins] == [name for label in labels for name in (label, f"{label}.so")]
    identities = sorted(path.stem for path in config.identities_directory.iterdir())
    principals = ["admin-1", "admin-2", "scheduler", "analytics-principal"]
    assert identities == sorted([*principals, "policy", "hsm", "projector", "analytics"])
    for path in (*pins, *config.identities_directory.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len({path.read_bytes() for path in pins}) == 8


async def test_a_second_time_changes_nothing(config: Config, cluster: MemoryCluster) -> None:
    """It finds its own genesis, and appends and creates nothing."""
    bus = MemoryBus(cluster)
    first = await begin(config, bus)
    before = await events_of(bus), {p: p.read_bytes() for p in config.identities_directory.iterdir()}
    second = await begin(config, bus)
    assert (second.deployment, second.created) == (first.deployment, False)
    assert (await events_of(bus), {p: p.read_bytes() for p in config.identities_directory.iterdir()}) == before


async def test_renewal_licenses_the_same_keys_again(config: Config, cluster: MemoryCluster) -> None:
    """The root's chain goes on; the keys stay, their certificates end later."""
    bus = MemoryBus(cluster)
    await begin(config, bus)
    later = NOW_MS + 80 * 86_400_000
    done = await renew(config, bus, lambda: later, ("policy", "hsm"))
    certificates = [event for event in await events_of(bus) if isinstance(event, facts.ServiceKeyCertified)]
    assert [event.id for event in certificates[5:]] == ["root.7", "root.8"]
    assert {event.data.public_key for event in certificates[5:]} <= {
        event.data.public_key for event in certificates[:5]
    }
    assert to_milliseconds(done.not_after) == later + MAX_CERTIFICATE_MS
    with pytest.raises(CeremonyRefused, match="not of this root"):
        await renew(config, MemoryBus(empty_topics()), now)


@pytest.fixture
async def older(config: Config, cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> MemoryBus:
    """A deployment that began before analytics: neither its identities nor a certificate nor the principal is there."""
    bus = MemoryBus(cluster)
    real = statements.genesis

    def without(*arguments: Any, **known: Any) -> facts.Event:
        made = real(*arguments, **known)
        assert isinstance(made, facts.Genesis)
        services = [each for each in made.data.services if each.principal != "analytics"]
        return made.model_copy(update={"data": made.data.model_copy(update={"services": services})})

    with monkeypatch.context() as patched:
        patched.setattr(statements, "genesis", without)
        patched.setattr(root, "SERVICE_ROLES", ("policy", "hsm", "projector", "notary"))
        await begin(config, bus)
    (config.identities_directory / "analytics-principal.json").unlink()
    assert not (config.identities_directory / "analytics.json").exists()
    return bus


async def test_renewal_brings_a_service_of_a_later_release(config: Config, older: MemoryBus) -> None:
    """What has no certificate yet gets an identity and one; a second renewal certifies the same key again."""
    for _ in range(2):
        await renew(config, older, now)
    made = load_identity(config.identities_directory / "analytics.json")
    of_analytics = [
        event.data.public_key
        for event in await events_of(older)
        if isinstance(event, facts.ServiceKeyCertified) and event.data.service == "analytics"
    ]
    assert of_analytics == [made.signer.public_key.hex()] * 2


async def test_renewal_makes_no_second_key_for_a_service(config: Config, cluster: MemoryCluster) -> None:
    """The key of a service that has a certificate is lost, not new: renewing says what to put back."""
    bus = MemoryBus(cluster)
    await begin(config, bus)
    before = await events_of(bus)
    path = config.identities_directory / "hsm.json"
    path.unlink()
    with pytest.raises(CeremonyIncomplete, match=r"no identity file .*hsm\.json; put it"):
        await renew(config, bus, now)
    assert not path.exists()
    assert await events_of(bus) == before


@pytest.mark.parametrize("registered", [True, False])
async def test_a_principals_key_becomes_no_services_key(config: Config, older: MemoryBus, registered: bool) -> None:
    """Registered under the service's name, or copied: renewing says how to call the file, and certifies nothing."""
    service, principal = (config.identities_directory / f"analytics{name}.json" for name in ("", "-principal"))
    deployment = (await read_head(older)).deployment or ""
    identity = create_identity(service, "analytics", deployment)
    if registered:
        await register(config, older, identity)
    else:
        principal.write_bytes(service.read_bytes())
        principal.chmod(0o600)
    before = await events_of(older)
    with pytest.raises(CeremonyIncomplete, match=r"call it analytics-principal\.json"):
        await renew(config, older, now)
    assert await events_of(older) == before
    service.rename(principal)
    await renew(config, older, now)
    assert load_identity(service).signer.public_key != load_identity(principal).signer.public_key


async def register(config: Config, bus: MemoryBus, identity: Identity) -> None:
    """Let root say that somebody is a principal, as a reset of policies does with administrators."""
    keys = {identity.name: identity.signer.public_key}
    with tokens.token_module(config) as module, conduct.root_identity(module, config) as (signer, _):
        await conduct.add(
            bus,
            author_of(signer.public_key, signer.sign),
            lambda head: [
                statements.policy_reset(
                    head.events + 1,
                    NOW_MS,
                    reason="a test",
                    removed=[],
                    policies=initial_policies(),
                    administrators=keys,
                    revoked=[],
                )
            ],
        )


async def test_genesis_has_no_key_twice(config: Config, cluster: MemoryCluster) -> None:
    """A copied identity file is told before anything is written."""
    bus = MemoryBus(cluster)
    with tokens.token_module(config) as module:
        tokens.prepare(module, config.pins_directory)
        with tokens.root_signer(module, config.pins_directory) as signer:
            deployment = fingerprint(signer.public_key)
    config.identities_directory.mkdir(parents=True)
    copy = config.identities_directory / "analytics-principal.json"
    create_identity(copy, "analytics", deployment)
    (config.identities_directory / "analytics.json").write_bytes(copy.read_bytes())
    (config.identities_directory / "analytics.json").chmod(0o600)
    with pytest.raises(CeremonyIncomplete, match=r"has the same key as .*analytics-principal"):
        await begin(config, bus)
    assert await is_empty(bus)


def notary_keys(config: Config) -> tuple[bytes, bytes]:
    """The public keys in the token `notary`."""
    with tokens.token_module(config) as module:
        return tokens.notary_keys(module, config.pins_directory)


async def test_renewal_makes_what_an_older_token_lacks(config: Config, cluster: MemoryCluster) -> None:
    """A notary's token of an earlier release gets a checkpoint key, which is certified with the identity it had."""
    bus = MemoryBus(cluster)
    await begin(config, bus)
    identity, before = notary_keys(config)
    with (
        tokens.token_module(config) as module,
        open_token(module, "notary", config.pins_directory / "notary") as token,
        token.manager() as session,
    ):
        for handle in data_objects.find(session, checkpoint_keys.CHECKPOINT_KEY_LABEL):
            data_objects.destroy(session, handle)
        token_keys.destroy_all(session, checkpoint_keys.CHECKPOINT_KEK_ID)
    assert (await renew(config, bus, now, ("notary",))).services == ("notary",)
    certified = (await events_of(bus))[-1].data
    assert (certified.public_key, certified.checkpoint_key) == tuple(key.hex() for key in notary_keys(config))
    assert certified.public_key == identity.hex()
    assert certified.checkpoint_key != before.hex()


async def test_another_root_is_refused(
    config: Config, cluster: MemoryCluster, tmp_path: Path, softhsm: SoftHSM
) -> None:
    """A log belongs to one root: other tokens cannot begin on it, and leave it as it is."""
    bus = MemoryBus(cluster)
    await begin(config, bus)
    before = await events_of(bus)
    other = settings(tmp_path / "other", softhsm)
    await begin(other, MemoryBus(MemoryCluster(topics=(), clock_ms=now)))
    with pytest.raises(CeremonyRefused, match="belongs to deployment"):
        await begin(other, bus)
    assert await events_of(bus) == before


async def test_other_partitions_are_refused(config: Config, cluster: MemoryCluster, softhsm: SoftHSM) -> None:
    """The number of partitions is fixed by genesis; the cluster's topics already say so."""
    bus = MemoryBus(cluster)
    await begin(config, bus)
    changed = config.model_copy(update={"partitions": 5})
    with pytest.raises(Exception, match="5"):
        await begin(changed, bus)


@pytest.mark.parametrize("topic", [topics.EVENTS, topics.KEYSTORE, topics.HSM_STATE])
async def test_a_log_that_is_not_empty_is_refused(config: Config, topic: str) -> None:
    """Whoever wrote before genesis must be looked at first; no token is made."""
    bus = MemoryBus(empty_topics())
    writer = bus.writer("stranger")
    await writer.start()
    await writer.commit([Outbound(topic, 1, b"registry", b"{}")])
    with pytest.raises(CeremonyRefused):
        await begin(config, bus)
    assert not config.pins_directory.exists()


async def test_something_else_before_genesis_is_refused(config: Config) -> None:
    """A first record that is no genesis is somebody's mistake or attack; it is not passed over."""
    bus = MemoryBus(empty_topics())
    writer = bus.writer("stranger")
    await writer.start()
    await writer.commit([Outbound(topics.EVENTS, 0, b"registry", b"{}")])
    with pytest.raises(CeremonyRefused, match="begins with something else"):
        await begin(config, bus)


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_commit_in_doubt_is_settled(config: Config, cluster: MemoryCluster, fault: Fault) -> None:
    """Lost, landed, left open or refused once: there is one genesis in the end, and never two."""
    cluster.fail_next_commit(fault)
    bus = MemoryBus(cluster)
    await begin(config, bus)
    assert sum(isinstance(event, facts.Genesis) for event in await events_of(bus)) == 1


async def test_a_commit_that_keeps_failing_can_be_repeated(config: Config, cluster: MemoryCluster) -> None:
    """After the last attempt the error is told; the next ceremony uses the same tokens and identities."""
    for _ in range(3):
        cluster.fail_next_commit(Fault.LOST)
    bus = MemoryBus(cluster)
    with pytest.raises(InDoubt):
        await begin(config, bus)
    made = {path: path.read_bytes() for path in config.identities_directory.iterdir()}
    done = await begin(config, bus)
    assert done.created
    assert {path: path.read_bytes() for path in config.identities_directory.iterdir()} == made


@pytest.mark.parametrize("call", range(1, 5))
async def test_a_crash_between_tokens_is_continued(
    config: Config, cluster: MemoryCluster, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the n-th token is made: the next attempt keeps those that exist and goes on."""
    _crash_at(monkeypatch, tokens, "create_token", call)
    bus = MemoryBus(cluster)
    with pytest.raises(Crash):
        await begin(config, bus)
    kept = {path: path.read_bytes() for path in config.pins_directory.glob("*")}
    assert len(kept) == 2 * (call - 1)
    monkeypatch.undo()
    assert (await begin(config, bus)).created
    assert {path: path.read_bytes() for path in kept} == kept


@pytest.mark.parametrize("call", [1, 4, 6])
async def test_a_crash_between_identities_is_continued(
    config: Config, cluster: MemoryCluster, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the n-th identity file: those that exist are used."""
    _crash_at(monkeypatch, root, "ensure_identity", call)
    bus = MemoryBus(cluster)
    with pytest.raises(Crash):
        await begin(config, bus)
    kept = {path: path.read_bytes() for path in config.identities_directory.glob("*")}
    monkeypatch.undo()
    assert (await begin(config, bus)).created
    assert {path: path.read_bytes() for path in kept} == kept


def _crash_at(patch: pytest.MonkeyPatch, module: object, name: str, call: int) -> None:
    real: Callable[..., object] = getattr(module, name)
    calls = iter(range(1, 1000))

    def crashing(*arguments: object) -> object:
        if next(calls) == call:
            raise Crash
        return real(*arguments)

    patch.setattr(module, name, crashing)


async def test_pin_files_without_a_token_are_moved_aside(config: Config, cluster: MemoryCluster) -> None:
    """Killed between PIN files and token: the files are kept under another name, never overwritten."""
    config.pins_directory.mkdir()
    for name in ("kms", "kms.so"):
        (config.pins_directory / name).write_text("left over")
    await begin(config, MemoryBus(cluster))
    for name in ("kms", "kms.so"):
        assert (config.pins_directory / f"{name}.orphan-1").read_text() == "left over"
        assert (config.pins_directory / name).read_text() != "left over"


@pytest.mark.parametrize("lost", ["root", "kms"])
async def test_a_token_without_its_pin_is_refused(config: Config, cluster: MemoryCluster, lost: str) -> None:
    """The message names the token and what to do; nothing is written to the log."""
    bus = MemoryBus(cluster)
    with tokens.token_module(config) as module:
        tokens.prepare(module, config.pins_directory)
    (config.pins_directory / lost).unlink()
    with pytest.raises(CeremonyIncomplete, match=f"delete-token --token {lost}"):
        await begin(config, bus)
    assert await is_empty(bus)


async def is_empty(bus: Bus) -> bool:
    admin = bus.admin()
    await admin.start()
    return not any((await admin.end_offsets(topics.EVENTS, committed=False)).values())


@pytest.mark.parametrize("content", ["", '{"name": "admin-1", "deployment": "x"}'])
async def test_a_foreign_identity_file_is_refused(config: Config, cluster: MemoryCluster, content: str) -> None:
    """Half written, or of another deployment: it is neither used nor overwritten, and the message says what to do."""
    config.identities_directory.mkdir(parents=True)
    path = config.identities_directory / "admin-1.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(CeremonyIncomplete, match="move it away"):
        await begin(config, MemoryBus(cluster))
    assert path.read_text() == content


async def test_one_at_a_time(config: Config, cluster: MemoryCluster) -> None:
    """A second ceremony in the same data directory is told to wait."""
    with conduct.alone(config), pytest.raises(CeremonyRefused, match="another ceremony"):
        await begin(config, MemoryBus(cluster))


async def test_the_library_is_closed_afterwards(config: Config, cluster: MemoryCluster) -> None:
    """No session with a token stays open in the process that held the ceremony."""
    await begin(config, MemoryBus(cluster))
    assert config.pkcs11_module.resolve() not in loaded_modules


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of its own: the ceremony needs an empty one."""
    stack = Stack(tmp_path_factory.mktemp("ceremony") / "data")
    try:
        yield stack.start_infrastructure(["kafka"]).bootstrap_servers
    finally:
        stack.reset()


@pytest.mark.stack
async def test_on_kafka(brokers: str, tmp_path: Path, softhsm: SoftHSM) -> None:
    """On a real broker: a follower of the registry finds what the ceremony wrote, and a second one changes nothing."""
    config = settings(tmp_path, softhsm, bootstrap_servers=brokers)
    bus = KafkaBus(BusSettings(bootstrap_servers=brokers))
    done = await initialise(config, bus, now_ms, lambda _line: None)
    assert not (await initialise(config, bus, now_ms, lambda _line: None)).created
    await renew(config, bus, now_ms)
    follower = RegistryFollower(bus, done.deployment)
    await follower.start()
    try:
        administrator = follower.view["principal/admin-1"]
        assert isinstance(administrator, Principal)
        assert administrator.groups == ("administrators",)
        assert sorted(len(licences) for licences in follower.trust.certificates.values()) == [2, 2, 2, 2, 2]
    finally:
        await follower.stop()
