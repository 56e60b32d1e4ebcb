"""Sealing keys as one process knows them: blobs from keystore partition 0, private halves loaded when needed.

Every worker tails that partition. A private key is opened from its blob at first use, kept in a small memory, and
dropped when its erasure is read or 16 minutes after a newer key was stored. Making and erasing keys is the business of
partition 0's owner.
"""

import asyncio
import threading
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from keyfold.bus import Bus, BusUnavailable, Inbound
from keyfold.custody import SealingPrivateKey
from keyfold.events import facts, topics
from keyfold.events.chains import ChainGap, ChainReader, read_event
from keyfold.events.entities import SealingKey
from keyfold.events.errors import Expired, RecordError, SealingKeyRetired
from keyfold.events.times import MINUTE_MS
from keyfold.hsm.errors import KeystoreBroken, TokenNeeded
from keyfold.hsm.token_verbs import SealingCustody
from keyfold.log import RegistryFollower
from keyfold.logging import get_logger

KEPT_AFTER_RETIREMENT_MS: Final = 16 * MINUTE_MS
CAPACITY: Final = 8
_POLL_S: Final = 0.25
_LOOK_AGAIN_S: Final = 0.05
_log = get_logger()


@dataclass(frozen=True, slots=True, repr=False)
class _Known:
    blob: bytes
    retired_at_ms: int | None = None


class Keyring:
    """The one reader of sealing keys in this process. `private` may be called from any thread."""

    def __init__(
        self,
        bus: Bus,
        follower: RegistryFollower,
        sealing: SealingCustody,
        partitions: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._follower, self._sealing, self._clock_ms = follower, sealing, clock_ms
        self._reader = bus.reader(topics.KEYSTORE, 0, committed=True)
        self._chains = ChainReader(topics.KEYSTORE, 0, partitions)
        self._reading = asyncio.Lock()
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._open: OrderedDict[str, SealingPrivateKey] = OrderedDict()

    async def start(self) -> None:
        """Read keystore partition 0 to its end. The follower must have started."""
        await self._reader.start(None)
        await self.catch_up()

    async def run(self) -> None:
        """Tail until cancelled. Raises `KeystoreBroken` and `PositionLost`; unavailability is waited out."""
        while True:
            try:
                async with self._reading:
                    await self._fold_all(await self._reader.poll(_POLL_S))
            except BusUnavailable as error:
                _log.warning("keyring-unavailable", code=error.code)
                await asyncio.sleep(_POLL_S)
            self._purge()
            await asyncio.sleep(0)

    async def catch_up(self) -> None:
        """Read to the present end."""
        async with self._reading:
            async for batch in self._reader.read_to_end():
                await self._fold_all(batch)

    async def ensure(self, names: Iterable[str], wait_s: float) -> None:
        """Try to know these keys: read on while the registry says that one exists which was not read yet.

        A transaction is seen on one partition a moment before it is seen on the other.
        """
        missing = {name for name in names if name not in self._known}
        if not missing:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        await self._follower.catch_up()
        await self.catch_up()
        while any(name not in self._known and self._is_live(name) for name in missing) and loop.time() < deadline:
            await asyncio.sleep(_LOOK_AGAIN_S)
            await self.catch_up()

    def private(self, name: str, *, token: bool) -> SealingPrivateKey:
        """Return a private key, opening it if need be.

        Raises `SealingKeyRetired` for one that is erased or unknown, `Expired` 16 minutes after its retirement,
        `TokenNeeded` where it is not open and the token may not be asked, and `TokenUnavailable`.
        """
        known = self._known.get(name)
        if known is None:
            raise SealingKeyRetired
        if self._is_over(known):
            self._drop(name)
            raise Expired("the body was sealed to a key that is long retired; issue a new command")
        with self._lock:
            found = self._open.get(name)
            if found is not None:
                self._open.move_to_end(name)
                return found
        if not token:
            raise TokenNeeded
        opened = self._sealing.load(UUID(name).bytes, known.blob)
        self._keep(name, opened)
        return opened

    async def stop(self) -> None:
        """Release the reader and forget every private key."""
        with self._lock:
            self._open.clear()
        await self._reader.stop()

    def _keep(self, name: str, opened: SealingPrivateKey) -> None:
        with self._lock:
            # Its erasure may have been read while the token opened it.
            if name in self._known:
                self._open[name] = opened
                if len(self._open) > CAPACITY:
                    self._open.popitem(last=False)

    def _drop(self, name: str) -> None:
        with self._lock:
            self._open.pop(name, None)

    def _is_over(self, known: _Known) -> bool:
        retired = known.retired_at_ms
        return retired is not None and self._clock_ms() > retired + KEPT_AFTER_RETIREMENT_MS

    def _is_live(self, name: str) -> bool:
        entity = self._follower.view.get(f"sealing-key/{name}")
        return isinstance(entity, SealingKey) and entity.erased_at is None

    def _purge(self) -> None:
        for name, known in self._known.items():
            if self._is_over(known):
                self._drop(name)

    async def _fold_all(self, batch: list[Inbound]) -> None:
        for record in batch:
            try:
                self._fold(record)
            except ChainGap as error:
                raise KeystoreBroken(f"keystore partition 0: {error}; restore it from a replica") from None
            except RecordError:
                await self._fold_again(record)

    async def _fold_again(self, record: Inbound) -> None:
        """Its signer may be new: learn what the registry says, then believe it or ignore it."""
        await self._follower.catch_up()
        try:
            self._fold(record)
        except ChainGap as error:
            raise KeystoreBroken(f"keystore partition 0: {error}; restore it from a replica") from None
        except RecordError as error:
            _log.warning("keystore-record-ignored", partition=0, offset=record.offset, reason=str(error))

    def _fold(self, record: Inbound) -> None:
        trust = self._follower.trust
        accepted = self._chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
        match read_event(accepted, topics.KEYSTORE):
            case facts.SealingKeyStored(data=data):
                retired = {
                    name: replace(known, retired_at_ms=record.timestamp_ms)
                    for name, known in self._known.items()
                    if known.retired_at_ms is None
                }
                self._known = {**self._known, **retired, data.sealing_key: _Known(b64decode(data.blob))}
            case facts.SealingKeyDeleted(data=data):
                self._known = {name: known for name, known in self._known.items() if name != data.sealing_key}
                self._drop(data.sealing_key)
