"""Attacks on the log by whoever owns the broker's disk, the database, or a service's key: each is found, and where.

The log is a real one, on a real broker that is stopped, edited on disk with every checksum right, and started again.
What an auditor has kept outside is one set of checkpoints. Each attack begins from the same untouched copy.
"""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.support import segments
from tests.support.forge import signed_record
from tests.support.intruder import service_key
from tests.support.segments import Batches, Record
from tests.support.whole_system import WholeSystem

from keyfold.events import facts, topics
from keyfold.events.signatures import Signer
from keyfold.events.statements import STATEMENT_HEADER, ChainHead, Entry, parse_statement
from keyfold.events.streams import key_id_of, partition_of
from keyfold.identity import create_identity

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Victim:
    """A stopped deployment with one busy partition, a copy of its broker's disk, and the auditor's checkpoints."""

    system: WholeSystem
    folder: Path
    key_id: str
    partition: int

    @property
    def disk(self) -> Path:
        """The broker's log directory."""
        return self.system.stack.directory.path / "kafka" / "data"

    @property
    def log(self) -> Path:
        """The segment of the busy partition."""
        return segments.log_of(self.disk, topics.EVENTS, self.partition)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(self.system.stack.directory.path)]
        return subprocess.run([*program, *words], capture_output=True, text=True, timeout=180, check=False)

    def restore(self) -> None:
        """Put the untouched copy back; nothing may run."""
        shutil.rmtree(self.disk)
        shutil.copytree(self.folder / "untouched", self.disk)

    def checkpoints(self) -> list[str]:
        """The auditor's files, as arguments."""
        return [word for path in sorted(self.folder.glob("kept.*")) for word in ("--checkpoint", str(path))]

    def verify(self, *words: str) -> dict[str, Any]:
        """Start the broker, verify, stop it; return the report. Its exit code must fit."""
        self.system.stack.start_infrastructure(["kafka"])
        try:
            done = self.run("audit", "verify", "--json", *words)
        finally:
            self.system.stack.stop_part("kafka")
        assert done.returncode in {0, 4}, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        assert report["holds"] == (done.returncode == 0)
        return report

    def attacked(self, edit: Callable[[Batches], Batches], *, kept: bool = True) -> dict[str, Any]:
        """Edit the busy partition, and return what is found wrong first; with the kept checkpoints or without."""
        self.restore()
        segments.write(self.log, edit(segments.read(self.log)))
        try:
            report = self.verify(*(self.checkpoints() if kept else ()))
        finally:
            self.restore()
        assert not report["holds"], "the attack was not noticed"
        first: dict[str, Any] = report["first"]
        return first


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A deployment that was used, is checkpointed to its last record, and then stopped whole."""
    folder = tmp_path_factory.mktemp("attacks")
    system = WholeSystem(folder / "data")
    try:
        system.begin()
        key_id = asyncio.run(_used(system))
        made = Victim(system, folder, key_id, partition_of(f"key/{key_id}", system.config.partitions))
        _covered(made)
        assert made.run("audit", "checkpoints", "--save", str(folder / "kept")).returncode == 0
        system.stack.stop()
        shutil.copytree(made.disk, folder / "untouched")
        yield made
    finally:
        system.stack.reset()


async def _used(system: WholeSystem) -> str:
    """Create a key and use it, several commands at a time, so that transactions hold several records."""
    user = create_identity(system.config.identities_directory / "user.json", "user", system.deployment)
    async with system.client("admin-1") as admin:
        await admin.register_principal("user", user.signer.public_key)
        key = await admin.create_key(description="attacked")
        await admin.put_policy("use", 'permit (principal == Principal::"user", action, resource);')
        async with system.client("user") as kms:
            for batch in range(3):
                uses = [kms.encrypt(key.key_id, b"x", reason=f"{batch}.{number}") for number in range(20)]
                await asyncio.gather(*uses)
        await admin.disable_key(key.key_id)
        await admin.enable_key(key.key_id)
    await system.quiet()
    return key.key_id


def _covered(victim: Victim) -> None:
    """Everything holds before anybody attacks, and all of it is under a checkpoint."""
    done = victim.run("audit", "verify", "--json", "--database")
    report = json.loads(done.stdout)
    assert (done.returncode, report["findings"]) == (0, 0), report["first"]
    assert all(part["covered"] == part["leaves"] for part in report["partitions"])
    assert report["checked"]["rows"] > 0


def events_of(batches: Batches, kind: type[facts.Event]) -> list[tuple[int, Record]]:
    """The offsets and records of one type."""
    return [
        (batch.base + record.delta, record)
        for batch in batches
        if not batch.control
        for record in batch.records
        if record.value is not None and isinstance(facts.parse_event(record.value), kind)
    ]


def last_head(batches: Batches, role: str) -> ChainHead:
    """Where a role's chain ends."""
    documents = [
        document
        for batch in batches
        for record in batch.records
        if not batch.control and (document := dict(record.headers).get(STATEMENT_HEADER.encode())) is not None
        if parse_statement(document).role == role
    ]
    return ChainHead(parse_statement(documents[-1]).n, sha256(documents[-1]).hexdigest())


