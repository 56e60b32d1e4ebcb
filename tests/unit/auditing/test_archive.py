"""An archive holds the log as it lies there, grows by what is new, and is compared with signed checkpoints."""

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.people import DEPLOYMENT, PARTITIONS, signer
from tests.unit.auditing.archived import Log

from keyfold.auditing import archive_reader
from keyfold.auditing.archive import parse_manifest
from keyfold.auditing.archive_errors import ArchiveDamaged, ArchiveUnusable, CheckpointDiffers
from keyfold.auditing.archive_reader import ArchiveSource
from keyfold.bus import Inbound
from keyfold.events.checkpoints import cosign_ed25519, parse_checkpoint
from keyfold.events.log_leaves import leaf_of
from keyfold.events.merkle import root_of
from keyfold.events.notes import parse_note
from keyfold.events.tree import verify_consistency


async def everything(source: ArchiveSource) -> list[list[Inbound]]:
    """All records of an archive, by partition."""
    return [
        [record async for batch in source.records(partition) for record in batch]
        for partition in range(source.partitions)
    ]


@pytest.fixture
def log() -> Log:
    """Honest records, and strange ones on two partitions."""
    made = Log()
    made.add(1, 700)
    made.add(2, 30)
    return made


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
async def test_every_record_comes_back_as_it_was(log: Log, tmp_path: Path, form: str) -> None:
    """Whatever a record is made of (nulls, no text, headers twice or null, gaps of offsets), it is read again so."""
    notes = await log.checkpoints()
    done = await log.export(tmp_path, *notes, form=form, rows=64)
    source = ArchiveSource(tmp_path)
    assert (source.deployment, source.partitions) == (DEPLOYMENT, PARTITIONS)
    assert await everything(source) == log.kept
    assert [(each.size, each.added, each.left) for each in done] == [(len(kept), len(kept), 0) for kept in log.kept]
    assert await source.checkpoints() == notes


