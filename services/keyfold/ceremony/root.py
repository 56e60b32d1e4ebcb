"""The ceremonies: `initialise` begins a deployment, `renew` licenses its service keys for another 90 days.

`initialise`, each step repeatable:
 1. topics from the table; a cluster that differs from it is refused;
 2. look at the log: a genesis of this root is the end of it, any other content is refused;
 3. tokens with their PINs; the root identity, the notary's keys, key encryption keys and the first storage epoch's key
    inside;
 4. identity files: services but the notary, two administrators, the scheduler, analytics as a principal;
 5. one transaction: genesis and the service keys' certificates. Before it commits the deployment does not exist, and
    everything made so far is used again by the next attempt; afterwards it does.

It must have the PKCS#11 library for itself in its process. It starts no service and writes no settings.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from keyfold.bus import Bus
from keyfold.ceremony import statements, tokens
from keyfold.ceremony.conduct import add, alone, deployment_of, require_deployment, root_identity
from keyfold.ceremony.errors import CeremonyRefused
from keyfold.ceremony.head import Head, author_of, read_head
from keyfold.ceremony.identities import (
    ADMINISTRATORS,
    ANALYTICS,
    ANALYTICS_FILE,
    NOTARY,
    SCHEDULER,
    SERVICE_ROLES,
    ensure_identity,
    identity_path,
    load_known,
    require_own_key,
)
from keyfold.ceremony.policy_sets import initial_policies
from keyfold.ceremony.statements import ServiceKeys
from keyfold.config import Config
from keyfold.events import facts, topics
from keyfold.events.entities import Principal
from keyfold.events.times import to_text
from keyfold.events.trust import MAX_CERTIFICATE_MS
from keyfold.identity import IdentityUnusable, load_identity
from keyfold.token import TokenSigner

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Initialised:
    """A deployment: its fingerprint, the administrators' identity files, and whether this call began it."""

    deployment: str
    administrators: tuple[Path, ...]
    created: bool


@dataclass(frozen=True, slots=True)
class Renewed:
    """Service keys licensed again; `not_after` is when these certificates end."""

    services: tuple[str, ...]
    not_after: str


async def initialise(config: Config, bus: Bus, clock_ms: Callable[[], int], report: Report) -> Initialised:
    """Begin the deployment, or find that it has begun. Raises `CeremonyRefused`, `CeremonyIncomplete`, token errors."""
    with alone(config):
        await _prepare_topics(config, bus, report)
        head = await read_head(bus)
        if head.genesis is None:
            await _refuse_foreign_records(bus)
        with tokens.token_module(config) as module:
            if head.genesis is None:
                report("root ceremony: creating tokens and keys")
                await asyncio.to_thread(tokens.prepare, module, config.pins_directory)
            notary = ServiceKeys(*tokens.notary_keys(module, config.pins_directory))
            with tokens.root_signer(module, config.pins_directory) as root:
                return await _begin(config, bus, root, clock_ms, report, notary=notary)


async def renew(
    config: Config, bus: Bus, clock_ms: Callable[[], int], services: Sequence[str] = SERVICE_ROLES
) -> Renewed:
    """Certify the services' keys again, from now on. Raises `CeremonyRefused` before `initialise`.

    A service that came with a later release than the deployment has no certificate yet: its identity file is made.
    """
    with alone(config), tokens.token_module(config) as module:
        now_ms = clock_ms()
        notary = ServiceKeys(*tokens.notary_keys(module, config.pins_directory)) if NOTARY in services else None
        with root_identity(module, config) as (root, deployment):

            def compose(head: Head) -> list[facts.Event]:
                require_deployment(head, deployment)
                keys = {role: _keys(config, role, head, notary) for role in services}
                return statements.certificates(head.events + 1, now_ms, keys)

            await add(bus, author_of(root.public_key, root.sign), compose)
    return Renewed(tuple(services), to_text(now_ms + MAX_CERTIFICATE_MS))


