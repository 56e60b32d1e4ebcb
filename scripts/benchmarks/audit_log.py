"""A log of any size, really signed, for measuring who reads it: uses of keys, two events each, in large statements.

Keys are created through policy's own core; the uses behind it are made from one real decision and one real outcome, by
exchanging what differs, so that a million events take minutes and not hours. The verifier that is measured finds
nothing wrong with it. It lies in files that are read in batches, so that neither broker nor memory is measured.
"""

import pickle
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from tests.support.archive import Archive
from tests.support.audited_log import AuditedLog, authors
from tests.support.desk import outcome_of
from tests.support.notary_log import NotaryKeys
from tests.support.people import DEPLOYMENT, PARTITIONS, RULES, key_on, signer, uuid

from keyfold.bus import Inbound
from keyfold.deciding.replaying import Leaf
from keyfold.events import facts, strictjson, topics
from keyfold.events.checkpoints import Checkpoint, origin_of
from keyfold.events.log_leaves import leaf_of
from keyfold.events.signatures import command_message_of_digest
from keyfold.events.statements import ChainHead, Entry, parse_statement
from keyfold.events.times import to_milliseconds, to_text
from keyfold.events.tree import CompactRange

STATEMENT: Final = 250
BATCH: Final = 500
_BODY: Final = sha256(b"a sealed body").digest()


@dataclass(frozen=True, slots=True)
class FileOpener:
    """Opens a log that `write_log` made; it can be sent to another process."""

    directory: Path

    def __call__(self) -> "FileSource":
        return FileSource(self.directory)


class FileSource:
    """A `RecordSource` over files of pickled batches, of our own making."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.deployment, self.partitions = DEPLOYMENT, PARTITIONS

    async def records(self, partition: int, start: int | None = None) -> AsyncIterator[list[Inbound]]:
        """Yield batches."""
        with (self._directory / str(partition)).open("rb") as file:
            while True:
                try:
                    rows = pickle.load(file)  # noqa: S301 - written by this module, a moment ago
                except EOFError:
                    return
                yield [Inbound(topics.EVENTS, partition, *row) for row in rows if row[0] >= (start or 0)]

    async def checkpoints(self) -> list[bytes]:
        """Return the signed notes."""
        found: list[bytes] = pickle.loads((self._directory / "notes").read_bytes())  # noqa: S301 - the same
        return found

    async def ends(self) -> dict[int, int]:
        """A log in files does not grow."""
        return {}


def write_log(directory: Path, events: int) -> FileSource:
    """Write a log of about so many events."""
    directory.mkdir(parents=True, exist_ok=True)
    made = _introduced()
    log = AuditedLog.of(made)
    notes = []
    for partition in range(PARTITIONS):
        with (directory / str(partition)).open("wb") as file:
            writer = _Writer(partition, file, log.kept[partition])
            if partition:
                writer.uses(made, len(log.kept[0]), events // (PARTITIONS - 1))
            notes.append(writer.finish(log.keys))
    (directory / "notes").write_bytes(pickle.dumps(notes))
    return FileSource(directory)


def _introduced() -> Archive:
    """A deployment in which each partition has a key that was used once."""
    made = Archive(random.Random(1), rules=RULES)  # noqa: S311 - choices of a measurement
    for partition in range(1, PARTITIONS):
        for verb in ("CreateKey", "Encrypt"):
            for each in range(PARTITIONS):
                made.catch_up(each, 10**6)
                made.follow(each, 10**6)
            made.send([made.asked("alice", (verb, key_on(partition), {}))])
            made.answer(0)
    made.waiting = [ticket for ticket in made.waiting if ticket.subject == "registry"]
    return made


class _Writer:
    """One partition: its chains, its tree, and the next batch."""

    def __init__(self, partition: int, file: BinaryIO, first: list[Inbound]) -> None:
        self._partition, self._file = partition, file
        self._heads = {role: ChainHead() for role in authors()}
        self._tree = CompactRange()
        self._rows: list[Any] = []
        self._offset = 0
        for record in first:
            document = dict(record.headers)["kf_statement"]
            statement = parse_statement(document)
            self._heads[statement.role] = ChainHead(statement.n, sha256(document).hexdigest())
            self._put(record.timestamp_ms, record.key, record.value, record.headers)

    def uses(self, made: Archive, registry_n: int, events: int) -> None:
        """Answer what waits, then use the key until there are so many events."""
        leaves = [leaf for leaf in made.log[self._partition] if isinstance(leaf.event, facts.PolicyEvent)]
        created, used = (leaf.event for leaf in leaves[:2])
        self._write("hsm", [_generated(created), _outcome(used)])
        uses = _uses(self._partition, leaves[1], registry_n)
        while self._offset < events:
            decided = [next(uses).send_number(self._heads["hsm"].n) for _ in range(STATEMENT)]
            self._write("policy", decided)
            self._write("hsm", [_outcome(event) for event in decided])

    def finish(self, keys: NotaryKeys) -> bytes:
        """Write what is left and return a signed tree head over everything."""
        self._flush()
        checkpoint = Checkpoint(origin_of(DEPLOYMENT, self._partition), self._tree.size, self._tree.root())
        return keys.note(checkpoint).to_bytes()

    def _write(self, role: str, events: list[facts.Event]) -> None:
        entries = [Entry(event.subject.encode(), event.to_value()) for event in events]
        self._heads[role], made = authors()[role].records(topics.EVENTS, self._partition, self._heads[role], entries)
        time = to_milliseconds(events[-1].time)
        for record in made:
            self._put(time, record.key, record.value, tuple(record.headers))

    def _put(self, time: int, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> None:
        self._tree.extend([leaf_of(key, value, headers)])
        self._rows.append((self._offset, time, key, value, headers))
        self._offset += 1
        if len(self._rows) == BATCH:
            self._flush()

    def _flush(self) -> None:
        pickle.dump(self._rows, self._file)
        self._rows = []


@dataclass(frozen=True, slots=True)
class _Use:
    """A decision to be; what was known of the worker's statements is said last."""

    event: facts.PolicyEvent
    update: dict[str, Any]

    def send_number(self, facts_n: int) -> facts.PolicyEvent:
        """Return the decision as of so many statements of the worker."""
        data: Any = self.event.data
        decision = data.decision.model_copy(update={**self.update, "facts_n": facts_n})
        made: facts.PolicyEvent = self.event.model_copy(update={"data": data.model_copy(update={"decision": decision})})
        return made