async def test_both_formats_hold_the_same(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `both`, each segment has two files, and where Parquet cannot be read the other one is."""
    await log.export(tmp_path, rows=100)
    assert all({file.format for file in segment.files} == {"parquet", "jsonl"}
               for segment in ArchiveSource(tmp_path).manifest.segments)  # fmt: skip
    monkeypatch.setattr(archive_reader, "parquet_available", lambda: False)
    assert await everything(ArchiveSource(tmp_path)) == log.kept


async def test_what_events_say_stands_beside_them(log: Log, tmp_path: Path) -> None:
    """Of records whose author root certified, the columns of the audit trail are filled; of others, none is."""
    await log.export(tmp_path, form="jsonl")
    lines = [json.loads(line) for line in next((tmp_path / "events/2").glob("*.jsonl")).read_text().splitlines()]
    signed, strange = lines[:-30], lines[-30:]
    assert {"keyfold.key.created.v1", "keyfold.key.used.v1"} <= {line["event_type"] for line in signed}
    assert all(line["event_id"] == json.loads(line["value"])["id"] for line in signed)
    assert any(line["verb"] == "Encrypt" and line["outcome"] == "denied" for line in signed)
    assert all(line["event_type"] is None and line["role"] is None for line in strange)


async def test_a_record_that_was_changed_is_shown_as_nothing(log: Log, tmp_path: Path) -> None:
    """What is not what its statement covers, or stands in another partition, has no columns of an event."""
    record = log.kept[2][3]
    value = (record.value or b"").replace(b"alice", b"malory")
    log.kept[1].append(Inbound(record.topic, 1, 99_999, record.timestamp_ms, record.key, record.value, record.headers))
    log.kept[2][3] = Inbound(record.topic, 2, record.offset, record.timestamp_ms, record.key, value, record.headers)
    await log.export(tmp_path, form="jsonl")
    moved = json.loads(next((tmp_path / "events/1").glob("*.jsonl")).read_text().splitlines()[-1])
    changed = json.loads(next((tmp_path / "events/2").glob("*.jsonl")).read_text().splitlines()[3])
    assert (moved["event_type"], changed["event_type"]) == (None, None)


async def test_a_later_run_appends(log: Log, tmp_path: Path) -> None:
    """Only what is new is read and written; the newer checkpoint comes with a proof that it extends the older one."""
    await log.export(tmp_path, *[log.note(partition, 20) for partition in range(PARTITIONS)], rows=300)
    before = {path: path.read_bytes() for path in (tmp_path / "events").rglob("*.parquet")}
    assert ArchiveSource(tmp_path).manifest.size(1) == 20
    log.asked.clear()
    log.add(1, 300, seed=1)
    done = await log.export(tmp_path, rows=300)
    assert log.asked[1] == (1, log.kept[1][19].offset + 1)
    assert done[1].added == 980
    assert {path: path.read_bytes() for path in before} == before
    source = ArchiveSource(tmp_path)
    assert await everything(source) == log.kept
    older, newer = [each for each in source.manifest.checkpoints if each.partition == 1]
    assert (newer.consistent_with, newer.size) == (20, 1000)
    roots = [parse_checkpoint(parse_note(each.note.encode())).root for each in (older, newer)]
    verify_consistency(20, 1000, *roots, [bytes.fromhex(node) for node in newer.consistency])


async def test_what_no_checkpoint_covers_is_left(log: Log, tmp_path: Path) -> None:
    """Records behind the newest checkpoint wait for the next run, and are counted."""
    done = await log.export(tmp_path, log.note(1, 640), log.note(2, 0))
    assert [(each.size, each.left) for each in done] == [
        (0, len(log.kept[0])), (640, 60), (0, len(log.kept[2])), (0, 0),
    ]  # fmt: skip
    assert await everything(ArchiveSource(tmp_path)) == [[], log.kept[1][:640], [], []]


async def test_nothing_new_changes_nothing(log: Log, tmp_path: Path) -> None:
    """A run without news leaves every file as it is, though the notary signed again; cosignatures are taken up."""
    await log.export(tmp_path)
    before = contents(tmp_path)
    await log.export(tmp_path)
    assert contents(tmp_path) == before
    note, witness = parse_note(log.note(1)), signer("witness")
    line = cosign_ed25519(parse_checkpoint(note), "witness", witness.public_key, witness.sign, 5)
    await log.export(tmp_path, note.with_signatures([line]).to_bytes())
    archived = parse_note((tmp_path / "tlog/1/checkpoint").read_bytes())
    assert [each.name for each in archived.signatures] == [note.signatures[0].name] * 2 + ["witness"]
    assert {path for path, content in contents(tmp_path).items() if content != before[path]} == {
        tmp_path / "manifest.json", tmp_path / "tlog/1/checkpoint",
    }  # fmt: skip


def contents(directory: Path) -> dict[Path, bytes]:
    """All files."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


class Cut(Exception):
    """The power fails."""


def cutting(log: Log, partition: int, after: int) -> None:
    """Let reading a partition fail after so many records."""
    honest = log.records

    async def records(place: int, start: int | None = None) -> AsyncIterator[list[Inbound]]:
        seen = 0
        async for batch in honest(place, start):
            if place == partition and seen + len(batch) > after:
                raise Cut
            seen += len(batch)
            yield batch

    log.records = records  # type: ignore[method-assign]


async def test_a_run_that_was_cut_goes_on(log: Log, tmp_path: Path) -> None:
    """Segments of a cut run are kept apart until a checkpoint covers them, and are not read or written again."""
    honest = log.records
    cutting(log, 1, 500)
    with pytest.raises(Cut):
        await log.export(tmp_path, rows=150)
    files = {str(path.relative_to(tmp_path)) for path in contents(tmp_path)}
    assert not any(name.startswith("events/1/") or name.endswith(".part") for name in files)
    assert ArchiveSource(tmp_path).manifest.size(1) == 0
    log.records = honest  # type: ignore[method-assign]
    log.add(1, 100, seed=2)
    log.asked.clear()
    await log.export(tmp_path, rows=150)
    assert (1, log.kept[1][449].offset + 1) in log.asked
    source = ArchiveSource(tmp_path)
    assert await everything(source) == log.kept
    assert not any("unfinished" in path.parts for path in contents(tmp_path))


async def test_a_log_that_is_not_what_its_checkpoint_signs_is_not_archived(log: Log, tmp_path: Path) -> None:
    """The partition is named, nothing of it is published, and an archive that was there stays as it was."""
    await log.export(tmp_path, *[log.note(partition, 20) for partition in range(PARTITIONS)])
    note = log.note(1)
    manifest = (tmp_path / "manifest.json").read_bytes()
    record = log.kept[1][600]
    log.kept[1][600] = Inbound(record.topic, 1, record.offset, record.timestamp_ms, record.key, b"edited", ())
    with pytest.raises(CheckpointDiffers, match="partition 1"):
        await log.export(tmp_path, note, rows=50)
    assert (tmp_path / "manifest.json").read_bytes() == manifest
    assert not any("unfinished" in path.parts for path in contents(tmp_path))
    log.kept[1][600] = record
    await log.export(tmp_path, rows=50)
    assert await everything(ArchiveSource(tmp_path)) == log.kept


async def test_a_log_that_was_rewritten_behind_the_archive_is_found(log: Log, tmp_path: Path) -> None:
    """A notary that signs another past does not extend what is archived."""
    await log.export(tmp_path)
    log.kept[1] = log.kept[1][1:]
    log.add(1, 10, seed=3)
    with pytest.raises(CheckpointDiffers, match="partition 1"):
        await log.export(tmp_path)


@pytest.mark.parametrize("case", ["log", "checkpoint"])
async def test_a_log_that_was_cut_off_is_found(log: Log, tmp_path: Path, case: str) -> None:
    """Fewer records than the checkpoint signs, or a checkpoint that signs fewer than the archive has."""
    await log.export(tmp_path, log.note(1, 640))
    note = log.note(1)
    if case == "checkpoint":
        note = log.note(1, 600)
    else:
        del log.kept[1][690:]
    with pytest.raises(CheckpointDiffers, match="cut"):
        await log.export(tmp_path, note)


async def test_other_directories_are_left_alone(log: Log, tmp_path: Path) -> None:
    """A directory with other things, another deployment's archive, or one in another format is refused."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArchiveUnusable, match="not empty"):
        await log.export(tmp_path)
    await log.export(tmp_path / "a", form="jsonl")
    with pytest.raises(ArchiveUnusable, match="jsonl"):
        await log.export(tmp_path / "a", form="parquet")
    manifest = (tmp_path / "a/manifest.json").read_text()
    (tmp_path / "a/manifest.json").write_text(manifest.replace(DEPLOYMENT, "0" * 64, 1))
    with pytest.raises(ArchiveUnusable, match="deployment"):
        await log.export(tmp_path / "a", form="jsonl")
    with pytest.raises(ArchiveUnusable, match="no archive"):
        ArchiveSource(tmp_path)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
@pytest.mark.parametrize("harm", ["changed", "cut", "missing", "another"])
async def test_a_damaged_segment_is_named(log: Log, tmp_path: Path, form: str, harm: str) -> None:
    """A file that is not what the manifest says is refused when it is read, by name; others are still read."""
    await log.export(tmp_path, form=form, rows=100)
    path = tmp_path / f"events/1/000000000200.{form}"
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "another":
        path.write_bytes((tmp_path / f"events/1/000000000300.{form}").read_bytes())
    else:
        path.write_bytes(content[:-5] if harm == "cut" else content[:50] + b"#" + content[51:])
    source = ArchiveSource(tmp_path)
    read: list[Inbound] = []

    async def read_all() -> None:
        async for batch in source.records(1):
            read.extend(batch)

    with pytest.raises(ArchiveDamaged, match=str(path)):
        await read_all()
    assert read == log.kept[1][:200]
    assert [record async for batch in source.records(2) for record in batch] == log.kept[2]


async def test_reading_begins_at_an_offset(log: Log, tmp_path: Path) -> None:
    """What lies before is not opened."""
    await log.export(tmp_path, rows=100)
    for path in (tmp_path / "events/1").glob("000000000[01]00.*"):
        path.unlink()
    start = log.kept[1][234].offset
    found = [record async for batch in ArchiveSource(tmp_path).records(1, start) for record in batch]
    assert found == log.kept[1][234:]


async def test_a_manifest_that_contradicts_itself_is_refused(log: Log, tmp_path: Path) -> None:
    """Segments with a hole between them, or that end elsewhere than the checkpoint, are no archive."""
    await log.export(tmp_path, rows=100)
    document = json.loads((tmp_path / "manifest.json").read_bytes())
    whole = document["segments"]
    mine = [segment for segment in whole if segment["partition"] == 1]
    for broken in (mine[:2] + mine[3:], mine[:-1], mine[1:]):
        document["segments"] = [*broken, *[segment for segment in whole if segment["partition"] != 1]]
        with pytest.raises(ArchiveDamaged, match="manifest"):
            parse_manifest(json.dumps(document).encode(), "manifest.json")
    document["segments"] = whole
    document["segments"][0]["files"][0]["path"] = "../outside"
    with pytest.raises(ArchiveUnusable, match="manifest"):
        parse_manifest(json.dumps(document).encode(), "manifest.json")


def tile_leaves(directory: Path, partition: int, size: int) -> list[bytes]:
    """The leaves as a client of C2SP tlog-tiles finds them."""
    found = b""
    for number in range((size + 255) // 256):
        width = min(256, size - number * 256)
        name = f"tile/0/{number:03d}" if width == 256 else f"tile/0/{number:03d}.p/{width}"
        content = (directory / "tlog" / str(partition) / name).read_bytes()
        assert len(content) == width * 32
        found += content
    return [found[at : at + 32] for at in range(0, len(found), 32)]


async def test_the_archive_is_a_tlog_tiles_tree(log: Log, tmp_path: Path) -> None:
    """After each run the tiles are those of the checkpoint beside them: leaves, and the level above; none is stale."""
    for more in (0, 68, 1, 300):
        log.add(1, more, seed=more)
        await log.export(tmp_path, rows=100)
        size = len(log.kept[1])
        checkpoint = parse_checkpoint(parse_note((tmp_path / "tlog/1/checkpoint").read_bytes()))
        leaves = tile_leaves(tmp_path, 1, size)
        assert checkpoint.size == size
        assert leaves == [leaf_of(record.key, record.value, record.headers) for record in log.kept[1]]
        assert checkpoint.root == root_of(leaves)
        above = (tmp_path / f"tlog/1/tile/1/000.p/{size // 256}").read_bytes()
        assert above == b"".join(root_of(leaves[at * 256 : at * 256 + 256]) for at in range(size // 256))
        files = {str(path.relative_to(tmp_path / "tlog/1/tile")) for path in (tmp_path / "tlog/1/tile").rglob("*.p/*")}
        assert files == {f"1/000.p/{size // 256}"} | ({f"0/{size // 256:03d}.p/{size % 256}"} if size % 256 else set())


class Crashing:
    """Lets the machine stop at the nth step towards the disk: before it, or right after."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steps, self.at, self.after = 0, 0, False
        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "rmdir")):
            patch.setattr(owner, name, self._step(getattr(owner, name)))

    def _step(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            self.steps += 1
            stops = self.at and self.steps >= self.at
            if stops and not self.after:
                raise Cut
            done = work(*arguments, **named)
            if stops:
                raise Cut
            return done

        return step


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_any_step_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    """Whatever the disk had when a run stopped, what the manifest names is whole, and the next run makes it right."""
    log = Log(honest=False)
    log.add(1, 5)
    first, note = log.note(1, 2), log.note(1)
    for each in (first, note):
        await log.export(tmp_path / "whole", each, rows=2, form="jsonl")
    wanted = published(tmp_path / "whole")
    crashing = Crashing(monkeypatch)
    place, finished = 0, False
    while not finished:
        place += 1
        directory = tmp_path / str(place)
        finished = await _cut_at(place, crashing, log, directory, first, note, after=after)
        if (directory / "manifest.json").exists():
            source = ArchiveSource(directory)
            assert (await everything(source))[1] == log.kept[1][: source.manifest.size(1)]
        await log.export(directory, note, rows=2, form="jsonl")
        assert (await everything(ArchiveSource(directory)))[1] == log.kept[1]
        assert published(directory) == wanted
    assert place > 30


def published(directory: Path) -> dict[str, bytes]:
    """All files but the manifest, which may lack a checkpoint that was never published, and what may stay of a crash:
    temporary files in the tree, and partial tiles of smaller trees.
    """
    size = ArchiveSource(directory).manifest.size(1)
    return {
        str(path.relative_to(directory)): content
        for path, content in contents(directory).items()
        if path.name != "manifest.json"
        and path.suffix != ".part"
        and (path.parent.suffix != ".p" or path.name == str(size % 256))
    }


async def _cut_at(
    place: int, crashing: Crashing, log: Log, directory: Path, first: bytes, note: bytes, *, after: bool
) -> bool:
    """Run twice, up to two checkpoints, until the crash; tell whether none came."""
    crashing.steps, crashing.at, crashing.after = 0, place, after
    try:
        await log.export(directory, first, rows=2, form="jsonl")
        await log.export(directory, note, rows=2, form="jsonl")
    except Cut:
        return False
    finally:
        crashing.at = 0
    return True
