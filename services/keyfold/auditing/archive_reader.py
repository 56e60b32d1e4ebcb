"""Reading an archive offline: the records and checkpoints of a log, as `keyfold.auditing.sources.RecordSource` says.

Each segment is compared with its digest in the manifest when it is read, not before: a file that is not asked for costs
nothing. What the records are worth is for who verifies them to say: a manifest is not signed, checkpoints are.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from keyfold.auditing.archive import MANIFEST, Format, Manifest, Segment, SegmentFile, parse_manifest
from keyfold.auditing.archive_errors import ArchiveDamaged, ArchiveUnusable
from keyfold.auditing.archive_files import digest_of
from keyfold.auditing.archive_jsonl import read_json_lines
from keyfold.auditing.archive_parquet import parquet_available, read_parquet
from keyfold.auditing.archive_rows import Row, record_of
from keyfold.bus import Inbound

_BATCH: Final = 500
_BATCH_BYTES: Final = 8 * 1024 * 1024


class ArchiveSource:
    """An archive in a directory. Raises `ArchiveUnusable` where there is none."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest = _manifest(directory)

    @property
    def deployment(self) -> str:
        """The fingerprint of the root identity whose log this says to be."""
        return self.manifest.deployment

    @property
    def partitions(self) -> int:
        """How many partitions the log has."""
        return self.manifest.partitions

    async def records(self, partition: int, start: int | None = None) -> AsyncIterator[list[Inbound]]:
        """Yield the records of a partition in order, from the Kafka offset `start` on. Raises `ArchiveDamaged`."""
        for segment in self.manifest.of(partition):
            if start is not None and segment.last_offset < start:
                continue
            batch: list[Inbound] = []
            size = 0
            for row in self.rows(segment):
                if start is None or row.offset >= start:
                    batch.append(record_of(row))
                    size += len(row.value or b"")
                if len(batch) == _BATCH or size >= _BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
            if batch:
                yield batch

    async def checkpoints(self) -> list[bytes]:
        """Return the signed notes of all partitions, with the cosignatures that were there when they were archived."""
        return [each.note.encode() for each in self.manifest.checkpoints]

    async def ends(self) -> dict[int, int]:
        """Return nothing: an archive does not grow while it is read."""
        return {}

    def rows(self, segment: Segment) -> Iterator[Row]:
        """Yield a segment's rows, with what was shown of their events. Raises `ArchiveDamaged`."""
        file = _preferred(segment)
        path = self.directory / file.path
        try:
            with path.open("rb") as opened:
                _check_digest(opened, file, path)
                opened.seek(0)
                yield from _in_place(segment, _read(file.format, opened, str(path)), path)
        except FileNotFoundError:
            raise ArchiveDamaged(f"{path} is missing; get it from another copy of the archive") from None


def _manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        raise ArchiveUnusable(
            f"{directory} is no archive: it has no {MANIFEST}; make one by `keyfold audit export`"
        ) from None


def _preferred(segment: Segment) -> SegmentFile:
    """Return the file to read: Parquet where it can be read here."""
    wanted: Format = "parquet" if parquet_available() else "jsonl"
    return next((file for file in segment.files if file.format == wanted), segment.files[0])


def _check_digest(opened: BinaryIO, file: SegmentFile, path: Path) -> None:
    if digest_of(opened) != (file.bytes, file.sha256):
        raise ArchiveDamaged(f"{path} is not the file that the manifest names; get it from another copy of the archive")


def _read(form: Format, opened: BinaryIO, name: str) -> Iterator[Row]:
    return read_parquet(opened, name) if form == "parquet" else read_json_lines(opened, name)


def _in_place(segment: Segment, rows: Iterator[Row], path: Path) -> Iterator[Row]:
    """Yield the rows; each must be the next leaf of the segment's partition."""
    leaf = segment.first
    for row in rows:
        if (row.partition, row.leaf) != (segment.partition, leaf):
            raise ArchiveDamaged(f"{path} has leaf {row.leaf} of partition {row.partition} in the place of {leaf}")
        yield row
        leaf += 1
    if leaf != segment.end:
        raise ArchiveDamaged(f"{path} ends at leaf {leaf}, not {segment.end}; get it from another copy of the archive")
