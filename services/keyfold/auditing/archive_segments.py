"""Writing one segment: the same rows in one or two files, which appear whole or not at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from keyfold.auditing.archive import UNFINISHED, Format, Segment, SegmentFile, segment_path
from keyfold.auditing.archive_files import DigestedFile
from keyfold.auditing.archive_jsonl import JsonLinesWriter
from keyfold.auditing.archive_parquet import ParquetWriter
from keyfold.auditing.archive_rows import Row


class RowWriter(Protocol):
    """Writes rows in a format."""

    def add(self, row: Row) -> None:
        """Take a row."""

    def close(self) -> None:
        """Write what is held back. The file stays open."""


_WRITERS: Final[dict[Format, type[JsonLinesWriter] | type[ParquetWriter]]] = {
    "jsonl": JsonLinesWriter,
    "parquet": ParquetWriter,
}


class SegmentWriter:
    """A segment that is being written, from leaf `first` of a partition on. Ends with `seal`, or `discard`."""

    def __init__(self, archive: Path, partition: int, first: int, formats: Sequence[Format]) -> None:
        self._place = (partition, first)
        self.count = 0
        self._offsets: tuple[int, int] | None = None
        self._files: list[tuple[str, DigestedFile, RowWriter]] = []
        for form in formats:
            path = segment_path(partition, first, form)
            file = DigestedFile(archive / UNFINISHED / path)
            self._files.append((path, file, _WRITERS[form](file.file)))

    def add(self, row: Row) -> None:
        """Write a row."""
        for _, _, writer in self._files:
            writer.add(row)
        self._offsets = (row.offset if self._offsets is None else self._offsets[0], row.offset)
        self.count += 1

    def seal(self) -> Segment:
        """Make the files durable, under `unfinished`. At least one row was written."""
        if self._offsets is None:
            raise ValueError("a segment has at least one record")
        sealed: list[SegmentFile] = []
        for path, file, writer in self._files:
            writer.close()
            size, digest = file.seal()
            sealed.append(SegmentFile(path=path, bytes=size, sha256=digest))
        partition, first = self._place
        return Segment(
            partition=partition,
            first=first,
            count=self.count,
            first_offset=self._offsets[0],
            last_offset=self._offsets[1],
            files=tuple(sealed),
        )

    def discard(self) -> None:
        """Leave nothing behind of what was not sealed."""
        for _, file, writer in self._files:
            writer.close()
            file.discard()
