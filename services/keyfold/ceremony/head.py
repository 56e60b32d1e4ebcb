"""The head of the log: what root has said so far on events partition 0, the registry there, and how root adds to it.

Reading follows the same rules as every reader (`keyfold.events.chains`). Writing is one transaction under one
transactional id, so two ceremonies cannot both succeed: the later one fences the earlier.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from keyfold.bus import Bus, Inbound, Writer
from keyfold.ceremony.errors import CeremonyRefused
from keyfold.ceremony.statements import entries
from keyfold.events import facts, topics
from keyfold.events.chains import ChainReader, ChainRepeat, Place, read_event, single_header
from keyfold.events.entities import Entity
from keyfold.events.errors import InvalidCommand, UnsupportedVersion
from keyfold.events.evolve import Changes, evolve
from keyfold.events.signatures import fingerprint
from keyfold.events.statements import STATEMENT_HEADER, ChainHead, UntrustedRecord, parse_statement
from keyfold.events.trust import Trust
from keyfold.log import Author, transactional_id

ROLE: Final = "root"
TRANSACTIONAL_ID: Final = transactional_id(ROLE, 0)
WAIT_SECONDS: Final = 7.0
"""A transaction of somebody else on partition 0 is over by then: longer than the transaction timeout."""

_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Head:
    """Genesis (None: the partition is empty), root's events (how many, the last), its chain; and the registry.

    `certified` are the fingerprints of all keys that a role was ever certified with.
    """

    genesis: facts.Genesis | None = None
    events: int = 0
    last: facts.Event | None = None
    chain: ChainHead = ChainHead()  # noqa: RUF009 - frozen
    registry: Mapping[str, Entity] = field(default_factory=dict)
    certified: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def deployment(self) -> str | None:
        """The fingerprint of the root identity that genesis names."""
        return fingerprint(bytes.fromhex(self.genesis.data.root_public_key)) if self.genesis else None


async def read_head(bus: Bus) -> Head:
    """Read events partition 0 to its end. Raises `CeremonyRefused` where it begins with anything but a genesis."""
    reader = bus.reader(topics.EVENTS, 0, committed=True)
    folding = _Folding()
    await reader.start(None)
    try:
        async for batch in reader.read_to_end():
            for record in batch:
                folding.fold(record)
    finally:
        await reader.stop()
    return folding.head()


def changed(registry: Mapping[str, Entity], changes: Changes) -> dict[str, Entity]:
    """Return the registry as it is after changes."""
    merged: dict[str, Entity | None] = {**registry, **changes}
    return {name: entity for name, entity in merged.items() if entity is not None}


async def append(writer: Writer, author: Author, chain: ChainHead, events: Sequence[facts.Event]) -> None:
    """Write root's next statement in one transaction.

    If we crash before commit returns, it is there as a whole or not at all: the next ceremony starts its writer,
    which settles that, and then reads.
    """
    _, records = author.records(topics.EVENTS, 0, chain, entries(events))
    await writer.commit(records)


async def settle(bus: Bus, writer: Writer) -> None:
    """Abort what an earlier ceremony left open in the log; to be called when the writer has started.

    A broker that fails can leave a decided transaction without its end (decision 0017). A ceremony reports success
    only when committed readers see it, so what is still open was never reported, and is made again.
    """
    if not await at_rest(bus, WAIT_SECONDS):
        await writer.end_open([(topics.EVENTS, 0)], commit=False)


async def open_roles(bus: Bus) -> set[str]:
    """Return who signed what is in partition 0 and not yet visible to committed readers; "" for what nobody signed."""
    admin = bus.admin()
    await admin.start()
    try:
        stable = (await admin.end_offsets(topics.EVENTS, committed=True))[0]
    finally:
        await admin.stop()
    reader = bus.reader(topics.EVENTS, 0, committed=False)
    await reader.start(stable)
    try:
        return {_role(record) async for batch in reader.read_to_end() for record in batch}
    finally:
        await reader.stop()


def _role(record: Inbound) -> str:
    try:
        return parse_statement(single_header(record.headers, STATEMENT_HEADER) or b"").role
    except UntrustedRecord:
        return ""


async def at_rest(bus: Bus, patience_s: float) -> bool:
    """Wait until committed readers of partition 0 see all that is there now; False where they do not in time."""
    admin = bus.admin()
    await admin.start()
    try:
        end = (await admin.end_offsets(topics.EVENTS, committed=False))[0]
        deadline = asyncio.get_running_loop().time() + patience_s
        while (await admin.end_offsets(topics.EVENTS, committed=True))[0] < end:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True
    finally:
        await admin.stop()


def author_of(public_key: bytes, sign: Callable[[bytes], bytes]) -> Author:
    """The root identity as an author: the deployment is its own fingerprint."""
    return Author(fingerprint(public_key), ROLE, fingerprint(public_key), sign)


class _Folding:
    def __init__(self) -> None:
        self._genesis: facts.Genesis | None = None
        self._events = 0
        self._last: facts.Event | None = None
        self._registry: dict[str, Entity] = {}
        self._trust: Trust | None = None
        self._chains: ChainReader | None = None

    def head(self) -> Head:
        place = self._chains.places.get(ROLE, Place()) if self._chains else Place()
        certified = _certified(self._trust) if self._trust else {}
        return Head(self._genesis, self._events, self._last, place.head, self._registry, certified)

    def fold(self, record: Inbound) -> None:
        trust, chains = self._begun(record)
        try:
            accepted = chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
            event = read_event(accepted, topics.EVENTS)
        except (UntrustedRecord, ChainRepeat):
            return
        self._trust = trust.with_event(event)
        if accepted.role == ROLE:
            self._events, self._last = self._events + 1, event
        self._apply(event)

    def _apply(self, event: facts.Event) -> None:
        """Ignore what cannot follow from the registry, as every follower does."""
        with suppress(KeyError):
            for name, entity in evolve(self._registry, event).items():
                if entity is None:
                    self._registry.pop(name, None)
                else:
                    self._registry[name] = entity

    def _begun(self, record: Inbound) -> tuple[Trust, ChainReader]:
        if self._trust is None or self._chains is None:
            self._genesis = _genesis(record)
            root = bytes.fromhex(self._genesis.data.root_public_key)
            self._trust = Trust.pin(fingerprint(root), root)
            self._chains = ChainReader(topics.EVENTS, 0, self._genesis.data.partitions)
        return self._trust, self._chains


def _certified(trust: Trust) -> dict[str, frozenset[str]]:
    roles: dict[str, set[str]] = {}
    for key, licences in trust.certificates.items():
        for licence in licences:
            roles.setdefault(licence.service, set()).add(key)
    return {role: frozenset(keys) for role, keys in roles.items()}


def _genesis(record: Inbound) -> facts.Genesis:
    try:
        event = facts.parse_event(record.value or b"")
    except (InvalidCommand, UnsupportedVersion):
        event = None
    if not isinstance(event, facts.Genesis):
        raise CeremonyRefused(
            f"{topics.EVENTS} partition 0 begins with something else than a genesis; "
            "a deployment begins on an empty log: use another cluster, or look at who wrote there"
        )
    return event
