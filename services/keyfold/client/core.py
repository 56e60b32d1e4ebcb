"""What the verbs stand on: resolving keys, opening lanes, sending control commands and batches."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from keyfold.bus import Bus
from keyfold.client.answers import Answer
from keyfold.client.arguments import check_reason
from keyfold.client.coalescing import Limits, slices
from keyfold.client.contexts import EMPTY, ContextTexts
from keyfold.client.directory import Directory
from keyfold.client.errors import ClientClosed, DeadlineExceeded, DirectoryIncomplete, InvalidArgument
from keyfold.client.exchange import Exchange
from keyfold.client.identifiers import is_alias
from keyfold.client.intents import Intent
from keyfold.client.lanes import Lane, LaneName, Lanes
from keyfold.client.parcels import Batch, Control, Slice
from keyfold.client.public_keys import PublicKey
from keyfold.client.receipts import COLLECTING, Receipt, collecting, prove
from keyfold.client.settings import MAX_BODY_BYTES, ClientSettings
from keyfold.client.sizes import most_items
from keyfold.events.bodies import Item
from keyfold.events.errors import BatchTooLarge, KeyfoldError
from keyfold.events.streams import key_stream, principal_stream
from keyfold.identity import Identity

Context = Mapping[str, str]
BatchResult = list[bytes | KeyfoldError]


class Batched(NamedTuple):
    """Results of a batch, in order, and the key version that was used for each: 0 where none or several apply."""

    results: BatchResult
    versions: list[int]


NO_ARGUMENTS: Final = "{}"


class Core:
    """The parts of a connected client; the verbs are in `DataVerbs` and `ControlVerbs`."""

    _bus: Bus
    _principal: str
    _identity: Identity
    _settings: ClientSettings
    _exchange: Exchange
    _directory: Directory
    _lanes: Lanes
    _lanes_by_name: dict[LaneName, Lane]
    _contexts: ContextTexts
    _timeout_s: float

    async def _lane(self, verb: str, key: str, arguments: str = NO_ARGUMENTS, reason: str | None = None) -> Lane:
        """Return the lane of a verb on a key as the caller names it; an alias is looked up first."""
        name = (verb, key, arguments, reason, COLLECTING.get())
        lane = self._lanes_by_name.get(name)
        if lane is not None:
            return lane
        intent = await self._intent(verb, key, arguments, reason)
        return self._open_lanes().open(name, intent)

    async def _intent(self, verb: str, key: str, arguments: str, reason: str | None = None) -> Intent:
        self._open_lanes()
        check_reason(reason)
        if verb == "GenerateRandom":
            stream = principal_stream(self._principal)
            return Intent(verb, stream, arguments, data_plane=True, reason=reason, collector=COLLECTING.get())
        alias = key if is_alias(key) else None
        stream = key_stream(await self.resolve(key))
        asked = COLLECTING.get()
        return Intent(verb, stream, arguments, data_plane=True, alias=alias, reason=reason, collector=asked)

    async def resolve(self, key: str) -> str:
        """Return the id of a key named by id or alias. Raises `NotFound` for an unknown alias."""
        self._open_lanes()
        if not is_alias(key):
            return key
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._directory.resolve(key)
        except TimeoutError:
            raise DeadlineExceeded(f"{key} was not looked up in time; check the brokers, then call again") from None

    async def public_key(self, key: str, version: int | None = None, *, timeout_s: float | None = None) -> PublicKey:
        """Return the public half of a key's version (None: the current one) from the directory, without a command.

        It is stated by the HSM worker and believed by its signature, and remembered: the current one is as new as the
        directory is here (`get_public_key` asks the service). Raises `NotFound`; symmetric keys have none.
        """
        key_id = await self.resolve(key)
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await self._directory.public_key(key_id, version)
        except TimeoutError:
            raise DeadlineExceeded(f"{key} was not looked up in time; check the brokers, then call again") from None

    def with_receipts(self) -> AbstractContextManager[list[Receipt]]:
        """Ask for a receipt of each command that this task's calls send inside the block.

            with kms.with_receipts() as receipts:
                signature = await kms.sign("alias/orders", message, signing_algorithm="ED25519_SHA_512")
            proof = await kms.proof(receipts[0])

        Calls that share a command share its receipt; a batch has one for each of its commands, and a failed operation
        has one too. What was denied has none, nor has a command that was executed before and is only summed up, and
        where a result fills its reply, the receipt is left out: `keyfold audit prove` proves all of these.
        """
        return collecting()

    async def proof(self, receipt: Receipt, *, timeout_s: float | None = None) -> bytes:
        """Return the proof (C2SP tlog-proof) that a receipt's outcome is in the log, for anybody to check offline.

        It is made from hashes that the notary publishes, as soon as a checkpoint covers the outcome (mostly within a
        second), and checked by what root certified. Raises `UntrustedRecord`, `NotPublished`, `NoCheckpoint`.
        """
        self._open_lanes()
        trust = self._directory.view.trust
        if trust is None:
            raise DirectoryIncomplete("the directory has no genesis; check that the projector runs, then call again")
        return await prove(self._bus, receipt, trust, timeout_s or self._timeout_s)

    async def _alone(
        self, intent: Intent, timeout_s: float | None, items: Sequence[Item] = (), contexts: Sequence[str] = ()
    ) -> Answer:
        """Send a record of its own and wait for its answer."""
        self._open_lanes()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        deadline = loop.time() + (timeout_s or self._timeout_s)
        self._exchange.dispatch(intent, Control(future, deadline, items, contexts))
        return await future

    async def _batch(
        self, intent: Intent, items: Sequence[bytes], contexts: Sequence[str], timeout_s: float | None
    ) -> Batched:
        """Send a batch as few records, a bounded number at a time, and collect the results in order."""
        if not items:
            return Batched([], [])
        limits = Limits(most_items(intent), MAX_BODY_BYTES, 1)
        parts = slices([len(item) for item in items], contexts, limits)
        if intent.proposal is not None and len(parts) > 1:
            raise BatchTooLarge("a proposal is carried out by one command, and these items need several")
        loop = asyncio.get_running_loop()
        batch = Batch(loop.create_future(), len(items))
        deadline = loop.time() + (timeout_s or self._timeout_s)
        gate = asyncio.Semaphore(self._settings.max_in_flight)
        try:
            for part in parts:
                await gate.acquire()
                if batch.future.done():
                    break
                pairs = list(zip(items[part.start : part.stop], contexts[part.start : part.stop], strict=True))
                self._exchange.dispatch(intent, Slice(batch, part, pairs, deadline), finished=gate.release)
            return Batched(await batch.future, batch.versions)
        finally:
            batch.future.cancel()

    def _batch_contexts(self, count: int, context: Context | None, contexts: Iterable[Context] | None) -> list[str]:
        if contexts is None:
            return [self._contexts.text(context) if context else EMPTY] * count
        if context is not None:
            raise InvalidArgument("give one context for all items, or contexts for each, not both")
        texts = [self._contexts.text(one) for one in contexts]
        if len(texts) != count:
            raise InvalidArgument(f"{count} items need {count} contexts, not {len(texts)}")
        return texts

    def _open_lanes(self) -> Lanes:
        try:
            return self._lanes
        except AttributeError:
            raise ClientClosed("the client is not connected; use it inside `async with`") from None


def check_names(given: Mapping[str, object], known: frozenset[str]) -> None:
    """Refuse keyword arguments that no type checker saw. Raises TypeError, as a call with a wrong name does."""
    for name in given.keys() - known:
        raise TypeError(f"unexpected keyword argument {name!r}")


def item_bytes(data: bytes) -> bytes:
    """Return an item's bytes. Raises `InvalidArgument` or `BatchTooLarge` before anything is sent."""
    if type(data) is not bytes:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise InvalidArgument("data is bytes; encode text first")
        data = bytes(data)
    if len(data) > MAX_BODY_BYTES:
        raise BatchTooLarge(
            f"an item of {len(data)} bytes is more than a command holds ({MAX_BODY_BYTES}); "
            "encrypt it with a data key (keyfold.client.envelope)"
        )
    return data
