"""A witness cosigns what extends the last, and nothing else, whatever happens to it or to the log in between."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.honest_log import HonestLog
from tests.support.notary_log import NotaryKeys, NotaryLog, bus_of, leaves
from tests.support.people import DEPLOYMENT, PARTITIONS

from keyfold.auditing.checkpoints import checkpoint_topics
from keyfold.bus import BusUnavailable, MemoryBus, Outbound
from keyfold.events import topics
from keyfold.events.checkpoints import open_checkpoint, parse_checkpoint
from keyfold.events.notes import Note, parse_note
from keyfold.witness import Forked, Home, Pins, Witness, WitnessUnusable, create_home, open_home
from keyfold.witness.files import write_durably

NAME = "witness.example/1"
PLACE = 2


async def world(path: Path) -> tuple[MemoryBus, NotaryLog, Home]:
    """A log with a certified notary, and a new witness."""
    honest = HonestLog()
    honest.write("root", topics.EVENTS, [NotaryKeys().certificate()])
    bus = await bus_of(honest)
    return bus, NotaryLog(bus), create_home(path / "w", NAME, Pins(DEPLOYMENT, PARTITIONS, ()))


def witness(bus: MemoryBus, home: Home) -> Witness:
    made = Witness(bus, open_home(home.directory), lambda: 1_790_000_100)
    made.patience_s = 0.1
    return made


async def cosigned(bus: MemoryBus) -> list[Note]:
    async with checkpoint_topics(bus) as reading:
        return [note async for note in reading.cosigned()]


def sizes(notes: list[Note]) -> list[int]:
    return [parse_checkpoint(note).size for note in notes]


async def test_each_checkpoint_that_extends_the_last_is_cosigned(tmp_path: Path) -> None:
    """The newest of each log, with the log's lines and one line of each key of the witness."""
    bus, log, home = await world(tmp_path)
    await log.publish_leaves(PLACE, leaves(3))
    await log.publish_leaves(PLACE, leaves(300))
    await log.publish_leaves(1, leaves(5))
    await witness(bus, home).once()
    await log.publish_leaves(PLACE, leaves(7))
    await witness(bus, home).once()
    notes = await cosigned(bus)
    assert sizes(notes) == [303, 5, 5, 303, 310] or sizes(notes) == [303, 5, 303, 5, 310]
    signed = open_checkpoint(notes[-1].to_bytes(), home.cosigner.vkeys)
    assert list(signed.signed_at.values()) == [1_790_000_100] * 2
    assert open_checkpoint(notes[-1].to_bytes(), log.keys.vkeys(log.origin(PLACE)))
    assert home.pins.notary_keys == ()
    assert len(open_home(home.directory).pins.notary_keys) == 1


async def test_what_was_missed_is_proven_from_the_tiles(tmp_path: Path) -> None:
    """A witness that lost its place looks at what it can still see, by a proof from its own size."""
    bus, log, home = await world(tmp_path)
    await log.publish_leaves(PLACE, leaves(3))
    await witness(bus, home).once()
    for number in range(9):
        await log.publish_leaves(PLACE, leaves(40, str(number)))
    log_of_checkpoints = bus.cluster.log(topics.CHECKPOINTS, 0)
    log_of_checkpoints.delete_before(log_of_checkpoints.high_watermark - 4)
    await witness(bus, home).once()
    assert sizes(await cosigned(bus))[-1] == 363
    assert open_home(home.directory).evidence() == []


@pytest.mark.parametrize("second", [2, 3, 9])
async def test_a_fork_is_refused_and_kept(tmp_path: Path, second: int) -> None:
    """A tree of another history, smaller, as large or larger: never cosigned, both notes are kept, and it is told."""
    bus, log, home = await world(tmp_path)
    await log.publish_leaves(PLACE, leaves(3))
    await witness(bus, home).once()
    before = await cosigned(bus)
    forked = NotaryLog(bus)
    await forked.publish_leaves(PLACE, leaves(second, "another history"))
    for _ in range(2):
        with pytest.raises(Forked):
            await witness(bus, _at_the_start(home)).once()
    again = open_home(home.directory)
    state = again.state(PLACE)
    assert state is not None
    assert state.checkpoint.size == 3
    assert {parse_checkpoint(note).root for note in await cosigned(bus)} == {parse_checkpoint(n).root for n in before}
    (evidence,) = again.evidence()
    assert (evidence / "found").read_bytes() == forked.notes[PLACE][0]
    assert parse_note((evidence / "kept").read_bytes()).text == parse_note(log.notes[PLACE][0]).text


