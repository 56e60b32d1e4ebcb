"""What an export keeps on disk: the manifest, and the segments that no checkpoint covers yet.

A segment is written in three steps: 1. its files, under `unfinished`; 2. the tiles up to its end; 3. the list of
unfinished segments. Nothing of it is believed before the root at a checkpoint is what the checkpoint says. Then it is
published in four: 1. the files move to their places; 2. the manifest names them and the checkpoint; 3. the tree's
`checkpoint` file; 4. what only the unfinished state needed is removed. Whatever step a run was cut at, the next one
goes on. Whether roots are right is for `archive_export` to ask.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from keyfold.auditing.archive import (
    MANIFEST,
    UNFINISHED,
    ArchivedCheckpoint,
    Format,
    Manifest,
    Segment,
    Unfinished,
    parse_manifest,
    tree_directory,
)
from keyfold.auditing.archive_errors import ArchiveUnusable
from keyfold.auditing.archive_files import TEMPORARY, fsync_directory, remove_stale, write_whole
from keyfold.auditing.archive_tiles import TileWriter

_LIST: Final = f"{UNFINISHED}/segments.json"


class ArchiveStore:
    """An archive that is written to by one process, which holds `archive_files.locked`."""

    def __init__(self, directory: Path, deployment: str, partitions: int) -> None:
        self.directory = directory
        self.manifest = _manifest(directory, deployment, partitions)
        listed = _unfinished(directory)
        self._unfinished = self._usable(listed)
        if self._unfinished != listed:
            self._write_unfinished(self._unfinished)
        self._sweep()
        for partition in range(partitions):
            self._publish_tree(partition)

    @property
    def formats(self) -> tuple[Format, ...]:
        """In what formats the records are; () while there are none."""
        segments = self.manifest.segments or self._unfinished
        return tuple(file.format for file in segments[0].files) if segments else ()

    def end(self, partition: int) -> tuple[int, int | None]:
        """Return how many records were written, verified or not, and the Kafka offset behind the last one."""
        segments = self.manifest.of(partition) + self.unfinished(partition)
        return (segments[-1].end, segments[-1].last_offset + 1) if segments else (0, None)

    def unfinished(self, partition: int) -> tuple[Segment, ...]:
        """Return the segments that no checkpoint covers yet."""
        return tuple(segment for segment in self._unfinished if segment.partition == partition)

    def note(self, segment: Segment, tree: TileWriter) -> None:
        """Keep a segment whose files were sealed, and the tree at its end."""
        # If we crash here, the segment is written again from its start: its files are not named yet.
        tree.flush()
        # If we crash here, the same: tiles of a size that nothing names are written again, with the same bytes.
        self._write_unfinished((*self._unfinished, segment))

    def drop(self, partition: int) -> None:
        """Forget what no checkpoint covers: the log turned out not to be what its checkpoint says."""
        dropped = self.unfinished(partition)
        self._write_unfinished(segment for segment in self._unfinished if segment.partition != partition)
        for segment in dropped:
            for file in segment.files:
                remove_stale(self.directory / UNFINISHED / file.path)
                remove_stale(self.directory / file.path)

    def publish(self, partition: int, checkpoints: Sequence[ArchivedCheckpoint], tree: TileWriter) -> None:
        """Let a partition's checkpoints stand in the manifest, with the segments up to the last of them.

        All its segments end there, and its root was compared.
        """
        segments = self.unfinished(partition)
        before = self.manifest.size(partition)
        self._move(segments)
        # If we crash here, the files are in their places and the list of unfinished segments still names them.
        tree.flush()
        self._write_manifest(partition, checkpoints, segments)
        # If we crash here, the next run sees that the manifest has these segments, and writes the checkpoint file.
        self._publish_tree(partition)
        self._write_unfinished(segment for segment in self._unfinished if segment.partition != partition)
        tree.forget(before)

    def _move(self, segments: Sequence[Segment]) -> None:
        for file in (file for segment in segments for file in segment.files):
            source, target = self.directory / UNFINISHED / file.path, self.directory / file.path
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)
                fsync_directory(target.parent)

    def _write_manifest(
        self, partition: int, checkpoints: Sequence[ArchivedCheckpoint], segments: Sequence[Segment]
    ) -> None:
        kept = [each for each in self.manifest.checkpoints if each.partition != partition]
        stands = [*self.manifest.segments, *segments]
        self.manifest = self.manifest.model_copy(
            update={
                "checkpoints": tuple(sorted([*kept, *checkpoints], key=lambda each: (each.partition, each.size))),
                "segments": tuple(sorted(stands, key=lambda each: (each.partition, each.first))),
            }
        )
        write_whole(self.directory / MANIFEST, self.manifest.to_bytes())

    def _publish_tree(self, partition: int) -> None:
        newest = self.manifest.newest(partition)
        path = tree_directory(self.directory, partition) / "checkpoint"
        if newest is not None and not (path.exists() and path.read_bytes() == newest.note.encode()):
            write_whole(path, newest.note.encode())

    def _write_unfinished(self, segments: Iterable[Segment]) -> None:
        self._unfinished = tuple(segments)
        if self._unfinished:
            write_whole(
                self.directory / _LIST, Unfinished(segments=self._unfinished).model_dump_json(indent=1).encode()
            )
        else:
            remove_stale(self.directory / _LIST)

    def _usable(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Return the unfinished segments that go on from the manifest and are there; the others are written again."""
        ends: defaultdict[int, int] = defaultdict(int)
        ends.update({segment.partition: segment.end for segment in self.manifest.segments})
        found: list[Segment] = []
        for segment in segments:
            if segment.first == ends[segment.partition] and self._whole(segment):
                found.append(segment)
                ends[segment.partition] = segment.end
        return tuple(found)

    def _sweep(self) -> None:
        """Remove what a cut run left of segments that are not used."""
        named = {self.directory / UNFINISHED / file.path for segment in self._unfinished for file in segment.files}
        for path in list((self.directory / UNFINISHED / "events").rglob("*")):
            if path.is_file() and path not in named:
                path.unlink()

    def _whole(self, segment: Segment) -> bool:
        """Tell whether a segment's files are there, in one of the two places where a cut run may have left them."""
        return all(
            any(
                (place / file.path).exists() and (place / file.path).stat().st_size == file.bytes
                for place in (self.directory / UNFINISHED, self.directory)
            )
            for file in segment.files
        )


def _manifest(directory: Path, deployment: str, partitions: int) -> Manifest:
    path = directory / MANIFEST
    if not path.exists():
        ours = {UNFINISHED, "tlog", "events", MANIFEST + TEMPORARY}
        others = [each.name for each in directory.iterdir() if each.name not in ours]
        if others:
            raise ArchiveUnusable(f"{directory} is no archive and not empty ({others[0]}); name another directory")
        return Manifest(deployment=deployment, partitions=partitions)
    manifest = parse_manifest(path.read_bytes(), str(path))
    if (manifest.deployment, manifest.partitions) != (deployment, partitions):
        raise ArchiveUnusable(f"{directory} is the archive of deployment {manifest.deployment}; name another directory")
    return manifest


def _unfinished(directory: Path) -> tuple[Segment, ...]:
    try:
        return Unfinished.model_validate_json((directory / _LIST).read_bytes()).segments
    except (FileNotFoundError, ValidationError):
        return ()
