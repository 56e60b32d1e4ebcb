"""Settling: whatever a predecessor's transaction left open is ended, before anything is restored from the log.

Starting a writer fences its predecessor and has its transaction committed or aborted. But a coordinator that finds a
partition without a leader (all its brokers were down, or went down just then) takes it for deleted and leaves its
markers out: the transaction is over, and in the log it stays open, invisible to committed readers. Whoever restores
then does not see what was committed, and the next transaction of the same writer decides about it by accident. So
after the fencing, before restoring, a role looks for open records of its own and ends them as `verdicts` says.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from keyfold.bus import Admin, Bus, Inbound, Writer
from keyfold.events import strictjson, topics
from keyfold.events.chains import single_header
from keyfold.events.errors import InvalidCommand, RecordError
from keyfold.events.signatures import HEAD, pae
from keyfold.events.statements import (
    PATH_HEADER,
    SIGNATURE_HEADER,
    SIGNER_HEADER,
    STATEMENT_HEADER,
    ChainHead,
    parse_statement,
)
from keyfold.events.trust import Trust
from keyfold.log.state_topic import HEAD_KEY
from keyfold.log.verdicts import Found, Heads, Statements, Unsettled, verdicts
from keyfold.logging import get_logger

WAIT_SECONDS: Final = 7.0
"""A transaction of somebody else on the same topic is over by then: longer than the transaction timeout."""

_LOOK_SECONDS: Final = 0.1
_BACK: Final = 2000
_log = get_logger()


@dataclass(frozen=True, slots=True)
class Settling:
    """One role's partition: its state topic, the topics of its chains, and how its heads name their ends."""

    bus: Bus
    trust: Trust
    role: str
    partition: int
    state_topic: str
    topics: tuple[str, ...]
    heads_of: Callable[[dict[str, Any]], Heads]

    async def settle(self, writer: Writer) -> None:
        """End what is open of this role's. To be called when the writer has started, before anything is restored."""
        admin = self.bus.admin()
        await admin.start()
        try:
            ends = await self._ends(admin, committed=False)
            if await self._reached(admin, ends, WAIT_SECONDS):
                return
            chosen = verdicts(self.state_topic, await self._look(admin))
            if not chosen and await self._root_wrote(admin):
                # A ceremony wrote in our place and was not told that it succeeded: it says it again, or never did.
                _log.error("ceremony-left-open", role=self.role)
                await writer.end_open([(topics.EVENTS, 0)], commit=False)
            for commit in (True, False):
                places = [(topic, self.partition) for topic, verdict in chosen.items() if verdict is commit]
                if places:
                    _log.error("transaction-left-open", role=self.role, places=places, committed=commit)
                    await writer.end_open(places, commit=commit)
            if chosen and not await self._reached(admin, {t: ends[t] for t in chosen}, WAIT_SECONDS):
                raise Unsettled(f"{sorted(chosen)} partition {self.partition} did not come to rest; trying again")
        finally:
            await admin.stop()

    async def _ends(self, admin: Admin, *, committed: bool) -> dict[str, int]:
        names = (self.state_topic, *self.topics)
        return {name: (await admin.end_offsets(name, committed=committed))[self.partition] for name in names}

    async def _reached(self, admin: Admin, ends: Mapping[str, int], patience_s: float) -> bool:
        """Wait until committed readers see everything: others write to some of the topics, too, and end in time."""
        deadline = asyncio.get_running_loop().time() + patience_s
        while True:
            stable = await self._ends(admin, committed=True)
            if all(stable[topic] >= end for topic, end in ends.items()):
                return True
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, admin: Admin) -> Found:
        stable = await self._ends(admin, committed=True)
        heads = [head for record in await self._read(self.state_topic, None) for head in self._head(record)]
        tail = await self._read(self.state_topic, stable[self.state_topic], committed=False)
        return Found(
            heads[-1] if heads else None,
            [head for record in tail for head in self._head(record)],
            bool(tail),
            {t: self._statements(await self._read(t, stable[t], committed=False)) for t in self.topics},
            {t: self._statements(await self._read(t, await self._back(admin, t, stable[t]))) for t in self.topics},
        )

    async def _root_wrote(self, admin: Admin) -> bool:
        """Tell whether a ceremony's record is open in the registry's partition."""
        if self.partition != 0 or topics.EVENTS not in self.topics:
            return False
        stable = (await admin.end_offsets(topics.EVENTS, committed=True))[0]
        for record in await self._read(topics.EVENTS, stable, committed=False):
            try:
                if parse_statement(single_header(record.headers, STATEMENT_HEADER) or b"").role == "root":
                    return True
            except RecordError:
                continue
        return False

    async def _back(self, admin: Admin, topic: str, end: int) -> int:
        return max((await admin.start_offsets(topic))[self.partition], end - _BACK)

    async def _read(self, topic: str, position: int | None, *, committed: bool = True) -> list[Inbound]:
        reader = self.bus.reader(topic, self.partition, committed=committed)
        found: list[Inbound] = []
        try:
            await reader.start(position)
            async for batch in reader.read_to_end():
                found += batch
        finally:
            await reader.stop()
        return found

    def _head(self, record: Inbound) -> list[Heads]:
        """Return the heads that a state record names, if it is one and signed by this role."""
        if record.key != HEAD_KEY or record.value is None:
            return []
        signer = (single_header(record.headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
        signature = single_header(record.headers, SIGNATURE_HEADER) or b""
        try:
            self.trust.verify_head(self.role, signer, signature, pae(HEAD, record.value))
            return [self.heads_of(strictjson.loads(record.value)["head"])]
        except (RecordError, InvalidCommand, KeyError, TypeError, ValueError):
            return []

    def _statements(self, records: list[Inbound]) -> Statements:
        found = Statements()
        for record in records:
            document = single_header(record.headers, STATEMENT_HEADER) or b""
            signer = (single_header(record.headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
            signature = single_header(record.headers, SIGNATURE_HEADER) or b""
            try:
                statement = parse_statement(document)
                self.trust.verify_statement(statement, document, signature, signer, record.timestamp_ms)
            except RecordError:
                continue
            if statement.role == self.role:
                leaf = int.from_bytes((single_header(record.headers, PATH_HEADER) or b"")[:4], "big")
                found.add(ChainHead(statement.n, sha256(document).hexdigest()), leaf, statement.leaves)
        return found
