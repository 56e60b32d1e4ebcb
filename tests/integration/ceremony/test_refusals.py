"""Where the ceremony refuses: somebody else's log, tokens, identities or settings; and it leaves them as they are."""

from pathlib import Path

import pytest
from tests.conftest import SoftHSM
from tests.integration.ceremony_setting import begin, empty_topics, events_of, now, settings

from keyfold.bus import Bus, MemoryBus, MemoryCluster, Outbound
from keyfold.ceremony import CeremonyIncomplete, CeremonyRefused, conduct, tokens
from keyfold.config import Config
from keyfold.events import topics
from keyfold.events.signatures import fingerprint
from keyfold.identity import create_identity

pytestmark = [pytest.mark.token]


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
