"""A deployment in memory for the worker's tests: root and policy write to a `MemoryCluster`, a worker reads from it.

Policy is played: its tickets are really signed, its decisions are whatever a test says.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from tests.unit.hsm.exchange import Answer, Order, answer_of

from keyfold.bus import Inbound, MemoryBus, MemoryCluster, Outbound
from keyfold.events import bodies, facts, replies, topics
from keyfold.events.commands import BY_VERB, type_of
from keyfold.events.signatures import Signer
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.streams import REGISTRY, partition_of
from keyfold.events.strictjson import canonical
from keyfold.events.times import DAY_MS, to_text
from keyfold.log import Author

PARTITIONS = 4
NOW = 1_900_000_000_000


def signer(name: str) -> Signer:
    """A key that is always the same for a name."""
    return Signer(sha256(f"worker tests: {name}".encode()).digest())


class Deployment:
    """The log, root and policy."""

    def __init__(self) -> None:
        self.now = NOW
        self.cluster = MemoryCluster(PARTITIONS, clock_ms=lambda: self.now)
        self.bus = MemoryBus(self.cluster)
        self.id = signer("root").fingerprint
        self.policy = Author(self.id, "policy", signer("policy").fingerprint, signer("policy").sign)
        self.heads: dict[tuple[str, str, int], ChainHead] = {}
        self.commands = 100
        self.sealing_keys: dict[str, bytes] = {}

    async def initialise(self, *, services: Sequence[str] = ("policy", "hsm")) -> None:
        """Write genesis and certificates."""
        people = [
            facts.InitialPrincipal(principal=name, public_key=signer(name).public_key.hex(), groups=[])
            for name in ("alice", "carol")
        ]
        genesis = facts.Genesis.new(
            "root.1", REGISTRY, to_text(NOW), root_public_key=signer("root").public_key.hex(), partitions=PARTITIONS,
            development=True, administrators=people, services=[], policies=[],
        )  # fmt: skip
        await self.write_root(genesis, *(self.certificate(service) for service in services))

    def certificate(self, service: str, name: str | None = None) -> facts.Event:
        return facts.ServiceKeyCertified.new(
            f"root.{name or service}", REGISTRY, to_text(NOW), public_key=signer(name or service).public_key.hex(),
            service=service, not_before=to_text(NOW - DAY_MS), not_after=to_text(NOW + 30 * DAY_MS),
            topics=[topic.name for topic in topics.TOPICS if service in topic.writers],
        )  # fmt: skip

    async def write_root(self, *events: facts.Event) -> None:
        root = Author(self.id, "root", signer("root").fingerprint, signer("root").sign)
        await self.write(root, topics.EVENTS, 0, [Entry(event.subject.encode(), event.to_value()) for event in events])

    async def write(self, author: Author, topic: str, partition: int, entries: Sequence[Entry]) -> list[Outbound]:
        records = self.sign(author, topic, partition, entries)
        await self.put(records)
        return records

    def sign(self, author: Author, topic: str, partition: int, entries: Sequence[Entry]) -> list[Outbound]:
        place = (author.role, topic, partition)
        self.heads[place], records = author.records(topic, partition, self.heads.get(place, ChainHead()), entries)
        return records

    async def put(self, records: Sequence[Outbound]) -> None:
        writer = self.bus.writer("tests")
        await writer.start()
        await writer.commit(records)
        await writer.stop()

    # Orders

    def sealing_key(self) -> str:
        """The newest sealing key that the log has published."""
        for event in self.events(0):
            if isinstance(event, facts.SealingKeyPublished):
                self.sealing_keys[event.data.sealing_key] = bytes.fromhex(event.data.public_key)
        return next(reversed(self.sealing_keys))

    def order(
        self,
        verb: str,
        stream: str = REGISTRY,
        items: Sequence[tuple[int, bytes]] = (),
        *,
        contexts: Sequence[Mapping[str, str]] = ({},),
        arguments: Mapping[str, Any] | None = None,
        decided: tuple[type[facts.Event], Mapping[str, Any]] | None = None,
        version: int | None = None,
        protection: str | None = None,
        clear: Mapping[str, Any] | None = None,
        expires_ms: int | None = None,
        sealing_key: str | None = None,
        reply: Mapping[str, Any] | None = None,
    ) -> Order:
        """A command and the decision on it; `decided` is the lifecycle fact, `clear` overrides what the data says."""
        name, command_id, reply_key = sealing_key or self.sealing_key(), str(uuid4()), os.urandom(32)
        data: dict[str, Any] = {
            "principal": "alice",
            "signing_key": signer("alice").fingerprint,
            "sealing_key": name,
            "expires_at": to_text(expires_ms or self.now + 60_000),
            "reply": {"topic": topics.REPLIES, "partition": 1, "correlation_id": command_id} | dict(reply or {}),
            "arguments": dict(arguments or {}),
        }
        if BY_VERB[verb].data_plane:
            size = sum(len(item) for _, item in items)
            data |= {"contexts": [dict(c) for c in contexts], "items": len(items), "bytes": size}
        value = canonical(
            {
                "specversion": "1.0",
                "id": command_id,
                "source": "principal/alice",
                "type": type_of(verb),
                "subject": stream,
                "time": to_text(self.now),
                "datacontenttype": "application/json",
                "data": data | dict(clear or {}),
            }
        )
        body = bodies.encode(reply_key, items)
        sealed = self.seal(body, value, name)
        event = self.decide(
            verb, stream, value, sealed, decided=decided, version=version, protection=protection, items=len(items)
        )
        return Order(event, sealed, body, reply_key, command_id, sha256(value).hexdigest())

    def seal(self, body: bytes, value: bytes, sealing_key: str | None = None) -> bytes:
        """Seal any bytes to a command, as a client would."""
        public_key = self.sealing_keys[sealing_key or self.sealing_key()]
        return bodies.SUITE.encrypt(body, _public(public_key), bodies.info(value))

    def decide(
        self,
        verb: str,
        stream: str,
        value: bytes,
        sealed: bytes,
        *,
        decided: tuple[type[facts.Event], Mapping[str, Any]] | None,
        version: int | None,
        protection: str | None,
        items: int,
    ) -> facts.Event:
        self.commands += 1
        decision = facts.Decision(
            command=value.decode(),
            command_digest=sha256(value).hexdigest(),
            body_digest=sha256(sealed).hexdigest(),
            signature="00",
            offset=self.commands,
            policies=[],
            registry_revision=7,
            facts_n=0,
        )
        key_id = stream.removeprefix("key/") if stream.startswith("key/") else None
        if decided is None:
            more: dict[str, Any] = {
                "verb": verb, "principal": "alice", "key_id": key_id, "key_version": version,
                "protection": protection, "items": items, "bytes": 0,
            }  # fmt: skip
            kind: type[facts.Event] = facts.CommandAuthorized
        else:
            kind, more = decided[0], dict(decided[1])
            if key_id is not None and "key_id" not in more and "key_id" in _fields(kind):
                more["key_id"] = key_id
        return kind.new(f"decision.{self.commands}", stream, to_text(self.now), decision=decision, **more)

    async def submit(self, *orders: Order) -> list[Outbound]:
        """Write the tickets of orders of one partition in one transaction."""
        place = partition_of(orders[0].stream, PARTITIONS)
        return await self.write(self.policy, topics.AUTHORIZED, place, [order.entry() for order in orders])

    # What the log says

    def records(self, topic: str, partition: int, *, committed: bool = True) -> list[Inbound]:
        log = self.cluster.log(topic, partition)
        return log.read(log.start, committed=committed, max_records=1_000_000)[0]

    def events(self, partition: int, *, committed: bool = True) -> list[facts.Event]:
        found = self.records(topics.EVENTS, partition, committed=committed)
        return [facts.parse_event(record.value or b"") for record in found]

    def keystore(self, partition: int) -> list[facts.Event]:
        return [facts.parse_event(record.value or b"") for record in self.records(topics.KEYSTORE, partition)]

    def outcomes(self, partition: int, *, committed: bool = True) -> list[Any]:
        return [event for event in self.events(partition, committed=committed) if isinstance(event, facts.Outcome)]

    def outcome(self, order: Order) -> Any:
        """The one outcome of an order; fails on none or several."""
        found = [o for o in self.outcomes(self.partition(order)) if o.data.command_id == order.command_id]
        assert len(found) == 1, f"{len(found)} outcomes"
        return found[0]

    def replies(self, order: Order) -> list[Answer]:
        found = []
        for partition in range(PARTITIONS):
            for record in self.records(topics.REPLIES, partition):
                data = replies.parse_reply(record.value or b"").data
                if data.command_id == order.command_id:
                    found.append(answer_of(order, data, record))
        return found

    def reply(self, order: Order) -> Answer:
        (answer,) = self.replies(order)
        return answer

    def dead_letters(self) -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in self.records(topics.DEAD_LETTERS, 0)]

    @staticmethod
    def partition(order: Order) -> int:
        return partition_of(order.stream, PARTITIONS)


def _fields(kind: type[facts.Event]) -> Iterable[str]:
    annotation: Any = kind.model_fields["data"].annotation
    return list(annotation.model_fields)


def _public(raw: bytes) -> hpke.MLKEM768X25519PublicKey:
    return hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:1184]), X25519PublicKey.from_public_bytes(raw[1184:])
    )
