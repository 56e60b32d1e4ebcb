"""A deployment in memory for the worker's tests: root and policy write to a `MemoryCluster`, a worker reads from it.

Policy is played: its tickets are really signed, its decisions are whatever a test says. Custody is a stand-in unless a
test brings tokens.
"""

import asyncio
import hmac
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from keyfold.bus import Inbound, MemoryBus, MemoryCluster, Outbound
from keyfold.custody import (
    Capabilities,
    DerivedKeys,
    Generated,
    Handle,
    HandleCache,
    Imported,
    InMemory,
    InvalidBlob,
    KeyReference,
    MaterialProvider,
    MemoryOperations,
    Operations,
    TokenIdentity,
    private_keys,
    public_keys,
)
from keyfold.custody.references import MemoryHandle, PairHandle
from keyfold.events import bodies, facts, replies, topics
from keyfold.events.commands import BY_VERB, type_of
from keyfold.events.errors import IncorrectKeyMaterial, InvalidCiphertext, SealingKeyRetired, TokenUnavailable
from keyfold.events.replies import ItemResult
from keyfold.events.signatures import Signer
from keyfold.events.specs import is_asymmetric, material_bytes
from keyfold.events.statements import SEALED_HEADER, ChainHead, Entry
from keyfold.events.streams import REGISTRY, key_stream, partition_of, principal_stream
from keyfold.events.strictjson import canonical
from keyfold.events.times import DAY_MS, to_text
from keyfold.hsm.answers import Answers
from keyfold.hsm.capabilities_duty import CapabilitiesDuty
from keyfold.hsm.control_verbs import ControlVerbs
from keyfold.hsm.data_verbs import DataVerbs
from keyfold.hsm.dispatcher import Dispatcher
from keyfold.hsm.engine import Engine
from keyfold.hsm.keyring import Keyring
from keyfold.hsm.partition import Parts
from keyfold.hsm.sealing_duties import SealingDuties
from keyfold.hsm.settings import HsmSettings
from keyfold.hsm.supervisor import PartitionWorker
from keyfold.log import Author, DeadLetters, RegistryFollower

PARTITIONS = 4
NOW = 1_900_000_000_000
SETTINGS = HsmSettings(
    poll_s=0.05, token_retry_s=0.2, first_retry_s=0.005, longest_retry_s=0.02, sealing_key_wait_s=0.2
)


def signer(name: str) -> Signer:
    return Signer(sha256(f"worker tests: {name}".encode()).digest())


class MemoryCustody:
    """Custody without a token: a blob is an epoch, then the material. `down` makes it silent.

    `held` are the epochs whose keys exist; a blob of another does not open.
    """

    def __init__(self) -> None:
        self.derived = DerivedKeys()
        self.down = False
        self.calls: list[str] = []
        self.held = {1}
        self.adopted = 1
        self.erased: list[tuple[bytes, int]] = []
        self._imports: dict[bytes, Any] = {}

    def generate(self, reference: KeyReference) -> Generated:
        self._answer("generate")
        if not is_asymmetric(reference.spec):
            return Generated(self._blob(os.urandom(material_bytes(reference.spec) or 32)), None, {})
        private_key = private_keys.generate(reference.spec)
        public_key = public_keys.encode(private_key.public_key())
        return Generated(self._blob(private_keys.encode(private_key)), public_key, {})

    def open(self, reference: KeyReference, blob: bytes) -> Handle:
        self._answer("open")
        if self.epoch_of(blob) not in self.held:
            raise InvalidBlob("the epoch of the blob has ended")
        if is_asymmetric(reference.spec):
            return PairHandle(reference, private_keys.decode(reference.spec, blob[8:]))
        return MemoryHandle(reference, blob[8:], self.derived.forget)

    def erase(self, reference: KeyReference, blob: bytes) -> bool:
        self._answer("erase")
        self.erased.append((reference.key_id, reference.version))
        return False

    def transfer_mac(self, message: bytes) -> bytes:
        return hmac.digest(b"transfer", message, sha256)

    def rewrap(self, reference: KeyReference, blob: bytes) -> bytes:
        self._answer("rewrap")
        if self.epoch_of(blob) not in self.held:
            raise InvalidBlob("the epoch of the blob has ended")
        return self._blob(blob[8:])

    def epoch_of(self, blob: bytes) -> int:
        return int.from_bytes(blob[:8], "big")

    def generate_import_key(self, import_id: bytes, wrapping_spec: str) -> Generated:
        self._answer("import key")
        self._imports[import_id] = private_key = private_keys.generate("RSA_2048")
        return Generated(self._blob(import_id), public_keys.encode(private_key.public_key()), {})

    def rewrap_import(self, import_id: bytes, blob: bytes) -> bytes:
        return self._blob(blob[8:])

    def import_material(
        self, reference: KeyReference, import_id: bytes, import_blob: bytes, wrapping_algorithm: str, wrapped: bytes
    ) -> Imported:
        """By RSAES_OAEP_SHA_256 only; the check is the material's own digest."""
        self._answer("import")
        try:
            material = self._imports[import_id].decrypt(wrapped, OAEP(MGF1(SHA256()), SHA256(), None))
        except ValueError:
            raise InvalidCiphertext from None
        if len(material) != material_bytes(reference.spec):
            raise IncorrectKeyMaterial
        check = sha256(material).hexdigest()
        return Imported(self._blob(material), None, {}, check[:6], check)

    def generate_random(self, size: int) -> bytes:
        self._answer("random")
        return os.urandom(size)

    def begin_epoch(self, epoch: int) -> None:
        self._answer("begin epoch")
        self.held.add(epoch)
        self.adopted = max(self.held)

    def adopt_epoch(self, epoch: int) -> bool:
        self.adopted = max(self.adopted, epoch) if epoch in self.held else self.adopted
        return self.adopted >= epoch

    def end_epoch(self, epoch: int) -> None:
        self._answer("end epoch")
        self.held.discard(epoch)

    def epochs(self) -> list[int]:
        return sorted(self.held)

    def epoch_floor(self) -> int:
        return max(self.held)

    def identity(self) -> TokenIdentity:
        return TokenIdentity("kms", "0001", "Memory 1.0")

    def _blob(self, material: bytes) -> bytes:
        return self.adopted.to_bytes(8, "big") + material

    def _answer(self, call: str) -> None:
        self.calls.append(call)
        if self.down:
            raise TokenUnavailable


