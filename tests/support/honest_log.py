"""A short, honest log in memory, really signed and really decided; and the hands to write into it what must not be.

Commands go through policy's own core; the worker is played. Nothing here judges: `log_checker` does.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from tests.support.desk import Desk, fresh_registry, outcome_of
from tests.support.log_snapshot import Logs, PartitionLog, Place
from tests.support.people import (
    DEPLOYMENT,
    PARTITIONS,
    SEALING_KEY,
    START_MS,
    Signed,
    command,
    first_events,
    key_on,
    sealing_key,
    signer,
    uuid,
)

from keyfold.bus import Inbound, Outbound
from keyfold.custody import KeyReference, blobs
from keyfold.events import facts, topics
from keyfold.events.replies import Reply, ReplyData, seal
from keyfold.events.statements import SEALED_HEADER, ChainHead, Entry
from keyfold.events.streams import REGISTRY, key_id_bytes, partition_of, partition_stream
from keyfold.events.times import to_text
from keyfold.log import Author

PARTITION = 2
KEY = key_on(PARTITION)
KEY_ID = KEY.removeprefix("key/")
REFERENCE = KeyReference(key_id_bytes(KEY_ID), 1, "SYMMETRIC_DEFAULT", "HSM")


def blob_of(epoch: int = 1, inside: bytes = b"wrapped material") -> bytes:
    """A blob as custody lays it out; nothing opens it."""
    return blobs.header(REFERENCE, epoch) + bytes(blobs.NONCE_BYTES) + inside


BLOB = blob_of()
DIGEST = sha256(BLOB).hexdigest()


@dataclass
class HonestLog:
    """Records by place with whether they were committed; the heads of all chains; policy's desks."""

    records: dict[Place, list[tuple[Inbound, bool]]] = field(default_factory=dict)
    heads: dict[tuple[str, str, int], ChainHead] = field(default_factory=dict)
    registry: dict[str, Any] = field(default_factory=fresh_registry)
    numbers: int = 0

    def __post_init__(self) -> None:
        self.desks = {partition: Desk(partition, self.registry) for partition in (0, PARTITION)}
        for event in first_events():
            if isinstance(event, facts.SealingKeyPublished):
                self._store_sealing_key(event)
            else:
                self.write(event.role, topics.EVENTS, [event])

    def logs(self) -> Logs:
        """The snapshot, as a reader would take it."""
        names = (*(topic.name for topic in topics.TOPICS if topic.partitions is None), topics.DEAD_LETTERS)
        found = {}
        for place in [(name, partition) for name in names for partition in range(PARTITIONS)]:
            kept = self.records.get(place, [])
            raw = tuple(record for record, _ in kept)
            found[place] = PartitionLog(0, raw, tuple(r for r, committed in kept if committed), len(raw), len(raw))
        return found

    def append(self, record: Outbound, *, committed: bool = True) -> Inbound:
        """Put a record at the end of its partition."""
        kept = self.records.setdefault((record.topic, record.partition), [])
        made = Inbound(
            record.topic, record.partition, len(kept), START_MS, record.key, record.value, tuple(record.headers)
        )
        kept.append((made, committed))
        return made

    def write(
        self, role: str, topic: str, events: Sequence[facts.Event], *, sealed: bytes = b"", committed: bool = True
    ) -> None:
        """Sign events of one stream as a role and append them; a chain does not remember what was aborted."""
        partition = partition_of(events[0].subject, PARTITIONS)
        author = Author(DEPLOYMENT, role, signer(role).fingerprint, signer(role).sign)
        entries = [Entry(event.subject.encode(), event.to_value(), sealed) for event in events]
        head = self.heads.get((role, topic, partition), ChainHead())
        after, records = author.records(topic, partition, head, entries)
        if committed:
            self.heads[role, topic, partition] = after
        for record in records:
            self.append(record, committed=committed)

    def command(self, verb: str, stream: str = KEY, **options: Any) -> Signed:
        """A command with an id of its own."""
        self.numbers += 1
        return command(verb, stream, self.numbers, **options)

    def decide(self, sent: Signed, *, ticket: bool = True, say: bool = True) -> facts.PolicyEvent:
        """Append a command, decide it, append decision, ticket and refusal."""
        desk, record = self.desks[sent.partition], self.append(sent.outbound())
        desk.offset = record.offset
        batch = desk.decide(sent)
        event = desk.last()
        assert isinstance(event, facts.PolicyEvent)
        self.write("policy", topics.EVENTS, [event])
        if ticket and batch.tickets:
            self.write("policy", topics.AUTHORIZED, [event], sealed=sent.sealed)
        for reply in batch.replies if say else ():
            self.append(reply)
        return event

    def execute(
        self, event: facts.PolicyEvent, kind: type[facts.Event] | None = None, *, say: bool = True, **data: Any
    ) -> facts.Outcome:
        """Append the outcome of a decision and its reply."""
        outcome = outcome_of(event, kind, **data)
        self.write("hsm", topics.EVENTS, [outcome])
        self.desks[partition_of(event.subject, PARTITIONS)].finish(outcome)
        if say:
            self.answer(outcome)
        return outcome

    def answer(self, outcome: facts.Outcome) -> None:
        """Append a sealed result."""
        data = ReplyData(
            command_id=outcome.data.command_id, command_digest=outcome.data.command_digest, outcome=outcome.type
        )
        sealed = seal(bytes(32), sha256(outcome.id.encode()).digest(), data, b"result")
        value, key = Reply.new("hsm", data).to_value(), outcome.subject.encode()
        self.append(Outbound(topics.REPLIES, 0, key, value, ((SEALED_HEADER, sealed),)))

    def create_key(self, blob: bytes = BLOB) -> None:
        """Create the key, with its material in the keystore."""
        event = self.decide(self.command("CreateKey"))
        known: dict[str, Any] = {"key_id": KEY_ID, "version": 1, "key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM"}
        self.store(blob)
        self.execute(event, facts.KeyMaterialGenerated, **known, blob_digest=sha256(BLOB).hexdigest())

    def store(self, blob: bytes = BLOB) -> None:
        """Append material to the keystore."""
        known = {"key_id": KEY_ID, "version": 1, "key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM"}
        text = b64encode(blob).decode()
        stored = facts.KeyMaterialStored.new("stored", KEY, first_events()[0].time, **known, blob=text)
        self.write("hsm", topics.KEYSTORE, [stored])

    def use_key(self, verb: str = "Encrypt", *, say: bool = True) -> facts.Outcome:
        """Use the key once."""
        return self.execute(self.decide(self.command(verb)), facts.KeyUsed, say=say, **self.used())

    def used(self) -> dict[str, Any]:
        """What a worker says of one item."""
        mac = "ab" * 32
        return {"key_id": KEY_ID, "items": 1, "bytes": 10, "versions": {"1": 1}, "failures": {}, "mac": mac}

    def disable_key(self) -> None:
        """Disable the key, and pass the fence."""
        event = self.decide(self.command("DisableKey"))
        self.execute(event, facts.KeyUseCeased, key_id=KEY_ID, erased_versions=[])

    def begin_epoch(self) -> None:
        """Begin the second storage epoch."""
        self.execute(self.decide(self.command("BeginStorageEpoch", REGISTRY)))

    def rewrap(self, epoch: int = 2, under: int | None = None) -> None:
        """Make the key's blob anew; `under` is the epoch that the blob names, where it is another."""
        blob = b64encode(blob_of(under or epoch)).decode()
        known: dict[str, Any] = {"key_id": KEY_ID, "epoch": epoch, "blobs": {"1": blob}}
        self.write("hsm", topics.KEYSTORE, [facts.KeyMaterialRewrapped.new(f"anew.{epoch}", KEY, _now(), **known)])

    def turn(self, partition: int, epoch: int = 2) -> None:
        """Let a partition say that it has turned."""
        known = {"epoch": epoch, "partition": partition, "versions": 1}
        stream = partition_stream(partition)
        turned = facts.StorageEpochTurned.new(f"turned.{partition}.{epoch}", stream, _now(), **known)
        self.write("hsm", topics.EVENTS, [turned])

    def places(self) -> dict[int, int]:
        """Where the partitions said last that they have turned."""
        return {
            partition: record.offset
            for (topic, partition), kept in self.records.items()
            for record, _ in kept
            if topic == topics.EVENTS and b"keyfold.storage-epoch.turned" in (record.value or b"")
        }

    def end_epoch(self, epoch: int = 1, *, places: dict[int, int] | None = None) -> str:
        """Destroy an epoch's key; returns the id of the event that says so."""
        places = self.places() if places is None else places
        evidence = [{"partition": p, "offset": offset} for p, offset in self.places().items()]
        arguments = {"epoch": epoch, "evidence": evidence}
        decided = self.decide(self.command("EndStorageEpoch", REGISTRY, arguments=arguments))
        known: dict[str, Any] = {"token": "kms", "serial": "1", "module": "SoftHSM", "answer": "CKR_OK"}
        told = {str(partition): offset for partition, offset in places.items()}
        destroyed = facts.StorageEpochKeyDestroyed.new(
            f"destroyed.{epoch}", REGISTRY, _now(), epoch=epoch, found_after=0, evidence=told, **known
        )
        self.write("hsm", topics.EVENTS, [destroyed])
        self.execute(decided)
        return destroyed.id

    def destroy_key(self) -> int:
        """Destroy the key at once; returns the command's offset."""
        event = self.decide(self.command("DestroyKeyNow"))
        offset = event.data.decision.offset
        known = {"key_id": KEY_ID, "versions": [1], "offset": offset, "epoch": 1, "blob_digests": {"1": DIGEST}}
        self.write("hsm", topics.KEYSTORE, [facts.KeyMaterialErased.new("erased", KEY, event.time, **known)])
        self.execute(event, facts.KeyUseCeased, key_id=KEY_ID, erased_versions=[1])
        return offset

    def renew_sealing_key(self) -> None:
        """Publish the next sealing key, and erase the one before."""
        following = sealing_key(uuid(0x5EA2), START_MS + 1)
        assert isinstance(following, facts.SealingKeyPublished)
        self._store_sealing_key(following)
        known = {"sealing_key": SEALING_KEY}
        self.write("hsm", topics.KEYSTORE, [facts.SealingKeyDeleted.new("gone", REGISTRY, _now(), **known)])
        self.write("hsm", topics.EVENTS, [facts.SealingKeyErased.new("gone", REGISTRY, _now(), **known)])

    def certify(self, offset: int, ended_by: str, digest: str = "") -> None:
        """Say that the key's blob is beyond recovery."""
        known: dict[str, Any] = {"key_id": KEY_ID, "versions": [1]}
        certificate = facts.KeyErased.new(
            "certificate", KEY, _now(), **known, destroyed_by={"1": offset}, blob_digests={"1": digest or DIGEST},
            epoch=1, epoch_key_destroyed=ended_by, sealing_key=SEALING_KEY, module="SoftHSM", demonstration=True,
            covers=["log"], does_not_cover=["token-backups"],
        )  # fmt: skip
        self.write("hsm", topics.KEYSTORE, [facts.ErasureCertified.new("certified", KEY, _now(), **known)])
        self.write("hsm", topics.EVENTS, [certificate])

    def tell(self) -> "HonestLog":
        """What happens in an honest deployment."""
        self.create_key()
        self.use_key()
        alias = {"alias": "alias/orders", "key_id": KEY_ID}
        self.execute(self.decide(self.command("CreateAlias", REGISTRY, arguments=alias)))
        self.disable_key()
        denied = self.decide(self.command("Encrypt"))
        assert isinstance(denied, facts.CommandDenied)
        self.execute(self.decide(self.command("EnableKey")))
        self.use_key("Decrypt")
        return self

    def _store_sealing_key(self, event: facts.SealingKeyPublished) -> None:
        blob, data = b"wrapped sealing key", event.data
        known = {"sealing_key": data.sealing_key, "public_key": data.public_key}
        digest = sha256(blob).hexdigest()
        published = facts.SealingKeyPublished.new(event.id, REGISTRY, event.time, **known, blob_digest=digest)
        stored = facts.SealingKeyStored.new(event.id, REGISTRY, event.time, **known, blob=b64encode(blob).decode())
        self.write("hsm", topics.KEYSTORE, [stored])
        self.write("hsm", topics.EVENTS, [published])


def _now() -> str:
    return to_text(START_MS)
