"""Proofs, keys, checkpoints and witnesses from the command line, against a log in memory."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.honest_log import PARTITION, HonestLog
from tests.support.notary_log import NotaryKeys, NotaryLog, bus_of, leaves
from tests.support.people import DEPLOYMENT, PARTITIONS

from keyfold.bus import MemoryBus
from keyfold.cli import main, witness
from keyfold.cli.audit import finding
from keyfold.cli.session import Session
from keyfold.config import Config, save_config
from keyfold.events import topics
from keyfold.events.notes import parse_note

HOPELESS = "00000000-0000-4000-8000-000000000000"


@dataclass
class Trail:
    """The audit trail, as far as it is asked here."""

    rows: list[Any] = field(default_factory=list)

    async def audit(self, wanted: Any, **_: Any) -> Any:
        return SimpleNamespace(rows=[row for row in self.rows if row.command_id == wanted.command_id], next=None)

    async def audit_log(self, partition: int, position: int, limit: int) -> list[Any]:
        return [row for row in self.rows if row.partition == partition and row.position >= position][:limit]

    async def progress(self) -> list[Any]:
        return [SimpleNamespace(partition=number) for number in range(PARTITIONS)]


@dataclass
class World:
    """A log with a certified notary, what it published, and the command line beside it."""

    data: Path
    bus: MemoryBus
    log: NotaryLog
    capture: pytest.CaptureFixture[str]
    trail: Trail

    def __call__(self, *words: str, code: int = 0) -> tuple[str, str]:
        self.capture.readouterr()
        ran = main.run(["--data", str(self.data), *words])
        shown = self.capture.readouterr()
        assert ran == code, shown.err
        return shown.out, shown.err

    def document(self, *words: str) -> Any:
        return json.loads(self("--json", *words)[0])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> World:
    """See `World`. Waiting is short."""

    async def begin() -> tuple[MemoryBus, NotaryLog]:
        honest = HonestLog()
        honest.write("root", topics.EVENTS, [NotaryKeys().certificate()])
        bus = await bus_of(honest.tell())
        log = NotaryLog(bus)
        await log.publish()
        return bus, log

    bus, log = asyncio.run(begin())
    made = World(tmp_path / "data", bus, log, capsys, Trail())
    made.data.mkdir()
    save_config(
        Config(
            data_directory=made.data,
            bootstrap_servers="unused:1",
            deployment=DEPLOYMENT,
            partitions=PARTITIONS,
            postgres_dsn="unused",
            postgres_reader_dsn="unused",
            pkcs11_module=Path("unused"),
            pins_directory=made.data / "pins",
            identities_directory=made.data / "identities",
            development=True,
        )
    )

    @asynccontextmanager
    async def queries(_session: Session, _config: Config) -> AsyncIterator[Trail]:
        yield made.trail

    monkeypatch.setattr(Session, "bus", lambda _session, _config: bus)
    monkeypatch.setattr(Session, "queries", queries)
    monkeypatch.setattr(witness, "KafkaBus", lambda _settings: bus)
    monkeypatch.setattr(finding, "_POLL_S", 0.01)
    return made


def last_offset(world: World) -> int:
    return world.log.trees[PARTITION].offsets[-1]


def row(world: World, position: int, **known: Any) -> Any:
    fields = {
        "partition": PARTITION,
        "position": position,
        "kafka_offset": world.log.trees[PARTITION].offsets[position],
    }
    return SimpleNamespace(**{"command_id": None, "outcome": "recorded", "event_id": "none", **fields, **known})


def test_an_event_is_proven_and_checked_offline(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By place; the proof is checked by saved keys, or by the fingerprint and root's records, without a deployment."""
    proof, keys, root = (tmp_path / name for name in ("event.tlog-proof", "log.keys", "root.json"))
    told, _ = world("audit", "prove", f"{PARTITION}/{last_offset(world)}", "--out", str(proof))
    assert "KeyUsed" in told or "keyfold.key.used.v1" in told
    printed, _ = world("audit", "keys", "--save", str(root))
    keys.write_text(printed)
    assert len(printed.split()) == 2 * PARTITIONS
    monkeypatch.delattr(Session, "bus")
    offline = ("--data", str(tmp_path / "nowhere"))
    shown = json.loads(world(*offline, "--json", "audit", "check-proof", str(proof), "--key", str(keys))[0])
    assert (shown["index"], shown["author"]) == (len(world.log.trees[PARTITION].offsets) - 1, None)
    arguments = ("--deployment", DEPLOYMENT, "--certificates", str(root))
    told, _ = world(*offline, "audit", "check-proof", str(proof), *arguments)
    assert told.startswith("the proof is good")
    assert "hsm" in told
    world(*offline, "audit", "check-proof", str(proof), "--deployment", "0" * 64, "--certificates", str(root), code=4)


def test_a_wrong_proof_ends_with_integrity(world: World, tmp_path: Path) -> None:
    """One bit in the file, keys of another log, a witness that is missing: exit code 4."""
    proof = tmp_path / "event.tlog-proof"
    world("audit", "prove", f"{PARTITION}/{last_offset(world)}", "-o", str(proof))
    key = str(world.log.keys.vkeys(world.log.origin(PARTITION))[0])
    other = str(world.log.keys.vkeys(world.log.origin(1))[0])
    world("audit", "check-proof", str(proof), "--key", key)
    world("audit", "check-proof", str(proof), "--key", other, code=4)
    world("audit", "check-proof", str(proof), "--key", key, "--witness", other, code=4)
    world("audit", "check-proof", str(proof), "--key", key, "--witness", other, "--quorum", "0")
    content = proof.read_text().replace("index ", "index 1")
    proof.write_text(content)
    world("audit", "check-proof", str(proof), "--key", key, code=4)
    world("audit", "check-proof", str(proof), code=2)
    world("audit", "check-proof", str(proof), "--key", "a+b+c", code=2)
    world("audit", "check-proof", str(proof), "--deployment", DEPLOYMENT, code=2)
    world("audit", "check-proof", str(tmp_path / "missing"), "--key", key, code=2)


