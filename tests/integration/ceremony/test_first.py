"""The first ceremony with real tokens: what it leaves, and that it can be repeated.

The log is in memory where only the ceremony's own steps matter; one has Kafka.
"""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import SoftHSM
from tests.integration.ceremony_setting import begin, events_of, notary_keys, settings

from keyfold.bus import BusSettings, KafkaBus, MemoryBus, MemoryCluster
from keyfold.ceremony import initialise, renew
from keyfold.cli.session import now_ms
from keyfold.config import Config
from keyfold.embedded import Stack
from keyfold.events import facts, topics
from keyfold.events.entities import Principal
from keyfold.events.signatures import fingerprint
from keyfold.events.times import to_milliseconds
from keyfold.events.trust import MAX_CERTIFICATE_MS
from keyfold.identity import load_identity
from keyfold.log import RegistryFollower
from keyfold.token.module import _loaded as loaded_modules

pytestmark = [pytest.mark.token]


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
