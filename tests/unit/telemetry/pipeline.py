"""The whole pipeline on a bus in memory: real client, policy, worker and projector; only the token is a stand-in."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from tests.unit.hsm.deployment import NOW, PARTITIONS, Deployment, signer
from tests.unit.hsm.worker import worker
from tests.unit.projections.deployment import QUICK

from keyfold.bus import MemoryBus
from keyfold.client import Keyfold
from keyfold.client.settings import ClientSettings
from keyfold.custody import Capabilities
from keyfold.events import facts
from keyfold.events.storage import Capability
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.identity import Identity
from keyfold.log import Author, DeadLetters, RegistryFollower
from keyfold.policy.processor import Parts
from keyfold.policy.service import Service
from keyfold.projections.memory import MemorySchemas
from keyfold.projector.process import Parts as ProjectorParts
from keyfold.projector.process import Projector

RULES = "permit (principal, action, resource);"
OFFERED = Capability(
    key_spec="SYMMETRIC_DEFAULT", key_usage="ENCRYPT_DECRYPT", protection="SOFTWARE", algorithms=["SYMMETRIC_DEFAULT"]
)
FOUND = Capabilities("Memory 1.0", (OFFERED,), {})


class Pipeline(Deployment):
    """A deployment in which alice may do everything."""

    async def begin(self) -> None:
        people = [
            facts.InitialPrincipal(principal=name, public_key=signer(name).public_key.hex(), groups=["administrators"])
            for name in ("alice", "carol")
        ]
        genesis = facts.Genesis.new(
            "root.1", REGISTRY, to_text(NOW), root_public_key=signer("root").public_key.hex(), partitions=PARTITIONS,
            development=True, administrators=people, services=[],
            policies=[facts.InitialPolicy(policy="rules", text=RULES)],
        )  # fmt: skip
        await self.write_root(genesis, self.certificate("policy"), self.certificate("hsm"))

    def client(self) -> Keyfold:
        alice = Identity("alice", self.id, signer("alice"))
        return Keyfold(MemoryBus(self.cluster), alice, self.id, ClientSettings(), clock_ms=lambda: self.now)

    async def service(self) -> Service:
        bus = MemoryBus(self.cluster)
        sender, key = bus.sender(), signer("policy")
        await sender.start()
        author = Author(self.id, "policy", key.fingerprint, key.sign)
        follower = RegistryFollower(bus, self.id)
        parts = Parts(bus, author, follower, sender, DeadLetters(sender, "policy"), clock_ms=lambda: self.now)
        return Service(parts, key, "0", lambda: None)

    def projector(self, schemas: MemorySchemas | None = None) -> Projector:
        bus = MemoryBus(self.cluster)
        parts = ProjectorParts(bus, schemas or MemorySchemas(), self.id, PARTITIONS, "projector-0", QUICK)
        return Projector(parts, lambda: None)


@asynccontextmanager
async def beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run works until the block ends; one that fails fails the test."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def pipeline() -> AsyncIterator[Keyfold]:
    """A connected client of a running deployment."""
    made = Pipeline()
    await made.begin()
    policy = await made.service()
    running = beside(policy.run(), made.projector().run())
    async with worker(made, own=range(PARTITIONS), capabilities=lambda: FOUND), running, made.client() as kms:
        yield kms