class MemorySealing:
    """Sealing keys without a token; what is erased cannot be loaded any more."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, tuple[MLKEM768PrivateKey, X25519PrivateKey]] = {}

    def create(self, sealing_key_id: bytes) -> tuple[bytes, bytes]:
        mlkem, x25519 = self.pairs[sealing_key_id] = (MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())
        return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw(), b"blob" + sealing_key_id

    def load(self, sealing_key_id: bytes, blob: bytes) -> hpke.MLKEM768X25519PrivateKey:
        if sealing_key_id not in self.pairs:
            raise SealingKeyRetired
        return hpke.MLKEM768X25519PrivateKey(*self.pairs[sealing_key_id])

    def erase(self, sealing_key_id: bytes) -> None:
        self.pairs.pop(sealing_key_id, None)

    def list_ids(self) -> list[bytes]:
        return list(self.pairs)


@dataclass(frozen=True)
class Order:
    """A command on its way through policy: the decision's event, the body, and what the caller keeps."""

    event: facts.Event
    sealed: bytes
    body: bytes
    reply_key: bytes
    command_id: str
    digest: str

    @property
    def stream(self) -> str:
        return self.event.subject

    def entry(self) -> Entry:
        return Entry(self.event.subject.encode(), self.event.to_value(), self.sealed)


@dataclass(frozen=True)
class Answer:
    """A reply as its caller reads it."""

    data: replies.ReplyData
    items: list[ItemResult] | None
    plaintext: bytes = b""


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
                    found.append(_answer(order, data, record))
        return found

    def reply(self, order: Order) -> Answer:
        (answer,) = self.replies(order)
        return answer

    def dead_letters(self) -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in self.records(topics.DEAD_LETTERS, 0)]

    @staticmethod
    def partition(order: Order) -> int:
        return partition_of(order.stream, PARTITIONS)