def test_events_are_found_by_their_names(world: World) -> None:
    """By the event's id, by the command's: its outcome, or its decision; what is not there is told."""
    command = "01890a5d-ac96-774b-bcce-b302099a8057"
    world.trail.rows = [
        row(world, 2, command_id=command, outcome="authorized", event_id=f"{PARTITION}.7.decision"),
        row(world, 3, command_id=command, outcome="completed", event_id=f"{PARTITION}.7.outcome"),
        row(world, 1, event_id="root.1"),
    ]
    named = {(command,): 3, (command, "--decision"): 2, (f"{PARTITION}.7.outcome",): 3, ("root.1",): 1}
    for words, index in named.items():
        assert world.document("audit", "prove", *words)["index"] == index
    for unknown in (HOPELESS, f"{PARTITION}.9.outcome", "something"):
        assert "audit trail" in world("audit", "prove", unknown, code=1)[1]
    world("audit", "prove", f"{PARTITION}/999999", "--timeout", "0", code=3)
    world("audit", "prove", f"{PARTITIONS}/0", code=2)


def test_a_checkpoint_that_is_not_there_yet_is_waited_for(world: World) -> None:
    """Not for ever: the notary may be down, or the witnesses."""
    place = f"{PARTITION}/{last_offset(world)}"
    told = world("audit", "prove", place, "--cosignatures", "1", "--timeout", "0", code=3)[1]
    assert "1 cosignatures" in told
    asyncio.run(world.log.cosign(world.log.notes[PARTITION][-1], "w1"))
    assert "w1" in world.document("audit", "prove", place, "--cosignatures", "1")["proof"]


def test_the_latest_checkpoints_are_shown_and_saved(world: World, tmp_path: Path) -> None:
    """With who cosigned; a saved one proves events that it covers, also when newer ones are there."""
    asyncio.run(world.log.cosign(world.log.notes[PARTITION][-1], "w1"))
    rows = world.document("audit", "checkpoints")
    assert [(one["partition"], one["cosigned_by"]) for one in rows] == [
        (number, ["w1"] if number == PARTITION else []) for number in range(PARTITIONS)
    ]
    saved = tmp_path / "kept"
    world("audit", "checkpoints", "--partition", str(PARTITION), "--save", str(saved))
    size = rows[PARTITION]["size"]
    asyncio.run(world.log.publish_leaves(PARTITION, leaves(9)))
    place = f"{PARTITION}/{world.log.trees[PARTITION].offsets[0]}"
    assert world.document("audit", "prove", place, "--checkpoint", str(saved))["size"] == size
    world("audit", "checkpoints", "--save", str(saved))
    assert len(list(tmp_path.glob("kept.*"))) == PARTITIONS
    world("audit", "checkpoints", "--partition", "9", code=2)
    world("audit", "keys", "--partition", "9", code=2)
    assert len(world.document("audit", "keys", "--partition", "1")["keys"]) == 2


def test_a_checkpoint_that_is_signed_by_half_is_not_shown(world: World) -> None:
    """By the Ed25519 key alone it is no checkpoint of the log."""
    note = parse_note(world.log.notes[PARTITION][-1])
    half = replace(note, signatures=note.signatures[:1]).to_bytes()
    record = world.log._checkpoint(PARTITION, world.log.trees[PARTITION].size)
    asyncio.run(world.log._commit([replace(record, value=half)]))
    assert "all keys" in world("audit", "checkpoints", code=4)[1]


def test_a_witness_from_its_making_to_a_fork(world: World, tmp_path: Path) -> None:
    """Made, run once, shown; its cosignatures count; a fork ends with exit code 4 and is kept."""
    home = str(tmp_path / "w")
    cluster = ("--deployment", DEPLOYMENT, "--bootstrap", "elsewhere:9092")
    printed, _ = world("witness", "init", home, "--name", "witness.example/1", *cluster)
    keys = tmp_path / "witness.keys"
    keys.write_text(printed)
    assert "4 checkpoints" in world("witness", "run", home, "--once", "--bootstrap", "elsewhere:9092")[0]
    shown = world.document("witness", "show", home)
    assert [one["partition"] for one in shown["state"]] == list(range(PARTITIONS))
    assert shown["keys"] == printed.split()
    proof = tmp_path / "p"
    world("audit", "prove", f"{PARTITION}/{last_offset(world)}", "--cosignatures", "2", "--out", str(proof))
    log_key = str(world.log.keys.vkeys(world.log.origin(PARTITION))[1])
    told, _ = world("audit", "check-proof", str(proof), "--key", log_key, "--witness", str(keys), "--quorum", "1")
    assert "witness.example/1 at " in told
    asyncio.run(NotaryLog(world.bus).publish_leaves(PARTITION, leaves(100, "another history")))
    assert "does not go with" in world("witness", "run", home, "--once", code=4)[1]
    assert len(world.document("witness", "show", home)["evidence"]) == 1
    world("witness", "init", home, "--name", "again", code=3)
    world("witness", "init", str(tmp_path / "x"), "--name", "a b", code=2)
    world("witness", "init", str(tmp_path / "x"), "--name", "a", "--algorithm", "RSA", code=2)
    world("witness", "init", str(tmp_path / "x"), "--name", "a", "--deployment", "0" * 64, code=4)
    world("witness", "show", str(tmp_path / "x"), code=3)
