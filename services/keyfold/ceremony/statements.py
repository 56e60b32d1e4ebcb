"""What the root identity says, as events: genesis, certificates, resets. Pure; keys, time, numbers are arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keyfold.ceremony.identities import ANALYTICS, SCHEDULER
from keyfold.events import facts, topics
from keyfold.events.signatures import check_public_key
from keyfold.events.statements import Entry
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.events.trust import MAX_CERTIFICATE_MS

ADMINISTRATORS_GROUP: Final = "administrators"
SERVICES_GROUP: Final = "services"
ANALYTICS_GROUP: Final = "analytics"


def certified_topics(role: str) -> list[str]:
    """Return the topics that a service signs on: those it writes, but for replies, which are signed one by one."""
    return [topic.name for topic in topics.TOPICS if role in topic.writers and topic.name != topics.REPLIES]


def genesis(
    number: int,
    now_ms: int,
    *,
    root_public_key: bytes,
    partitions: int,
    development: bool,
    administrators: Mapping[str, bytes],
    scheduler: bytes,
    analytics: bytes,
    policies: Mapping[str, str],
) -> facts.Event:
    """Build the first event. Raises ValueError for a public key that anybody could sign for."""
    for key in (root_public_key, scheduler, analytics, *administrators.values()):
        check_public_key(key)
    return facts.Genesis.new(
        _identifier(number),
        REGISTRY,
        to_text(now_ms),
        root_public_key=root_public_key.hex(),
        partitions=partitions,
        development=development,
        administrators=[_principal(name, key, ADMINISTRATORS_GROUP) for name, key in administrators.items()],
        services=[
            _principal(SCHEDULER, scheduler, SERVICES_GROUP),
            _principal(ANALYTICS, analytics, ANALYTICS_GROUP),
        ],
        policies=_policies(policies),
    )


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """What is certified of a service: its Ed25519 public key, and a notary's ML-DSA-44 public key. Raw bytes."""

    public_key: bytes
    checkpoint_key: bytes | None = None


def certificates(first_number: int, now_ms: int, keys: Mapping[str, ServiceKeys]) -> list[facts.Event]:
    """License each role's keys from now on, for as long as a certificate may last. Raises ValueError as `genesis`."""
    return [_certificate(first_number + at, now_ms, role, held) for at, (role, held) in enumerate(keys.items())]


def policy_reset(
    number: int,
    now_ms: int,
    *,
    reason: str,
    removed: Sequence[str],
    policies: Mapping[str, str],
    administrators: Mapping[str, bytes],
    revoked: Sequence[str],
) -> facts.Event:
    """Build a reset of policies and administrators. Raises ValueError as `genesis`, and for what it cannot hold.

    A reason of blanks is none.
    """
    for key in administrators.values():
        check_public_key(key)
    return facts.PolicyReset.new(
        _identifier(number),
        REGISTRY,
        to_text(now_ms),
        reason=reason.strip(),
        removed=list(removed),
        policies=_policies(policies),
        administrators=[_principal(name, key, ADMINISTRATORS_GROUP) for name, key in administrators.items()],
        revoked=list(revoked),
    )


def entries(events: Sequence[facts.Event]) -> list[Entry]:
    """Return what the root's statement covers."""
    return [Entry(event.subject.encode(), event.to_value()) for event in events]


def _certificate(number: int, now_ms: int, role: str, keys: ServiceKeys) -> facts.Event:
    check_public_key(keys.public_key)
    return facts.ServiceKeyCertified.new(
        _identifier(number),
        REGISTRY,
        to_text(now_ms),
        public_key=keys.public_key.hex(),
        service=role,
        topics=certified_topics(role),
        not_before=to_text(now_ms),
        not_after=to_text(now_ms + MAX_CERTIFICATE_MS),
        **({} if keys.checkpoint_key is None else {"checkpoint_key": keys.checkpoint_key.hex()}),
    )


def _policies(texts: Mapping[str, str]) -> list[facts.InitialPolicy]:
    return [facts.InitialPolicy(policy=name, text=text) for name, text in texts.items()]


def _principal(name: str, key: bytes, group: str) -> facts.InitialPrincipal:
    return facts.InitialPrincipal(principal=name, public_key=key.hex(), groups=[group])


def _identifier(number: int) -> str:
    return f"root.{number}"
