"""Renewing certificates with real tokens: the same keys, services of a later release, and keys that are not there."""

from typing import Any

import pytest
from tests.integration.ceremony_setting import NOW_MS, begin, empty_topics, events_of, notary_keys, now

from keyfold.bus import MemoryBus, MemoryCluster
from keyfold.ceremony import CeremonyIncomplete, CeremonyRefused, conduct, renew, root, statements, tokens
from keyfold.ceremony.head import author_of, read_head
from keyfold.ceremony.policy_sets import initial_policies
from keyfold.config import Config
from keyfold.custody import checkpoint_keys
from keyfold.events import facts
from keyfold.events.times import to_milliseconds
from keyfold.events.trust import MAX_CERTIFICATE_MS
from keyfold.identity import Identity, create_identity, load_identity
from keyfold.token import data_objects, open_token
from keyfold.token import keys as token_keys

pytestmark = [pytest.mark.token]


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