async def _begin(
    config: Config,
    bus: Bus,
    root: TokenSigner,
    clock_ms: Callable[[], int],
    report: Report,
    *,
    notary: ServiceKeys,
) -> Initialised:
    deployment = deployment_of(root)
    directory = config.identities_directory
    files = tuple(identity_path(directory, name) for name in ADMINISTRATORS)

    def compose(head: Head) -> list[facts.Event]:
        if head.genesis is not None:
            _require_same(config, head, deployment)
            return []
        report("root ceremony: signing genesis and the service keys' certificates")
        return _first_events(config, root.public_key, notary, deployment, clock_ms())

    created = await add(bus, author_of(root.public_key, root.sign), compose)
    return Initialised(deployment, files, created)


def _first_events(
    config: Config, root_public_key: bytes, notary: ServiceKeys, deployment: str, now_ms: int
) -> list[facts.Event]:
    seen: dict[str, str] = {}

    def key(name: str, file: str | None = None) -> bytes:
        identity = ensure_identity(config.identities_directory, name, deployment, file)
        path = identity_path(config.identities_directory, file or name)
        require_own_key(path, identity, seen)
        seen[identity.signer.fingerprint] = str(path)
        return identity.signer.public_key

    genesis = statements.genesis(
        1,
        now_ms,
        root_public_key=root_public_key,
        partitions=config.partitions,
        development=config.development,
        administrators={name: key(name) for name in ADMINISTRATORS},
        scheduler=key(SCHEDULER),
        analytics=key(ANALYTICS, ANALYTICS_FILE),
        policies=initial_policies(),
    )
    keys = {role: notary if role == NOTARY else ServiceKeys(key(role)) for role in SERVICE_ROLES}
    return [genesis, *statements.certificates(2, now_ms, keys)]


async def _prepare_topics(config: Config, bus: Bus, report: Report) -> None:
    admin = bus.admin()
    await admin.start()
    try:
        in_sync = 2 if config.replication_factor > 2 else 1
        created = await admin.create_topics(
            config.partitions, replication_factor=config.replication_factor, min_insync_replicas=in_sync
        )
        if created:
            report(f"created {len(created)} topics")
        await admin.verify_topics(config.partitions, min_insync_replicas=in_sync)
    finally:
        await admin.stop()


async def _refuse_foreign_records(bus: Bus) -> None:
    """Nobody may have written before genesis; partition 0 of events was read, it may hold an aborted attempt."""
    admin = bus.admin()
    await admin.start()
    try:
        for topic in topics.TOPICS:
            if not topic.transactional:
                continue
            for partition, end in (await admin.end_offsets(topic.name, committed=False)).items():
                if end and (topic.name, partition) != (topics.EVENTS, 0):
                    raise CeremonyRefused(
                        f"{topic.name} partition {partition} has records, but the log has no genesis; "
                        "a deployment begins on an empty cluster"
                    )
    finally:
        await admin.stop()


def _require_same(config: Config, head: Head, deployment: str) -> None:
    if head.deployment != deployment:
        raise CeremonyRefused(
            f"the log belongs to deployment {head.deployment}, this root token is {deployment}; "
            "check the broker address and the token directory"
        )
    if head.genesis is not None and head.genesis.data.partitions != config.partitions:
        raise CeremonyRefused(
            f"the deployment has {head.genesis.data.partitions} partitions, the settings say {config.partitions}; "
            "correct the settings"
        )


def _keys(config: Config, role: str, head: Head, notary: ServiceKeys | None) -> ServiceKeys:
    """Return what is certified of a role.

    If we crash before the certificate is committed, the next attempt uses the file that was made.
    """
    if role == NOTARY and notary is not None:
        return notary
    directory, deployment = config.identities_directory, head.deployment or ""
    certified = head.certified.get(role)
    identity = (load_known if certified else ensure_identity)(directory, role, deployment)
    if not certified or identity.signer.fingerprint not in certified:
        require_own_key(identity_path(directory, role), identity, _keys_in_use(directory, head))
    return ServiceKeys(identity.signer.public_key)


def _keys_in_use(directory: Path, head: Head) -> dict[str, str]:
    """Return whose keys there are, by fingerprint: of principals, registered or about to be, and of services."""
    known = {key: f"the service {role}" for role, keys in head.certified.items() for key in keys}
    for entity in head.registry.values():
        if isinstance(entity, Principal):
            known |= {key.signing_key: f"principal {entity.principal}" for key in entity.keys}
    path = identity_path(directory, ANALYTICS_FILE)
    with suppress(IdentityUnusable):
        known[load_identity(path).signer.fingerprint] = str(path)
    return known
