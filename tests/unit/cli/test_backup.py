"""Backups of the log, in memory: what is copied comes back at its offsets, and what must not be copied is refused."""

import io
import random
from pathlib import Path

import pytest

from keyfold.bus import Admin, Inbound, MemoryBus, MemoryCluster, Outbound
from keyfold.cli.backup import manifest
from keyfold.cli.backup.copying import COPIED, copy_log
from keyfold.cli.backup.errors import BackupDamaged, BackupMoved, BackupRefused
from keyfold.cli.backup.filling import fill_log
from keyfold.cli.backup.laying import MOST_RECORDS, Deleted, Markers, Records, steps
from keyfold.cli.backup.manifest import Manifest, Settings
from keyfold.cli.backup.record_files import encoded, records
from keyfold.events import topics

PARTITIONS = 4
DEPLOYMENT = "ab" * 32


def inbound(offset: int) -> Inbound:
    """A record at an offset."""
    return Inbound("t", 0, offset, 1000 + offset, b"k", str(offset).encode(), (("h", b"\x00\xff"),))


def test_a_frame_holds_a_record_exactly() -> None:
    """None is not the same as empty, and nothing is lost of headers, times and bytes."""
    several = [
        Inbound("t", 3, 7, 123, None, b"", ()),
        Inbound("t", 3, 8, 0, b"", None, (("same", b"1"), ("same", b"2"), ("ü", b""))),
        Inbound("t", 3, 2**40, 2**41, b"\x00" * 70_000, b"v", ()),
    ]
    assert list(records(io.BytesIO(b"".join(map(encoded, several))), "t", 3)) == several


@pytest.mark.parametrize("cut", [1, 3, 4, 10, 20])
def test_a_file_that_ends_too_early_is_damaged(cut: int) -> None:
    """Never fewer records without a word."""
    whole = encoded(inbound(1)) + encoded(inbound(2))
    with pytest.raises(BackupDamaged):
        list(records(io.BytesIO(whole[:-cut]), "t", 0))


def test_offsets_without_records_are_markers() -> None:
    """One free offset is the marker of the records before it; more are markers of transactions without records."""
    found = list(steps(map(inbound, (5, 6, 8, 9, 13)), 5, 16))
    assert found == [
        Deleted(5),
        Records((inbound(5), inbound(6)), marker=True),
        Records((inbound(8), inbound(9)), marker=True),
        Markers(2),
        Records((inbound(13),), marker=True),
        Markers(1),
    ]
    assert list(steps(map(inbound, (0, 1)), 0, 2)) == [Records((inbound(0), inbound(1)), marker=False)]
    assert list(steps((), 0, 3)) == [Markers(3)]
    assert list(steps((), 4, 4)) == [Deleted(4)]


def test_the_steps_make_every_offset() -> None:
    """Whatever is missing, the offsets come out, however many records follow each other."""
    rng = random.Random(7)  # noqa: S311 - a repeatable choice
    for _ in range(200):
        first, end = rng.randrange(4), 4 + rng.randrange(60)
        wanted = [offset for offset in range(first, end) if rng.random() < 0.6]
        position, came = 0, []
        for step in steps(map(inbound, wanted), first, end):
            if isinstance(step, Records):
                assert [each.offset for each in step.records] == list(range(position, position + len(step.records)))
                came += [each.offset for each in step.records]
                position += len(step.records) + step.marker
            else:
                position += step.count
        assert (came, position) == (wanted, end)
    many = list(steps(map(inbound, range(2 * MOST_RECORDS + 1)), 0, 2 * MOST_RECORDS + 2))
    assert [len(each.records) for each in many if isinstance(each, Records)] == [MOST_RECORDS, MOST_RECORDS, 1]


@pytest.mark.parametrize("offsets", [(4,), (6, 6), (7, 6), (10,)])
def test_records_out_of_place_are_refused(offsets: tuple[int, ...]) -> None:
    """A file that was put together wrongly is not believed."""
    with pytest.raises(ValueError, match="out of place"):
        list(steps(map(inbound, offsets), 5, 10))


async def _admin(cluster: MemoryCluster) -> Admin:
    admin = MemoryBus(cluster).admin()
    await admin.start()
    await admin.create_topics(PARTITIONS, replication_factor=1, min_insync_replicas=1)
    return admin


async def _lived(cluster: MemoryCluster, seed: int) -> None:
    """A log with transactions, aborted ones, lone records, and a deleted beginning."""
    rng, bus = random.Random(seed), MemoryBus(cluster)  # noqa: S311 - the same
    admin = await _admin(cluster)
    writer, sender = bus.writer("keyfold-policy-0"), bus.sender()
    await writer.start()
    await sender.start()
    for _ in range(40):
        several = [
            Outbound(rng.choice((topics.EVENTS, topics.AUTHORIZED, topics.POLICY_STATE)), 1, b"k", rng.randbytes(9))
            for _ in range(rng.randrange(1, 4))
        ]
        await writer.commit(several)
        for _ in range(rng.randrange(3)):
            await writer.end_open([(topics.EVENTS, 1)], commit=False)
        await (await sender.send(Outbound(topics.COMMANDS, 0, None, rng.randbytes(9), (("a", b"b"),))))
    await admin.delete_records(topics.AUTHORIZED, 1, 10)
    await sender.stop()
    await writer.stop()