def appended(batches: Batches, records: list[Record]) -> Batches:
    """Add a transaction behind the last one, as its producer would have."""
    *_, last = segments.transactions(batches)
    data, marker = last[0], last[-1]
    base = batches[-1].end
    numbered = tuple(replace(record, delta=number, time_delta=0) for number, record in enumerate(records))
    body = replace(data, base=base, last_delta=len(numbered) - 1, records=numbered)
    return [*batches, body, replace(marker, base=base + len(numbered))]


def record_of(signer: Signer, victim: Victim, role: str, event: facts.Event, head: ChainHead) -> Record:
    """An event, signed as the next statement of a role."""
    entry = Entry(event.subject.encode(), event.to_value())
    place = (topics.EVENTS, victim.partition)
    made = signed_record(signer, victim.system.deployment, role, place, entry, head=head)
    return Record(0, 0, made.key, made.value, tuple((name.encode(), value) for name, value in made.headers))


def test_the_untouched_log_holds(victim: Victim) -> None:
    """What the other tests start from is found to be right, with the kept checkpoints."""
    victim.restore()
    assert victim.verify(*victim.checkpoints())["holds"]


@pytest.mark.parametrize("kept", [True, False], ids=["with checkpoints", "without"])
def test_one_byte_of_a_value(victim: Victim, *, kept: bool) -> None:
    """The statement does not cover it any more; its leaf is named."""
    place: list[int] = []

    def edit(batches: Batches) -> Batches:
        offset, record = events_of(batches, facts.KeyUsed)[7]
        place.append(offset)
        changed = (record.value or b"").replace(b'"items":1', b'"items":2', 1)
        return segments.change(batches, offset, lambda found: replace(found, value=changed))

    first = victim.attacked(edit, kept=kept)
    assert (first["partition"], first["kafka_offset"]) == (victim.partition, place[0])


def test_the_tail_is_cut_off(victim: Victim) -> None:
    """A kept checkpoint says that there were more."""
    end: list[int] = []

    def edit(batches: Batches) -> Batches:
        *_, before, _last = segments.transactions(batches)
        end.append(before[-1].end)
        return [batch for batch in batches if batch.base < before[-1].end]

    first = victim.attacked(edit)
    assert (first["code"], first["partition"]) == ("Truncated", victim.partition)


def test_two_records_change_places(victim: Victim) -> None:
    """Order is signed: the first of the two is named."""
    place: list[int] = []

    def edit(batches: Batches) -> Batches:
        one, other = (offset for offset, _ in events_of(batches, facts.CommandAuthorized)[4:6])
        place.append(one)
        return segments.swap(batches, one, other)

    first = victim.attacked(edit)
    assert (first["partition"], first["kafka_offset"]) == (victim.partition, place[0])


def test_a_transaction_is_taken_out(victim: Victim) -> None:
    """The chain breaks where it stood."""
    place: list[int] = []

    def edit(batches: Batches) -> Batches:
        out = list(segments.transactions(batches))[5]
        left = [batch for batch in batches if batch not in out]
        place.append(next(batch.base for batch in left if batch.base > out[0].base and not batch.control))
        return left

    first = victim.attacked(edit)
    assert (first["partition"], first["kafka_offset"]) == (victim.partition, place[0])


@pytest.mark.parametrize("role", ["policy", "hsm"])
def test_a_stranger_signs(victim: Victim, role: str) -> None:
    """A record that looks right and is signed by nobody whom root has certified is named."""
    end: list[int] = []

    def edit(batches: Batches) -> Batches:
        end.append(batches[-1].end)
        event = _enabled(victim, batches)
        return appended(batches, [record_of(Signer(b"s" * 32), victim, role, event, last_head(batches, role))])

    first = victim.attacked(edit)
    assert (first["code"], first["kafka_offset"]) == ("UntrustedRecord", end[0])


def test_a_service_writes_what_is_not_its_to_write(victim: Victim) -> None:
    """The worker's own certified key cannot enable a key."""
    end: list[int] = []

    def edit(batches: Batches) -> Batches:
        end.append(batches[-1].end)
        signer = service_key(victim.system.config, "hsm")
        return appended(
            batches, [record_of(signer, victim, "hsm", _enabled(victim, batches), last_head(batches, "hsm"))]
        )

    first = victim.attacked(edit)
    assert (first["code"], first["kafka_offset"]) == ("UntrustedRecord", end[0])


def test_a_genuine_record_again(victim: Victim) -> None:
    """A replayed event is named; it was read before."""
    end: list[int] = []

    def edit(batches: Batches) -> Batches:
        end.append(batches[-1].end)
        return appended(batches, [events_of(batches, facts.KeyEnabled)[0][1]])

    first = victim.attacked(edit)
    assert (first["code"], first["kafka_offset"]) == ("ChainRepeat", end[0])