async def test_after_a_fork_the_true_log_goes_on(tmp_path: Path) -> None:
    """What is refused for good is the other history; a checkpoint that extends the state is cosigned as before."""
    bus, log, home = await world(tmp_path)
    await log.publish_leaves(PLACE, leaves(3))
    await witness(bus, home).once()
    await _publish(bus, NotaryLog(MemoryBus()), PLACE, 2)
    await log.publish_leaves(PLACE, leaves(4))
    with pytest.raises(Forked):
        await witness(bus, home).once()
    assert sizes(await cosigned(bus))[-1] == 7


async def test_older_checkpoints_of_the_same_log_are_let_pass(tmp_path: Path) -> None:
    """Reading from the start again changes nothing, and cosigns nothing smaller."""
    bus, log, home = await world(tmp_path)
    for number in range(5):
        await log.publish_leaves(PLACE, leaves(3, str(number)))
    await witness(bus, home).once()
    await witness(bus, _at_the_start(home)).once()
    assert sizes(await cosigned(bus)) == [15, 15]
    assert open_home(home.directory).evidence() == []


async def test_a_wrong_proof_beside_a_checkpoint_is_no_fork(tmp_path: Path) -> None:
    """The header is signed by nobody: where it is wrong, the tiles decide."""
    bus, log, home = await world(tmp_path)
    await log.publish_leaves(PLACE, leaves(3))
    await witness(bus, home).once()
    await log.publish_leaves(PLACE, leaves(4))
    await _replace_last(bus, ("kf_consistency", (3).to_bytes(8, "big") + bytes(32)))
    await witness(bus, home).once()
    assert sizes(await cosigned(bus))[-1] == 7


async def test_a_checkpoint_that_nobody_can_prove_is_refused(tmp_path: Path) -> None:
    """Without tiles there is no proof, and without a proof no cosignature."""
    bus, _, home = await world(tmp_path)
    hidden = NotaryLog(MemoryBus())
    await _publish(bus, hidden, PLACE, 3)
    await witness(bus, home).once()
    await hidden.publish_leaves(PLACE, leaves(2))
    await _publish(bus, hidden, PLACE, 2)
    with pytest.raises(Forked):
        await witness(bus, home).once()


async def test_what_the_log_did_not_sign_is_passed_over(tmp_path: Path) -> None:
    """Another notary's checkpoint, another deployment's, one of a partition that there is not, and junk."""
    bus, log, home = await world(tmp_path)
    strangers = NotaryLog(bus, keys=NotaryKeys("stranger"))
    await strangers.publish_leaves(PLACE, leaves(9))
    await NotaryLog(bus, "f" * 64).publish_leaves(1, leaves(3))
    await NotaryLog(bus, partitions=9)._commit([_checkpoint_of(NotaryLog(bus, partitions=9), 8)])
    await _send(bus, Outbound(topics.CHECKPOINTS, 0, b"x", b"junk"))
    await log.publish_leaves(3, leaves(2))
    await witness(bus, home).once()
    assert sizes(await cosigned(bus)) == [2]


async def test_a_renewed_notary_key_needs_roots_word(tmp_path: Path) -> None:
    """A new key counts as soon as root's certificate is in the log, and not before."""
    bus, log, home = await world(tmp_path)
    await log.publish_leaves(PLACE, leaves(3))
    await witness(bus, home).once()
    log.keys = NotaryKeys("renewed")
    await log.publish_leaves(PLACE, leaves(2))
    await witness(bus, home).once()
    assert sizes(await cosigned(bus))[-1] == 3
    honest = HonestLog()
    honest.write("root", topics.EVENTS, [NotaryKeys().certificate()])
    honest.write("root", topics.EVENTS, [NotaryKeys("renewed").certificate()])
    record = honest.records[topics.EVENTS, 0][-1][0]
    await _send(bus, Outbound(topics.EVENTS, 0, record.key, record.value, record.headers))
    await log.publish_leaves(PLACE, leaves(1))
    await witness(bus, home).once()
    assert sizes(await cosigned(bus))[-1] == 6
    assert len(open_home(home.directory).pins.notary_keys) == 2