async def _everything(cluster: MemoryCluster) -> dict[tuple[str, int], tuple[int, int, list[Inbound]]]:
    bus, found = MemoryBus(cluster), {}
    admin = bus.admin()
    await admin.start()
    for row in COPIED:
        starts, ends = await admin.start_offsets(row.name), await admin.end_offsets(row.name)
        for partition in ends:
            reader = bus.reader(row.name, partition, committed=True)
            await reader.start(None)
            read = [record async for batch in reader.read_to_end() for record in batch]
            found[row.name, partition] = starts[partition], ends[partition], read
    return found


async def _copied(cluster: MemoryCluster, directory: Path) -> Manifest:
    directory.mkdir()  # noqa: ASYNC240 - a test
    return Manifest(
        deployment=DEPLOYMENT,
        created_at="2026-01-01T00:00:00.000Z",
        settings=Settings(partitions=PARTITIONS, development=True, session_pool_size=1),
        topics=await copy_log(MemoryBus(cluster), PARTITIONS, directory, lambda _line: None),
        rows=[],
        files=[],
    )


@pytest.mark.parametrize("seed", range(3))
async def test_what_was_copied_comes_back_as_it_was(tmp_path: Path, seed: int) -> None:
    """Offsets, times, keys, values, headers, starts and ends; of compacted topics the order and the records."""
    cluster, other = MemoryCluster(), MemoryCluster()
    await _lived(cluster, seed)
    made = await _copied(cluster, tmp_path / "copy")
    await _admin(other)
    await fill_log(MemoryBus(other), tmp_path / "copy", made, lambda _line: None)
    before, after = await _everything(cluster), await _everything(other)
    compacted = {row.name for row in topics.TOPICS if row.cleanup == "compact"}
    for place, was in before.items():
        if place[0] in compacted:
            assert [(r.key, r.value, r.timestamp_ms) for r in after[place][2]] == [
                (r.key, r.value, r.timestamp_ms) for r in was[2]
            ]
        else:
            assert after[place] == was, place


async def test_a_log_that_is_worked_on_is_not_copied(tmp_path: Path) -> None:
    """The copies would be of different moments."""
    cluster = MemoryCluster()
    await _lived(cluster, 1)
    writer = MemoryBus(cluster).writer("keyfold-hsm-0")
    await writer.start()

    def at_work(line: str) -> None:
        if line.startswith(topics.EVENTS):
            cluster_log = cluster.log(topics.EVENTS, 0)
            cluster_log.append(Outbound(topics.EVENTS, 0, b"k", b"late"), 1, None)

    directory = tmp_path / "copy"
    directory.mkdir()
    with pytest.raises(BackupMoved, match=topics.EVENTS):
        await copy_log(MemoryBus(cluster), PARTITIONS, directory, at_work)


async def test_a_cluster_that_is_not_empty_is_not_filled(tmp_path: Path) -> None:
    """An offset that is not what it was contradicts everything that names offsets."""
    cluster, other = MemoryCluster(), MemoryCluster()
    await _lived(cluster, 1)
    made = await _copied(cluster, tmp_path / "copy")
    await _lived(other, 2)
    with pytest.raises(BackupRefused, match="somebody else writes"):
        await fill_log(MemoryBus(other), tmp_path / "copy", made, lambda _line: None)


async def test_a_changed_file_is_found(tmp_path: Path) -> None:
    """By its digest, before anything is restored."""
    cluster = MemoryCluster()
    await _lived(cluster, 1)
    directory = tmp_path / "copy"
    made = await _copied(cluster, directory)
    manifest.save(directory, made)
    assert manifest.check(directory, manifest.load(directory)) > 10
    place = directory / f"log/{topics.EVENTS}/1.records"
    content = place.read_bytes()
    place.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BackupDamaged, match=topics.EVENTS):
        manifest.check(directory, made)
    place.unlink()
    with pytest.raises(BackupDamaged, match="missing"):
        manifest.check(directory, made)


def test_a_directory_without_a_manifest_is_no_backup(tmp_path: Path) -> None:
    """It was not finished, or is something else."""
    with pytest.raises(BackupRefused, match="no whole backup"):
        manifest.load(tmp_path)
    (tmp_path / manifest.NAME).write_text("{}")
    with pytest.raises(BackupDamaged):
        manifest.load(tmp_path)