@dataclass
class Worker:
    """One worker process: its parts, and a task for each partition."""

    parts: Parts
    custody: Any
    sealing: Any
    deployment: Deployment
    workers: dict[int, PartitionWorker] = field(default_factory=dict)
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    def own(self, *partitions: int) -> None:
        for partition in partitions:
            self.workers[partition] = PartitionWorker(partition, self.parts)
            self.tasks[partition] = asyncio.create_task(self.workers[partition].run())

    async def owned(self, *partitions: int) -> None:
        self.own(*partitions)
        async with asyncio.timeout(5):
            for partition in partitions:
                await self.workers[partition].running.wait()

    async def finished(self, *orders: Order, replied: bool = True) -> None:
        """Wait until every order has its outcome, and (unless told otherwise) a reply."""
        async with asyncio.timeout(10):
            for order in orders:
                while not any(
                    outcome.data.command_id == order.command_id
                    for outcome in self.deployment.outcomes(Deployment.partition(order))
                ):
                    await self._breathe(Deployment.partition(order))
                while replied and not self.deployment.replies(order):
                    await self._breathe(Deployment.partition(order))

    async def execute(self, *orders: Order) -> list[Answer]:
        """Submit orders of one partition together; return their answers."""
        await self.deployment.submit(*orders)
        await self.finished(*orders)
        return [self.deployment.reply(order) for order in orders]

    async def _breathe(self, partition: int) -> None:
        task = self.tasks.get(partition)
        if task is not None and task.done():
            task.result()
        await asyncio.sleep(0.002)

    async def stop(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


@asynccontextmanager
async def worker(
    deployment: Deployment,
    *,
    custody: Any = None,
    sealing: Any = None,
    providers: Mapping[Any, MaterialProvider] | None = None,
    operations: Mapping[Any, Operations] | None = None,
    capabilities: Callable[[], Capabilities] | None = None,
    settings: HsmSettings = SETTINGS,
    own: Iterable[int] = (),
    bus: MemoryBus | None = None,
) -> AsyncIterator[Worker]:
    """Run a worker process. Stopping it is like a crash: only the log remains, and the tokens."""
    bus = bus or MemoryBus(deployment.cluster)
    custody, sealing = custody or MemoryCustody(), sealing or MemorySealing()
    follower, sender = RegistryFollower(bus, deployment.id), bus.sender()
    author = Author(deployment.id, "hsm", signer("hsm").fingerprint, signer("hsm").sign)
    keyring = Keyring(bus, follower, sealing, PARTITIONS, lambda: deployment.now)
    cache = HandleCache(100)
    providers = providers or {"HSM": InMemory(custody.derived), "SOFTWARE": InMemory(custody.derived)}
    verbs = ControlVerbs(custody, cache, sealing, lambda: str(uuid4()))
    operations = operations or {"HSM": MemoryOperations(), "SOFTWARE": MemoryOperations()}
    data_verbs = DataVerbs(custody, cache, providers, operations, sealing_keys=keyring, clock_ms=lambda: deployment.now)
    engine = Engine(keyring, data_verbs, verbs, Answers(author), lambda: deployment.now)
    found = capabilities or (lambda: Capabilities("Memory 1.0", (), {}))
    with ThreadPoolExecutor(1) as threads:
        parts = Parts(
            bus, author, follower, keyring, Dispatcher(engine, threads, settings), cache,
            SealingDuties(sealing, verbs.token, lambda: deployment.now), sender, DeadLetters(sender, "hsm"), settings,
            PARTITIONS, custody, CapabilitiesDuty(found, lambda: deployment.now), lambda: deployment.now,
        )  # fmt: skip
        await sender.start()
        await follower.start()
        await keyring.start()
        tail = asyncio.create_task(follower.run())
        made = Worker(parts, custody, sealing, deployment)
        try:
            await made.owned(*own)
            yield made
        finally:
            await made.stop()
            tail.cancel()
            await asyncio.gather(tail, return_exceptions=True)
            for part in (keyring, follower, sender):
                with suppress(Exception):
                    await part.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so; at most five seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def new_key() -> str:
    return str(uuid4())


def create(deployment: Deployment, key_id: str, protection: str = "SOFTWARE") -> Order:
    spec = {"key_spec": "SYMMETRIC_DEFAULT", "protection": protection}
    fact = {**spec, "description": "", "tags": {}, "created_by": "alice"}
    return deployment.order("CreateKey", key_stream(key_id), arguments=spec, decided=(facts.KeyCreated, fact))


def rotate(deployment: Deployment, key_id: str, version: int, protection: str = "SOFTWARE") -> Order:
    fact = {"version": version, "key_spec": "SYMMETRIC_DEFAULT", "protection": protection, "cause": "requested"}
    return deployment.order("RotateKey", key_stream(key_id), decided=(facts.KeyRotated, fact))


def use(deployment: Deployment, verb: str, key_id: str, items: Sequence[tuple[int, bytes]], **more: Any) -> Order:
    more = {"version": 1, "protection": "SOFTWARE", **more}
    return deployment.order(verb, key_stream(key_id), items, **more)


def random_bytes(deployment: Deployment, count: int, size: int) -> Order:
    stream = principal_stream("alice")
    arguments = {"number_of_bytes": size}
    return deployment.order("GenerateRandom", stream, [(0, b"")] * count, arguments=arguments)


def results(answer: Answer) -> list[bytes]:
    assert answer.items is not None
    assert all(item.code is None for item in answer.items), answer.items
    return [item.data for item in answer.items]


def with_sealed(order: Order, sealed: bytes, *, decided: bool = True) -> Order:
    """The order with another body; `decided` makes the decision name it."""
    event = order.event
    if decided:
        decision = event.data.decision.model_copy(update={"body_digest": sha256(sealed).hexdigest()})
        event = event.model_copy(update={"data": event.data.model_copy(update={"decision": decision})})
    return replace(order, event=event, sealed=sealed)


def uuid_bytes(name: str) -> bytes:
    return UUID(name).bytes


def _fields(kind: type[facts.Event]) -> Iterable[str]:
    annotation: Any = kind.model_fields["data"].annotation
    return list(annotation.model_fields)


def _public(raw: bytes) -> hpke.MLKEM768X25519PublicKey:
    return hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:1184]), X25519PublicKey.from_public_bytes(raw[1184:])
    )


def _answer(order: Order, data: replies.ReplyData, record: Inbound) -> Answer:
    sealed = record.header(SEALED_HEADER)
    if sealed is None:
        return Answer(data, None)
    plaintext = replies.unseal(order.reply_key, data, sealed)
    return Answer(data, replies.decode_items(plaintext), plaintext)
