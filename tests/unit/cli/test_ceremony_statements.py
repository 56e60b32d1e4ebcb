"""What the root identity says, without any token: genesis and certificates as values."""

import pytest

from keyfold.ceremony.statements import ServiceKeys, certificates, certified_topics, genesis
from keyfold.events import facts, topics
from keyfold.events.signatures import Signer
from keyfold.events.trust import Trust

ROOT, ADMIN, OTHER, SCHEDULER, SERVICE, ANALYTICS = (Signer(bytes([n]) * 32).public_key for n in range(1, 7))
WEAK = bytes(32)


def make(
    root: bytes = ROOT, admin: bytes = ADMIN, scheduler: bytes = SCHEDULER, analytics: bytes = ANALYTICS
) -> facts.Event:
    return genesis(
        1,
        1_800_000_000_000,
        root_public_key=root,
        partitions=4,
        development=False,
        administrators={"admin-1": admin, "admin-2": OTHER},
        scheduler=scheduler,
        analytics=analytics,
        policies={"p": "permit(principal, action, resource);"},
    )


def test_genesis_is_a_valid_event() -> None:
    """Its bytes parse as the event it is, by root."""
    event = make()
    assert facts.parse_event(event.to_value()) == event
    assert (event.id, event.subject, event.source) == ("root.1", "registry", "keyfold/root")


@pytest.mark.parametrize("weak", ["root", "admin", "scheduler", "analytics"])
def test_a_key_that_anybody_can_sign_for_is_refused(weak: str) -> None:
    """Points of small order have valid signatures without a private key: none may enter the log."""
    with pytest.raises(ValueError, match="not a usable"):
        make(**{weak: WEAK})
    with pytest.raises(ValueError, match="not a usable"):
        certificates(2, 0, {"policy": ServiceKeys(WEAK)})


def test_certificates_are_accepted_by_trust() -> None:
    """They last as long as the rule allows, not a millisecond longer."""
    trust = Trust.pin(Signer(b"\x01" * 32).fingerprint, ROOT)
    for event in certificates(2, 1_800_000_000_000, {"policy": ServiceKeys(SERVICE)}):
        trust = trust.with_event(event)
    assert len(trust.certificates) == 1


def test_services_sign_only_where_they_write() -> None:
    """What a service is certified for follows from the one table of topics."""
    assert certified_topics("policy") == [topics.AUTHORIZED, topics.EVENTS, topics.POLICY_STATE, topics.DEAD_LETTERS]
    assert topics.KEYSTORE not in certified_topics("policy")
    assert {topics.EVENTS, topics.KEYSTORE, topics.HSM_STATE} <= set(certified_topics("hsm"))
    assert topics.EVENTS not in certified_topics("projector") + certified_topics("notary")


def test_the_notarys_second_key_is_certified_with_the_first() -> None:
    """So a reader who pins the deployment knows both keys of the log; other roles have none."""
    checkpoint_key = bytes(range(256)) * 5 + bytes(32)
    keys = {"policy": ServiceKeys(OTHER), "notary": ServiceKeys(SERVICE, checkpoint_key)}
    trust = Trust.pin(Signer(b"\x01" * 32).fingerprint, ROOT)
    for event in certificates(2, 1_800_000_000_000, keys):
        trust = trust.with_event(event)
    assert trust.notary_keys() == ((SERVICE, checkpoint_key),)
