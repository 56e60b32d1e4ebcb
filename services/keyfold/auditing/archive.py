"""The format of an archive: the log of a deployment in a directory, that proves itself without the deployment. Pure.

    manifest.json                        what is here: written last, so whatever it names is whole and was verified
    events/<partition>/<first leaf>.*    the records in segments, `.parquet`, `.jsonl` or both
    tlog/<partition>/checkpoint          the newest signed tree head of the partition
    tlog/<partition>/tile/<L>/<N>        its tree as C2SP tlog-tiles, for any client of that format
    unfinished/                          segments that no checkpoint covers yet, of a run that goes on or was cut

A segment holds records that follow each other in one partition, whether authentic or not. Writing is in
`archive_writer`, reading in `archive_reader`, what a row is in `archive_rows`.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, StringConstraints, ValidationError

from keyfold.auditing.archive_errors import ArchiveDamaged, ArchiveUnusable

MANIFEST: Final = "manifest.json"
UNFINISHED: Final = "unfinished"
VERSION: Final = 1
Format = Literal["parquet", "jsonl"]

_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^events/[0-9]{1,4}/[0-9]{12,19}\.(parquet|jsonl)$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SegmentFile(_Model):
    """A file of a segment: its path in the archive, size in bytes, and SHA-256."""

    path: _Name
    bytes: NonNegativeInt
    sha256: _Digest

    @property
    def format(self) -> Format:
        """How the records are written."""
        return "parquet" if self.path.endswith(".parquet") else "jsonl"


class Segment(_Model):
    """`count` records of a partition from leaf `first` on; all `files` hold the same. Offsets are Kafka's: hints."""

    partition: NonNegativeInt
    first: NonNegativeInt
    count: PositiveInt
    first_offset: NonNegativeInt
    last_offset: NonNegativeInt
    files: Annotated[tuple[SegmentFile, ...], "at least one"]

    @property
    def end(self) -> int:
        """The leaf behind the last one."""
        return self.first + self.count


class ArchivedCheckpoint(_Model):
    """A signed tree head of a partition (a C2SP note, with the cosignatures that were there).

    `consistency` is the RFC 9162 path (hex) from the checkpoint before it in the manifest, of size `consistent_with`.
    """

    partition: NonNegativeInt
    size: NonNegativeInt
    note: str
    consistent_with: NonNegativeInt = 0
    consistency: tuple[_Digest, ...] = ()


class Manifest(_Model):
    """What an archive holds. Checkpoints and segments are in the order of partition, then size or first leaf."""

    format: Literal["keyfold-archive"] = "keyfold-archive"
    version: Literal[1] = 1
    deployment: _Digest
    partitions: Annotated[int, "2 to 1024"]
    checkpoints: tuple[ArchivedCheckpoint, ...] = ()
    segments: tuple[Segment, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the manifest as it is written."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    def size(self, partition: int) -> int:
        """Return how many records of a partition are archived and covered by a checkpoint."""
        newest = self.newest(partition)
        return newest.size if newest else 0

    def newest(self, partition: int) -> ArchivedCheckpoint | None:
        """Return the newest checkpoint of a partition."""
        return next((each for each in reversed(self.checkpoints) if each.partition == partition), None)

    def of(self, partition: int) -> tuple[Segment, ...]:
        """Return a partition's segments in order."""
        return tuple(segment for segment in self.segments if segment.partition == partition)


class Unfinished(_Model):
    """Segments that were written behind the newest checkpoint in the manifest, by a run that did not end yet."""

    segments: tuple[Segment, ...] = ()


def parse_manifest(document: bytes, name: str) -> Manifest:
    """Parse and check a manifest: its segments follow each other, and the checkpoints end where they do.

    Raises `ArchiveUnusable` for what is no manifest of this version, `ArchiveDamaged` for one that contradicts itself.
    """
    try:
        manifest = Manifest.model_validate_json(document)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ArchiveUnusable(
            f"{name} is no manifest of an archive of version {VERSION}: {where}: {problem['msg']}"
        ) from None
    check_segments(manifest.segments, defaultdict(int), name)
    for partition in range(manifest.partitions):
        segments = manifest.of(partition)
        if (segments[-1].end if segments else 0) != manifest.size(partition):
            raise ArchiveDamaged(f"{name}: the segments of partition {partition} do not end at its newest checkpoint")
    places = [(each.partition, each.size) for each in manifest.checkpoints]
    if places != sorted(set(places)):
        raise ArchiveDamaged(f"{name}: its checkpoints are not in order")
    return manifest


def check_segments(segments: Sequence[Segment], ends: dict[int, int], name: str) -> None:
    """Raise `ArchiveDamaged` unless each partition's segments follow each other from its end on; moves the ends."""
    for segment in segments:
        if segment.first != ends[segment.partition] or not segment.files:
            raise ArchiveDamaged(
                f"{name}: partition {segment.partition} has no records from leaf {ends[segment.partition]} on, "
                f"but a segment from {segment.first} on"
            )
        ends[segment.partition] = segment.end


def segment_path(partition: int, first: int, form: Format) -> str:
    """Return where a segment's file lies in the archive."""
    return f"events/{partition}/{first:012d}.{form}"


def tree_directory(archive: Path, partition: int) -> Path:
    """Return where a partition's tree lies: the prefix of a C2SP tlog-tiles log."""
    return archive / "tlog" / str(partition)
