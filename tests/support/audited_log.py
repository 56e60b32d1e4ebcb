"""A whole deployment's log as an auditor gets it: an `Archive` of decisions, really signed, with tree heads over it.

`AuditedLog` holds the records in lists, so that a test can edit, insert, remove and reorder them; it is a
`RecordSource`. Chains are made anew by `sign_all`: whoever holds the services' keys can do that, and only the signed
tree heads then tell.
"""

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby
from typing import Any

from tests.property.lasting import CEASING, LastingArchive
from tests.support.archive import Archive
from tests.support.desk import outcome_of
from tests.support.notary_log import NotaryKeys
from tests.support.people import DEPLOYMENT, PARTITIONS, signer

from keyfold.bus import Inbound, MemoryBus, Outbound
from keyfold.deciding.replaying import Leaf
from keyfold.events import facts, topics
from keyfold.events.checkpoints import Checkpoint, cosign_ed25519, origin_of
from keyfold.events.log_leaves import leaf_of
from keyfold.events.notes import Note
from keyfold.events.statements import STATEMENT_HEADER, ChainHead, Entry, parse_statement
from keyfold.events.times import to_milliseconds
from keyfold.events.tree import CompactRange
from keyfold.log import Author

BATCH = 64


class Honest(LastingArchive):
    """An archive whose worker answers each command with the outcome that belongs to it, whatever policy knows yet."""

    def _answers(self, ticket: facts.PolicyEvent) -> list[facts.Event]:
        data: Any = ticket.data
        if isinstance(ticket, CEASING):
            return [outcome_of(ticket, facts.KeyUseCeased, key_id=data.key_id, erased_versions=[])]
        if isinstance(ticket, facts.KeyCreated | facts.KeyRotated) and data.origin == "EXTERNAL":
            return [outcome_of(ticket)]
        if isinstance(ticket, facts.CommandAuthorized) and data.verb == "GetPublicKey":
            return [outcome_of(ticket)]
        if isinstance(ticket, facts.ImportParametersIssued):
            names = {"key_id", "import_token", "version", "wrapping_algorithm", "expires_at"}
            told = data.model_dump(include=names)
            return [outcome_of(ticket, facts.ImportParametersCreated, **told, public_key="MCow", attributes={})]
        return super()._answers(ticket)

    def _used(self, ticket: facts.CommandAuthorized) -> facts.Event:
        data = ticket.data
        first = next(number for number in range(1, 1000) if number not in data.refused_versions)
        counts = {"items": data.items, "bytes": data.bytes, "versions": {str(data.key_version or first): data.items}}
        return outcome_of(ticket, facts.KeyUsed, key_id=data.key_id, mac="0" * 64, failures={}, **counts)


@cache
def honest(seed: int, steps: int) -> "AuditedLog":
    """An honest log, for tests that only read it; `copy` it before changing anything."""
    return AuditedLog.of(Honest(random.Random(seed)).live(steps)).publish_all()  # noqa: S311 - choices of a test


def authors() -> dict[str, Author]:
    """Everybody who writes the log."""
    return {r: Author(DEPLOYMENT, r, signer(r).fingerprint, signer(r).sign) for r in ("root", "policy", "hsm")}


