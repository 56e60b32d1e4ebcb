"""A deployment in memory with a notary: who writes events, processes that sign them, and a look at all that they said.

`assert_proven` is what every auditor may demand: it trusts the deployment's fingerprint and reads everything again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from tests.support.deployment import Writer, cancelled, until
from tests.support.notary_checker import Published
from tests.support.notary_log import NotaryKeys
from tests.support.notary_token import MemoryToken
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS, certificate, genesis, key_on, signer

from keyfold.bus import Inbound, MemoryBus, MemoryCluster, Outbound
from keyfold.events import facts, topics
from keyfold.events.checkpoints import Checkpoint, origin_of
from keyfold.events.log_leaves import leaf_of
from keyfold.events.signatures import Signer
from keyfold.events.streams import key_id_of
from keyfold.events.times import to_text
from keyfold.events.trust import Trust
from keyfold.log import Author, DeadLetters, TrustKeeper
from keyfold.notary.notary import Notary, Parts, require_licence
from keyfold.notary.settings import NotarySettings

SETTINGS = NotarySettings(round_s=0, first_retry_s=0.001, longest_retry_s=0.05, trust_interval_s=0.01, short_log_s=0.02)
ID = "keyfold-notary-0"


class Office:
    """Everything outside the notary, and notaries on request. Their token outlives them."""

    def __init__(self, token: MemoryToken | None = None) -> None:
        self.cluster = MemoryCluster(PARTITIONS, clock_ms=lambda: START_MS)
        self.bus = MemoryBus(self.cluster)
        self.keys = NotaryKeys()
        self.token = token or MemoryToken(self.keys)
        self.root, self.policy = Writer(self.bus, "root"), Writer(self.bus, "policy")
        self.numbers = 0

    async def begin(self, *, certified: bool = True) -> None:
        """Root's first events; `certified` says whether the notary's keys are among them."""
        await self.root.write(genesis(), certificate("policy"), certificate("hsm"))
        if certified:
            await self.root.write(self.keys.certificate())

    def event(self, partition: int) -> facts.Event:
        """An event of policy on a partition but the first."""
        self.numbers += 1
        decision = facts.Decision(
            command="{}", command_digest="0" * 64, body_digest="0" * 64, signature="", offset=self.numbers,
            policies=[], registry_revision=1, facts_n=0,
        )  # fmt: skip
        stream = key_on(partition)
        known: dict[str, Any] = {"decision": decision, "key_id": key_id_of(stream)}
        return facts.KeyEnabled.new(f"policy.{self.numbers}", stream, to_text(START_MS), **known)

    async def write(self, partition: int, count: int = 1) -> None:
        """Write so many events in one statement."""
        await self.policy.write(*(self.event(partition) for _ in range(count)))

    async def write_signed(self, partition: int, key: Signer, count: int = 1) -> None:
        """Write as policy under another key, in policy's chain."""
        author = replace(self.policy.author, fingerprint=key.fingerprint, sign=key.sign)
        self.policy.author, before = author, self.policy.author
        try:
            await self.write(partition, count)
        finally:
            self.policy.author = before

    async def raw(self, *records: Outbound) -> None:
        """Write records as they are."""
        await self.policy.raw(list(records))

    async def forge(self, partition: int, count: int = 1) -> None:
        """Write records that nobody signed."""
        await self.raw(*(Outbound(topics.EVENTS, partition, b"k", b"forged %d" % n) for n in range(count)))

    async def parts(self, bus: MemoryBus | None = None, **options: Any) -> Parts:
        """What one process is made of."""
        used = bus or self.bus
        keeper, sender, token = TrustKeeper(used, DEPLOYMENT, PARTITIONS), used.sender(), self.token
        await sender.start()
        await keeper.catch_up()
        key = self.keys.ed25519
        author = Author(
            DEPLOYMENT, "notary", key.fingerprint, token.sign, lambda: require_licence(keeper.trust, token, START_MS)
        )
        letters = DeadLetters(sender, "notary")
        known: dict[str, Any] = {"settings": SETTINGS, "partitions": PARTITIONS, "clock_ms": lambda: START_MS}
        return Parts(used, keeper, token, author, letters, **known | options)

    @contextlib.asynccontextmanager
    async def notary(self, bus: MemoryBus | None = None, **options: Any) -> AsyncIterator[Notary]:
        """A notary that works until the block ends; an error that ended it before is raised."""
        parts = await self.parts(bus, **options)
        made = Notary(parts)
        follow = asyncio.create_task(parts.keeper.follow(0.01))
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            await cancelled(follow)
            await cancelled(task)
            await parts.keeper.stop()

    async def signed(self, timeout_s: float = 10.0) -> None:
        """Wait until every record has its checkpoint."""
        await until(lambda: all(self.size(p) == len(self.leaves(p)) for p in range(PARTITIONS)), timeout_s)

    def read(self, topic: str, partition: int = 0, *, committed: bool = True) -> list[Inbound]:
        """All records of a partition."""
        found, _ = self.cluster.log(topic, partition).read(0, committed=committed, max_records=1_000_000)
        return found

    def leaves(self, partition: int) -> list[bytes]:
        """The leaf hashes of a partition."""
        return [leaf_of(r.key, r.value, r.headers) for r in self.read(topics.EVENTS, partition)]

    def trust(self) -> Trust:
        """Root's word for the notary."""
        return Trust.pin(DEPLOYMENT, signer("root").public_key).with_event(self.keys.certificate())

    def checkpoints(self, partition: int) -> list[tuple[Inbound, Checkpoint]]:
        """A partition's checkpoints in order, verified."""
        return self.published(partition).checkpoints

    def size(self, partition: int) -> int:
        """The newest checkpoint's size, whoever signed it."""
        origin = origin_of(DEPLOYMENT, partition).encode()
        notes = (r.value or b"" for r in reversed(self.read(topics.CHECKPOINTS)) if r.key == origin)
        return next((int(note.split(b"\n")[1]) for note in notes), 0)

    def entries(self, topic: str, partition: int = 0) -> int:
        """How many places a partition has, to come back to with `rewind`."""
        return self.cluster.log(topic, partition).high_watermark

    def rewind(self, to: int, topic: str, partition: int = 0) -> None:
        """Put an older copy of a partition in its place."""
        del self.cluster.log(topic, partition)._entries[to:]

    def dead_letters(self) -> list[Inbound]:
        """What was reported."""
        return self.read(topics.DEAD_LETTERS)

    def assert_proven(self) -> None:
        """All that was published is one history, that of the log; all of the log is signed, and the token knows."""
        for partition in range(PARTITIONS):
            found = self.published(partition)
            found.check()
            assert found.size == len(found.events)
            kept = self.token.heads().heads.get(partition)
            assert kept is None or kept[0] == found.size

    def published(self, partition: int) -> Published:
        """What was published of a partition."""
        events, tiles = self.read(topics.EVENTS, partition), self.read(topics.TILES, partition)
        return Published(self.trust(), partition, events, tiles, notes=self.read(topics.CHECKPOINTS))