def _uses(partition: int, leaf: Leaf, registry_n: int) -> Iterator[_Use]:
    """Yield uses like a real one, a millisecond apart, each with a command of its own that is signed."""
    template: Any = leaf.event
    command = template.data.decision.command
    alice, subject = signer("alice"), template.subject
    known = strictjson.loads(command.encode())
    offset, now_ms = template.data.decision.offset, to_milliseconds(template.time)
    while True:
        offset, now_ms = offset + 1, now_ms + 1
        text = command.replace(f'"id": "{known["id"]}"', f'"id": "{uuid(0xA0D17 * 2**80 + offset)}"')
        text = text.replace(known["time"], to_text(now_ms)).replace(
            known["data"]["expires_at"], to_text(now_ms + 300_000)
        )
        signature = alice.sign(command_message_of_digest(DEPLOYMENT, subject.encode(), text.encode(), _BODY))
        update = {
            "command": text,
            "command_digest": sha256(text.encode()).hexdigest(),
            "body_digest": _BODY.hex(),
            "signature": signature.hex(),
            "offset": offset,
            "registry_n": registry_n - 1,
        }
        about = {"id": f"{partition}.{offset}.decision", "time": to_text(now_ms)}
        yield _Use(template.model_copy(update=about), update)


def _generated(event: facts.Event) -> facts.Event:
    data: Any = event.data
    known = {"key_id": data.key_id, "version": 1, "key_spec": data.key_spec, "protection": data.protection}
    assert isinstance(event, facts.PolicyEvent)
    return outcome_of(event, facts.KeyMaterialGenerated, **known, blob_digest="0" * 64)


def _outcome(event: facts.Event) -> facts.Event:
    data: Any = event.data
    counts = {"items": data.items, "bytes": data.bytes, "versions": {"1": data.items}, "failures": {}, "mac": "0" * 64}
    assert isinstance(event, facts.PolicyEvent)
    return outcome_of(event, facts.KeyUsed, key_id=data.key_id, **counts)
