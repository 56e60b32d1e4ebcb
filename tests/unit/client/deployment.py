"""A deployment in memory: a directory signed as the services sign it, and a responder that answers as they would."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey
from tests.support import pairs
from tests.support.symmetric_keys import SymmetricKeys
from tests.support.user_keys import UserKeys

from keyfold.bus import Bus, Inbound, Outbound
from keyfold.client import Keyfold
from keyfold.client.identifiers import uuid7
from keyfold.events import bodies, commands, facts, replies, topics
from keyfold.events.command_envelope import Command, DataPlaneData, check_scope
from keyfold.events.directory import directory_names, directory_partition
from keyfold.events.replies import CORRELATION_HEADER, ItemResult, Reply, ReplyData
from keyfold.events.signatures import Signer, Verifier, command_message, reply_message
from keyfold.events.statements import (
    SEALED_HEADER,
    SIGNATURE_HEADER,
    SIGNER_HEADER,
    Chain,
    ChainHead,
    Entry,
    sign_entries,
)
from keyfold.events.streams import key_id_of, partition_of, principal_stream
from keyfold.events.times import DAY_MS, to_text
from keyfold.identity import Identity

PARTITIONS = 4


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def new_uuid() -> str:
    return uuid7(now_ms(), os.urandom(10))


@dataclass
class SealingPair:
    id: str
    private: MLKEM768X25519PrivateKey
    public_hex: str

    @classmethod
    def new(cls) -> "SealingPair":
        mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        return cls(new_uuid(), MLKEM768X25519PrivateKey(mlkem, x25519), public.hex())


@dataclass
class Received:
    """A command as the responder got it."""

    command: Command
    record: Inbound
    body: bodies.Body | None

    @property
    def data(self) -> DataPlaneData:
        assert isinstance(self.command.data, DataPlaneData)
        return self.command.data


Script = Callable[[Received], str | None]


@dataclass
class Deployment:
    """One deployment. `scripts` are asked first: a code refuses, "drop" leaves the command without an answer.

    `summaries` adds to the summary of a verb. `held` are the keys of all specs but the symmetric one. Commands are
    believed of alice, of `signers`, and of the keys that tokens were shown with; what a token says is believed.
    """

    bus: Bus
    partitions: int = PARTITIONS
    root: Signer = field(default_factory=lambda: Signer(os.urandom(32)))
    policy: Signer = field(default_factory=lambda: Signer(os.urandom(32)))
    hsm: Signer = field(default_factory=lambda: Signer(os.urandom(32)))
    scripts: list[Script] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    answered: dict[str, tuple[str, str]] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    sealing: list[SealingPair] = field(default_factory=lambda: [SealingPair.new()])
    revision: int = 0
    heads: dict[tuple[str, int], ChainHead] = field(default_factory=dict)
    duplicates: int = 0
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    signers: dict[str, Verifier] = field(default_factory=dict)
    held: UserKeys = field(default_factory=UserKeys)
    symmetric: SymmetricKeys = field(default_factory=SymmetricKeys)

    def __post_init__(self) -> None:
        self.id = self.root.fingerprint
        self.private_key = os.urandom(32)
        self.alice = Identity("alice", self.id, Signer(self.private_key))
        self.signers[self.alice.signer.fingerprint] = Verifier(self.alice.signer.public_key)
        self.sender = self.bus.sender()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, *, publish: bool = True) -> None:
        await self.sender.start()
        admin = self.bus.admin()
        await admin.start()
        self._ends = await admin.end_offsets(topics.COMMANDS, committed=False)
        await admin.stop()
        self._tasks = [asyncio.create_task(self._serve(n)) for n in range(self.partitions)]
        if publish:
            for event in self.first_events():
                await self.publish(event)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled():
                task.result()
        await self.sender.stop()

    # The directory

    def genesis(self) -> facts.Event:
        admins = [
            facts.InitialPrincipal(principal=f"admin{n}", public_key=os.urandom(32).hex(), groups=[]) for n in (1, 2)
        ]
        data = {"root_public_key": self.root.public_key.hex(), "partitions": self.partitions, "development": True}
        empty: dict[str, Any] = {"services": [], "policies": []}
        return facts.Genesis.new("genesis", "registry", to_text(now_ms()), administrators=admins, **data, **empty)

    def certificate(self, signer: Signer, service: str) -> facts.Event:
        start = now_ms() - 1000
        return facts.ServiceKeyCertified.new(
            new_uuid(),
            "registry",
            to_text(now_ms()),
            public_key=signer.public_key.hex(),
            service=service,
            topics=[topics.EVENTS],
            not_before=to_text(start),
            not_after=to_text(start + DAY_MS),
        )

    def first_events(self) -> list[facts.Event]:
        certificates = [self.certificate(self.policy, "policy"), self.certificate(self.hsm, "hsm")]
        return [self.genesis(), *certificates, self.sealing_published()]

    def sealing_published(self, at_ms: int | None = None) -> facts.Event:
        pair = self.sealing[-1]
        return facts.SealingKeyPublished.new(
            new_uuid(), "registry", to_text(at_ms or now_ms()),
            sealing_key=pair.id, public_key=pair.public_hex, blob_digest="0" * 64,
        )  # fmt: skip

    def alias_event(
        self, kind: type[facts.Event], alias: str, key_id: str | None, at_ms: int | None = None
    ) -> facts.Event:
        decision = facts.Decision(
            command="{}", command_digest="0" * 64, body_digest="0" * 64, signature="",
            offset=0, policies=[], registry_revision=1, facts_n=0,
        )  # fmt: skip
        data: dict[str, Any] = {"decision": decision, "alias": alias}
        if key_id is not None:
            data["key_id"] = key_id
        return kind.new(new_uuid(), "registry", to_text(at_ms or now_ms()), **data)

    def signed(self, event: facts.Event, signer: Signer | None = None) -> tuple[tuple[str, bytes], ...]:
        """The headers of an event as its author writes it."""
        by_role = {"root": self.root, "policy": self.policy, "hsm": self.hsm}
        signer = signer or by_role[event.role]
        place = partition_of(event.subject, self.partitions)
        chain = Chain(self.id, topics.EVENTS, event.role, place)
        head = self.heads.get((event.role, place), ChainHead())
        entry = Entry(event.subject.encode(), event.to_value())
        self.heads[event.role, place], headers = sign_entries(chain, head, [entry], signer.fingerprint, signer.sign)
        return headers[0]

    def directory_record(self, event: facts.Event, signer: Signer | None = None) -> Outbound:
        name = directory_names(event)[0]
        place = directory_partition(name, self.partitions)
        return Outbound(topics.DIRECTORY, place, name.encode(), event.to_value(), self.signed(event, signer))

    async def publish(self, event: facts.Event) -> None:
        """Under every name that it answers for."""
        record = self.directory_record(event)
        for name in directory_names(event):
            place = directory_partition(name, self.partitions)
            await (await self.sender.send(replace(record, partition=place, key=name.encode())))

    def material_event(self, key_id: str, version: int) -> facts.Event:
        """What the HSM worker states when it made a version."""
        (spec, usage), key = self.held.specs[key_id], self.held.versions[key_id][version - 1]
        public = None if isinstance(key, bytes) else base64.b64encode(pairs.spki(key)).decode()
        return facts.KeyMaterialGenerated.new(
            new_uuid(), f"key/{key_id}", to_text(now_ms()), offset=0, command_id=new_uuid(), command_digest="0" * 64,
            principal="alice", verb="CreateKey", key_id=key_id, version=version, key_spec=spec, key_usage=usage,
            protection="HSM", blob_digest="0" * 64, public_key=public,
        )  # fmt: skip

    async def publish_alias(self, alias: str, key_id: str | None) -> None:
        known = alias in self.aliases
        kind = facts.AliasDeleted if key_id is None else facts.AliasUpdated if known else facts.AliasCreated
        if key_id is not None:
            self.aliases[alias] = key_id
        await self.publish(self.alias_event(kind, alias, key_id))

    async def rotate_sealing_key(self) -> None:
        self.sealing.append(SealingPair.new())
        await self.publish(self.sealing_published())

    # Answers

    async def _serve(self, partition: int) -> None:
        reader = self.bus.reader(topics.COMMANDS, partition, committed=False)
        await reader.start(self._ends[partition])
        try:
            while True:
                for record in await reader.poll(1.0):
                    await self._handle(record)
        finally:
            await reader.stop()

    async def _handle(self, record: Inbound) -> None:
        value, sealed = record.value or b"", record.header(SEALED_HEADER) or b""
        message = command_message(self.id, record.key or b"", value, sealed)
        command = commands.parse_command(value)
        if isinstance(command, commands.AssumePrincipalWithWebIdentity):
            shown = Verifier(bytes.fromhex(command.data.arguments.public_key))
            self.signers[shown.fingerprint] = shown
        assert (record.header(SIGNER_HEADER) or b"").decode() == command.data.signing_key
        self.signers[command.data.signing_key].verify(record.header(SIGNATURE_HEADER) or b"", message)
        check_scope(command)
        assert partition_of(command.subject, self.partitions) == record.partition
        digest = sha256(value).hexdigest()
        known = self.answered.get(command.id)
        if known is not None:
            self.duplicates += 1
            assert known[0] == digest
            await self.refuse(command, record, "AlreadyExecuted", outcome=known[1])
            return
        got = Received(command, record, self._open(command, value, sealed))
        self.received.append(got)
        code = next((code for script in list(self.scripts) if (code := script(got)) is not None), None)
        if code is None and got.body is None:
            code = "SealingKeyRetired"
        if code == "drop":
            return
        if code is None and command.data.dry_run:
            code = "DryRunOperation"
        if code is not None:
            await self.refuse(command, record, code)
            return
        await self.execute(got)

    def _open(self, command: Command, value: bytes, sealed: bytes) -> bodies.Body | None:
        pair = self.sealing[-1]
        if command.data.sealing_key != pair.id:
            return None
        counts = {"items": 0, "total_bytes": 0, "contexts": 0}
        if isinstance(command.data, DataPlaneData):
            contexts = [json.dumps(context, sort_keys=True) for context in command.data.contexts]
            assert len(set(contexts)) == len(contexts), "contexts are distinct"
            counts = {"items": command.data.items, "total_bytes": command.data.bytes, "contexts": len(contexts)}
        return bodies.decode(bodies.SUITE.decrypt(sealed, pair.private, bodies.info(value)), **counts)

    async def execute(self, got: Received, *, send: bool = True) -> None:
        command, body = got.command, got.body
        assert body is not None
        key_id = key_id_of(command.subject)
        if command.verb == "CreateKey" and key_id:
            self.keys[key_id] = 1
            self.held.create(key_id, command.data.arguments)
        if command.verb == "RotateKey" and key_id:
            self.keys[key_id] += 1
            self.held.rotate(key_id)
        if command.scope in {"registry", "any"}:
            self.revision += 1
        if isinstance(command.data, DataPlaneData):
            items = [self._item(command, index, data) for index, data in body.items]
        else:
            summary = {"key_id": key_id, "version": self.keys.get(key_id or "", 0)}
            summary |= self.held.told(command) | self.summaries.get(command.verb, {})
            items = [ItemResult(json.dumps(summary).encode())]
        version = self.keys.get(key_id, 0) if key_id else 0
        data = self._data(got, outcome="keyfold.key.used.v1", key_id=key_id, version=version)
        self.answered[command.id] = (data.command_digest, data.outcome)
        if send:
            await self.reply_sealed(got, data, items)

    async def reply_sealed(self, got: Received, data: ReplyData, items: list[ItemResult], **changes: Any) -> None:
        assert got.body is not None
        sealed = replies.seal(got.body.reply_key, os.urandom(32), data, replies.encode_items(items))
        headers = ((SEALED_HEADER, changes.get("sealed", sealed)),)
        shown = data.model_copy(update=changes.get("shown", {}))
        await self._send(got.command, got.record, Reply.new("hsm", shown).to_value(), headers)

    async def refuse(
        self, command: Command, record: Inbound, code: str, outcome: str = "CommandDenied", signer: Signer | None = None
    ) -> None:
        digest = sha256(record.value or b"").hexdigest()
        key_id = key_id_of(command.subject)
        decision = None if code == "AlreadyExecuted" else f"{record.partition}.{record.offset}.decision"
        data = ReplyData(
            command_id=command.id, command_digest=digest, outcome=outcome, code=code, key_id=key_id, decision=decision
        )
        value = Reply.new("policy", data).to_value()
        signer = signer or self.policy
        signature = signer.sign(reply_message(self.id, record.key or b"", value))
        headers = ((SIGNER_HEADER, signer.fingerprint.encode()), (SIGNATURE_HEADER, signature))
        await self._send(command, record, value, headers)

    def _data(self, got: Received, **fields: Any) -> ReplyData:
        digest = sha256(got.record.value or b"").hexdigest()
        return ReplyData(
            command_id=got.command.id, command_digest=digest, registry_revision=self.revision or None, **fields
        )

    async def _send(
        self, command: Command, record: Inbound, value: bytes, headers: tuple[tuple[str, bytes], ...]
    ) -> None:
        to = command.data.reply
        correlation = (CORRELATION_HEADER, to.correlation_id.encode())
        await self.sender.send(Outbound(to.topic, to.partition, record.key, value, (correlation, *headers)))

    def _item(self, command: Command, index: int, data: bytes) -> ItemResult:
        if (found := self.held.answer(command, data)) is not None:
            return found
        if command.subject == principal_stream(command.data.principal):
            arguments: Any = command.data.arguments
            return ItemResult(os.urandom(arguments.number_of_bytes))
        return self.symmetric.answer(command, index, data)

    def connect(self, **settings: Any) -> Keyfold:
        return Keyfold.connect(bus=self.bus, identity=self.alice, **settings)