async def test_a_crash_before_the_note_is_sent_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept is sent by the next run."""
    bus, log, home = await world(tmp_path)
    await log.publish_leaves(PLACE, leaves(3))
    crashing = witness(bus, home)

    async def send(self: Any, notes: dict[int, Note]) -> None:
        if notes:
            raise BusUnavailable("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Witness, "_send", send)
        with pytest.raises(BusUnavailable):
            await crashing.once()
    assert await cosigned(bus) == []
    await witness(bus, home).once()
    assert sizes(await cosigned(bus)) == [3]


async def test_a_crash_before_the_state_is_kept_promises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is kept before anything is sent: where it can't be, nothing leaves."""
    bus, log, home = await world(tmp_path)
    await log.publish_leaves(PLACE, leaves(3))

    def full(self: Home, partition: int, note: Note) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Home, "keep", full)
        with pytest.raises(OSError, match="full"):
            await witness(bus, home).once()
    assert await cosigned(bus) == []
    assert open_home(home.directory).state(PLACE) is None


def test_a_directory_is_made_once_and_only_its_owner_reads_the_key(tmp_path: Path) -> None:
    """No key is overwritten, none is read that others may read, and nobody runs twice."""
    home = create_home(tmp_path / "w", NAME, Pins(DEPLOYMENT, 4, ((b"\1" * 32, None), (b"\2" * 32, b"\3" * 1312))))
    key = home.directory / "key.json"
    assert key.stat().st_mode & 0o777 == 0o600
    assert open_home(home.directory).pins == home.pins
    assert [len(vkey.public_key) for vkey in open_home(home.directory).cosigner.vkeys] == [32, 1312]
    assert [v.kind for v in create_home(tmp_path / "e", NAME, home.pins, ["Ed25519"]).cosigner.vkeys] == [4]
    assert [v.kind for v in create_home(tmp_path / "m", NAME, home.pins, ["ML-DSA-44"]).cosigner.vkeys] == [6]
    with pytest.raises(WitnessUnusable):
        create_home(home.directory, NAME, home.pins)
    with home.locked(), pytest.raises(WitnessUnusable, match="already"), open_home(home.directory).locked():
        pass
    key.chmod(0o644)
    with pytest.raises(WitnessUnusable, match="chmod"):
        open_home(home.directory)


@pytest.mark.parametrize("name", ["pins.json", "key.json", "state/2"])
def test_what_is_broken_in_the_directory_is_told(tmp_path: Path, name: str) -> None:
    """A witness does not begin anew where its memory is damaged."""
    home = create_home(tmp_path / "w", NAME, Pins(DEPLOYMENT, 4, ()))
    for content in (b"{}", b"junk", json.dumps({"format": "other"}).encode()):
        write_durably(home.directory / name, content, 0o600)
        with pytest.raises(WitnessUnusable):
            open_home(home.directory).state(2)
    if not name.startswith("state"):
        (home.directory / name).unlink()
        with pytest.raises(WitnessUnusable, match="init"):
            open_home(home.directory)


async def test_the_state_of_another_log_is_not_taken(tmp_path: Path) -> None:
    """A state file under another partition's name is refused, and so is one that this witness did not sign."""
    bus, log, home = await world(tmp_path)
    await log.publish_leaves(PLACE, leaves(3))
    await witness(bus, home).once()
    state = home.directory / "state"
    (state / "1").write_bytes((state / "2").read_bytes())
    with pytest.raises(WitnessUnusable):
        home.state(1)
    (state / "2").write_bytes(log.notes[PLACE][0])
    with pytest.raises(WitnessUnusable):
        home.state(2)


def _at_the_start(home: Home) -> Home:
    (home.directory / "position").unlink(missing_ok=True)
    return home


def _checkpoint_of(log: NotaryLog, partition: int) -> Outbound:
    return log._checkpoint(partition, 0)


async def _send(bus: MemoryBus, record: Outbound) -> None:
    sender = bus.sender()
    await sender.start()
    await (await sender.send(record))


async def _publish(bus: MemoryBus, hidden: NotaryLog, partition: int, count: int) -> None:
    """Publish a checkpoint whose tiles lie elsewhere."""
    await hidden.publish_leaves(partition, leaves(count, "hidden"))
    last = hidden.notes[partition][-1]
    headers = (("kf_consistency", bytes(8)), ("kf_next", bytes(8)))
    await _send(bus, Outbound(topics.CHECKPOINTS, 0, hidden.origin(partition).encode(), last, headers))


async def _replace_last(bus: MemoryBus, header: tuple[str, bytes]) -> None:
    """Let the last checkpoint have another header."""
    log = bus.cluster.log(topics.CHECKPOINTS, 0)
    entries: Any = log._entries
    place = max(at for at, entry in enumerate(entries) if entry.record is not None)
    record = entries[place].record
    headers = tuple(header if name == header[0] else (name, value) for name, value in record.headers)
    changed = Outbound(record.topic, 0, record.key, record.value, headers)
    del entries[place:]
    await _send(bus, changed)
