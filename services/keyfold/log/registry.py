"""The registry as one process knows it: trust, principals, policies, aliases and sealing keys, from events partition 0.

One follower per process reads the partition from its start, believes only what `chains` and `trust` accept, and keeps
tailing. It decides nothing. `fresh` says whether deciding on what it knows is allowed: only while a high watermark
seen at most five seconds ago has been passed.
"""

import asyncio
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from keyfold.bus import Bus, BusUnavailable, Inbound, Reader
from keyfold.events import facts, topics
from keyfold.events.chains import ChainGap, ChainReader, read_event
from keyfold.events.entities import DEPLOYMENT, Deployment, Entity
from keyfold.events.errors import InvalidCommand, KeyfoldError, RecordError, Unavailable, UnsupportedVersion
from keyfold.events.evolve import evolve, get
from keyfold.events.trust import Trust
from keyfold.logging import get_logger

FRESH_SECONDS: Final = 5.0
GENESIS_WAIT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_log = get_logger()


class NotInitialised(Unavailable):
    """The log has no genesis."""

    code = "NotInitialised"


class NotCertified(Unavailable):
    """Our own key's certificate has ended or was revoked: what we signed now, no reader would believe."""

    code = "NotCertified"


class RegistryBroken(KeyfoldError):
    """Partition 0 has a gap, or its genesis is not the pinned one: nothing may be decided."""

    code = "RegistryBroken"


class RegistryFollower:
    """The fold of partition 0, of so many `leaves`. `view` is live: read it within one step of the event loop."""

    def __init__(self, bus: Bus, deployment: str) -> None:
        self._bus, self._deployment = bus, deployment
        self._reader: Reader = bus.reader(topics.EVENTS, 0, committed=True)
        self._lock = asyncio.Lock()
        self._folded = -1
        self.leaves = 0
        self._chains: ChainReader | None = None
        self._trust: Trust | None = None
        self._entities: dict[str, Entity] = {}
        self._broken: RegistryBroken | None = None
        self._changed = asyncio.Event()

    @property
    def trust(self) -> Trust:
        """Certificates known now. Raises `NotInitialised` before genesis was read."""
        if self._trust is None:
            raise NotInitialised("the log has no genesis; run `keyfold init`")
        return self._trust

    @property
    def view(self) -> Mapping[str, Entity]:
        """The registry's entities now."""
        return MappingProxyType(self._entities)

    @property
    def deployment_entity(self) -> Deployment:
        """What genesis fixed, and the registry revision."""
        return get(self._entities, DEPLOYMENT, Deployment)

    async def start(self) -> None:
        """Read partition 0 to its end. Raises `NotInitialised` if no genesis comes in time."""
        await self._reader.start(None)
        deadline = asyncio.get_running_loop().time() + GENESIS_WAIT_SECONDS
        await self.catch_up()
        while DEPLOYMENT not in self._entities:
            if asyncio.get_running_loop().time() > deadline:
                raise NotInitialised("the log has no genesis; run `keyfold init`")
            await self._poll()

    async def run(self) -> None:
        """Tail until cancelled. Raises `RegistryBroken` or `PositionLost`; unavailability is waited out."""
        while True:
            try:
                await self._poll()
            except BusUnavailable as error:
                _log.warning("registry-unavailable", code=error.code)
                await asyncio.sleep(_POLL_SECONDS)

    async def catch_up(self) -> None:
        """Read to the present end, for who met something that partition 0 may explain."""
        end = await self._reader.end_offset()
        if self._folded >= end:  # as nearly always: no need to wait for the tail's poll
            self._require_whole()
            return
        async with self._lock:
            self._require_whole()
            async for batch in self._reader.read_to_end():
                self._fold_all(batch)
            self._folded = self._reader.position()

    async def wait_change(self) -> None:
        """Return after the next record that changed the registry."""
        self._changed.clear()
        await self._changed.wait()

    def require_licence(self, role: str, signer: str) -> None:
        """Raise `NotCertified` unless readers believe now what this key signs as this role (this machine's clock)."""
        try:
            self.trust.require_licence(role, signer, time.time_ns() // 1_000_000)
        except RecordError as error:
            raise NotCertified(str(error)) from None

    def fresh(self) -> bool:
        """Tell whether what is known is at most five seconds old, and not broken."""
        seen = self._reader.caught_up_at()
        return self._broken is None and seen is not None and asyncio.get_running_loop().time() - seen <= FRESH_SECONDS

    async def stop(self) -> None:
        """Release the reader."""
        await self._reader.stop()

    async def _poll(self) -> None:
        async with self._lock:
            self._require_whole()
            self._fold_all(await self._reader.poll(_POLL_SECONDS))
            self._folded = self._reader.position()
        await asyncio.sleep(0)

    def _require_whole(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _fold_all(self, batch: list[Inbound]) -> None:
        for record in batch:
            try:
                self._fold(record)
            except ChainGap as error:
                self._broken = RegistryBroken(f"events partition 0: {error}; compare the log with a checkpoint")
                raise self._broken from None
            except (RecordError, KeyError) as error:
                _log.warning("registry-record-ignored", offset=record.offset, reason=str(error))

    def _fold(self, record: Inbound) -> None:
        if DEPLOYMENT not in self._entities:
            self._begin(record)
        if self._trust is None or self._chains is None:
            return
        accepted = self._chains.accept(self._trust, record.key, record.value, record.headers, record.timestamp_ms)
        self.leaves += 1
        event = read_event(accepted, topics.EVENTS)
        self._trust = self._trust.with_event(event)
        changes = evolve(self._entities, event)
        if changes:
            _apply(self._entities, changes)
            self._changed.set()

    def _begin(self, record: Inbound) -> None:
        """Pin the root key that genesis names, if it is the deployment's; other first records are not believed."""
        try:
            event = facts.parse_event(record.value or b"")
        except (InvalidCommand, UnsupportedVersion):
            return
        if isinstance(event, facts.Genesis):
            self._trust = Trust.pin(self._deployment, bytes.fromhex(event.data.root_public_key))
            self._chains = ChainReader(topics.EVENTS, 0, event.data.partitions)


def _apply(entities: dict[str, Entity], changes: Mapping[str, Entity | None]) -> None:
    for name, entity in changes.items():
        if entity is None:
            entities.pop(name, None)
        else:
            entities[name] = entity