def test_policy_itself_invents_a_decision(victim: Victim) -> None:
    """Who has policy's key can sign; but the command in it is nobody's, or an old one again."""
    end: list[int] = []

    def edit(batches: Batches) -> Batches:
        end.append(batches[-1].end)
        signer = service_key(victim.system.config, "policy")
        event = _enabled(victim, batches)
        return appended(batches, [record_of(signer, victim, "policy", event, last_head(batches, "policy"))])

    first = victim.attacked(edit)
    assert first["kafka_offset"] == end[0]
    assert first["code"] in {"DecidedTwice", "OrderBroken"}, first


def _enabled(victim: Victim, batches: Batches) -> facts.Event:
    """The key's own last enabling, under another id."""
    _, record = events_of(batches, facts.KeyEnabled)[-1]
    event = facts.parse_event(record.value or b"")
    assert key_id_of(event.subject) == victim.key_id
    return event.model_copy(update={"id": "forged"})


def test_the_log_goes_on_otherwise_after_a_checkpoint(victim: Victim) -> None:
    """Who has policy's and the worker's keys writes another end of the same length: the kept root is not its root."""
    place: list[int] = []

    def edit(batches: Batches) -> Batches:
        *_, last = segments.transactions(batches)
        left = [batch for batch in batches if batch not in last]
        (record,) = last[0].records
        event = facts.parse_event(record.value or b"")
        role = event.role
        place.append(left[-1].end)
        other = event.model_copy(update={"id": f"{event.id}.other"})
        return appended(
            left, [record_of(service_key(victim.system.config, role), victim, role, other, last_head(left, role))]
        )

    first = victim.attacked(edit)
    assert first["partition"] == victim.partition
    assert first["code"] in {"LeafDiffers", "RootDiffers"}
    assert first["kafka_offset"] == place[0]


def test_a_checkpoint_is_replaced_by_an_older_one(victim: Victim) -> None:
    """The topic of checkpoints goes back: the last records are not covered, and what was kept says more."""
    victim.restore()
    path = segments.log_of(victim.disk, topics.CHECKPOINTS, 0)
    batches = segments.read(path)
    older: dict[bytes | None, Record] = {}
    changed: Batches = []
    for batch in batches:
        if batch.control:
            changed.append(batch)
            continue
        records = tuple(older.get(record.key, record) for record in batch.records)
        for record in batch.records:
            older.setdefault(record.key, record)
        pairs = zip(records, batch.records, strict=True)
        placed = tuple(replace(new, delta=old.delta, time_delta=old.time_delta) for new, old in pairs)
        changed.append(replace(batch, records=placed))
    segments.write(path, changed)
    try:
        report = victim.verify()
        kept = victim.verify(*victim.checkpoints())
    finally:
        victim.restore()
    assert not report["holds"]
    assert report["first"]["code"] == "CheckpointOutOfOrder"
    assert not kept["holds"]


ROWS = [
    ("audit", "UPDATE {table} SET principal = 'mallory' WHERE verb = 'DisableKey'", "RowDiffers"),
    ("audit", "DELETE FROM {table} WHERE verb = 'DisableKey'", "RowMissing"),
    ("keys", "UPDATE {table} SET description = 'other'", "RowDiffers"),
    ("usage", "DELETE FROM {table}", "RowMissing"),
    ("aliases", "INSERT INTO {table} VALUES ('alias/forged', gen_random_uuid(), now())", "RowInvented"),
]


@pytest.fixture(scope="module")
def database(victim: Victim) -> Iterator[str]:
    """The victim's broker and database run, nothing else; gives the name of the schema that readers see."""
    victim.restore()
    config = victim.system.stack.start_infrastructure()
    try:
        with psycopg.connect(config.postgres_dsn) as connection:
            (live,) = connection.execute("SELECT live FROM keyfold.control").fetchone() or ("",)
        yield f"keyfold_{live}"
    finally:
        victim.system.stack.stop()


@pytest.mark.parametrize(("table", "statement", "code"), ROWS, ids=[f"{table} {code}" for table, _, code in ROWS])
def test_a_row_of_the_projections(victim: Victim, database: str, table: str, statement: str, code: str) -> None:
    """Edited, removed or invented: the row is named by its table."""
    name = f"{database}.{table}"
    with psycopg.connect(victim.system.config.postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE public.untouched AS TABLE {name}".encode())
        connection.execute(statement.format(table=name).encode())
        try:
            done = victim.run("audit", "verify", "--json", "--database")
        finally:
            connection.execute(f"TRUNCATE {name}".encode())
            connection.execute(f"INSERT INTO {name} TABLE public.untouched".encode())
            connection.execute(b"DROP TABLE public.untouched")
    report = json.loads(done.stdout)
    assert (done.returncode, report["first"]["code"]) == (4, code)
    assert table in report["first"]["expected"] + report["first"]["found"]