@dataclass
class AuditedLog:
    """The records by partition, and signed tree heads over them."""

    kept: dict[int, list[Inbound]]
    notes: list[bytes] = field(default_factory=list)
    keys: NotaryKeys = field(default_factory=NotaryKeys)
    deployment: str = DEPLOYMENT
    partitions: int = PARTITIONS

    @classmethod
    def of(cls, made: Archive, keys: NotaryKeys | None = None) -> "AuditedLog":
        """Sign what an archive holds; root certifies the notary in the end."""
        found = keys or NotaryKeys()
        logged = {partition: list(leaves) for partition, leaves in made.log.items()}
        number = max(leaf.statement_n for leaf in logged[0] if leaf.role == "root") + 1
        event = found.certificate()
        logged[0].append(Leaf(0, len(logged[0]), "root", number, event, event.to_value()))
        log = cls({}, keys=found)
        log.kept = {partition: sign_all(partition, leaves) for partition, leaves in logged.items()}
        return log

    def copy(self) -> "AuditedLog":
        """Return one that can be changed by itself."""
        kept = {partition: list(records) for partition, records in self.kept.items()}
        return replace(self, kept=kept, notes=list(self.notes))

    async def records(self, partition: int, start: int | None = None) -> AsyncIterator[list[Inbound]]:
        """Yield batches."""
        records = [record for record in self.kept[partition] if record.offset >= (start or 0)]
        for at in range(0, len(records), BATCH):
            yield records[at : at + BATCH]

    async def checkpoints(self) -> list[bytes]:
        """Return the signed notes."""
        return list(self.notes)

    async def ends(self) -> dict[int, int]:
        """Return where each partition ends."""
        return {partition: max((r.offset + 1 for r in kept), default=0) for partition, kept in self.kept.items()}

    def publish(self, partition: int, size: int | None = None, witness: str | None = None) -> bytes:
        """Sign a tree head over the first records (default: all), as the notary does."""
        tree = CompactRange()
        tree.extend(self.leaves(partition)[:size])
        checkpoint = Checkpoint(origin_of(self.deployment, partition), tree.size, tree.root())
        note = self.keys.note(checkpoint)
        if witness is not None:
            key = signer(witness)
            line = cosign_ed25519(checkpoint, witness, key.public_key, key.sign, 1_790_000_000)
            note = Note(note.text, (*note.signatures, line))
        self.notes.append(note.to_bytes())
        return self.notes[-1]

    def publish_all(self) -> "AuditedLog":
        """Sign tree heads over a half and over all of each partition."""
        for partition in range(self.partitions):
            self.publish(partition, len(self.kept[partition]) // 2)
            self.publish(partition)
        return self

    def leaves(self, partition: int) -> list[bytes]:
        """The leaf hashes of a partition."""
        return [leaf_of(record.key, record.value, record.headers) for record in self.kept[partition]]

    def events(self, partition: int) -> list[facts.Event]:
        """The events of a partition."""
        return [facts.parse_event(record.value or b"") for record in self.kept[partition]]

    async def written_to(self, bus: MemoryBus) -> None:
        """Append all records to a bus, one transaction for each partition."""
        writer = bus.writer("audited-log")
        await writer.start()
        for records in self.kept.values():
            await writer.commit([outbound(record) for record in records])
        await writer.stop()


@dataclass(frozen=True)
class KeptOpener:
    """Opens records again, in another process too. `failing` is a partition that cannot be read."""

    kept: dict[int, list[Inbound]]
    notes: list[bytes]
    failing: int | None = None

    def __call__(self) -> AuditedLog:
        kept = {partition: records for partition, records in self.kept.items() if partition != self.failing}
        return AuditedLog(kept, self.notes)


def sign_all(partition: int, leaves: Sequence[Leaf]) -> list[Inbound]:
    """Make the records of a partition: one statement for each run of leaves that had one."""
    heads = {role: ChainHead() for role in authors()}
    records: list[Inbound] = []
    for (role, _), group in groupby(leaves, key=lambda leaf: (leaf.role, leaf.statement_n)):
        run = list(group)
        entries = [Entry(leaf.event.subject.encode(), leaf.event.to_value()) for leaf in run]
        heads[role], made = authors()[role].records(topics.EVENTS, partition, heads[role], entries)
        for leaf, record in zip(run, made, strict=True):
            time = to_milliseconds(leaf.event.time)
            records.append(
                Inbound(topics.EVENTS, partition, len(records), time, record.key, record.value, tuple(record.headers))
            )
    return records


def leaves_in(records: Sequence[Inbound]) -> list[Leaf]:
    """What honest records hold, to be changed and signed anew."""
    found = []
    for place, record in enumerate(records):
        statement = parse_statement(record.header(STATEMENT_HEADER) or b"")
        event = facts.parse_event(record.value or b"")
        found.append(Leaf(record.partition, place, statement.role, statement.n, event, event.to_value()))
    return found


def told_anew(records: Sequence[Inbound], at: int, event: facts.Event) -> list[Inbound]:
    """The same history but for one event, by whoever has all the services' keys."""
    found = leaves_in(records)
    found[at] = replace(found[at], event=event, value=event.to_value())
    return sign_all(records[at].partition, found)


def outbound(record: Inbound) -> Outbound:
    """The same record, to be written."""
    return Outbound(record.topic, record.partition, record.key, record.value, record.headers)


def numbered(records: Sequence[Inbound]) -> list[Inbound]:
    """Give records the offsets of their places."""
    return [replace(record, offset=place) for place, record in enumerate(records)]
