"""Exporting: from the log into an archive, up to the newest checkpoint of each partition, in constant memory.

What is not what its checkpoint signs is not published: `CheckpointDiffers` names the partition. Files are written in
the caller's thread. The source is asked for records and checkpoints; who signs checkpoints follows from `Trust`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, cast

from keyfold.auditing.archive import Format, tree_directory
from keyfold.auditing.archive_checkpoints import Head, merged
from keyfold.auditing.archive_errors import ArchiveDamaged, ArchiveUnusable, CheckpointDiffers
from keyfold.auditing.archive_files import locked
from keyfold.auditing.archive_rows import Rows
from keyfold.auditing.archive_segments import SegmentWriter
from keyfold.auditing.archive_store import ArchiveStore
from keyfold.auditing.archive_tiles import TileReader, TileWriter
from keyfold.bus import Inbound
from keyfold.events.checkpoints import parse_checkpoint
from keyfold.events.log_leaves import leaf_of
from keyfold.events.merkle import root_of
from keyfold.events.notes import parse_note
from keyfold.events.tree import range_hash
from keyfold.events.trust import Trust

SEGMENT_ROWS: Final = 50_000


class Records(Protocol):
    """What an export reads; see `keyfold.auditing.sources.RecordSource`."""

    @property
    def deployment(self) -> str: ...

    @property
    def partitions(self) -> int: ...

    def records(self, partition: int, start: int | None = None) -> AsyncIterator[list[Inbound]]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to write: formats (() for those that the archive has), and how many records make a segment."""

    formats: tuple[Format, ...] = ()
    segment_rows: int = SEGMENT_ROWS


_DEFAULT: Final = Wanted()


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of one partition: `size` records are archived, `added` of them now, `left` are behind it."""

    partition: int
    size: int
    added: int
    left: int


async def export(
    source: Records,
    trust: Trust,
    heads: Iterable[Head],
    directory: Path,
    *,
    wanted: Wanted = _DEFAULT,
    report: Callable[[Exported], None] = lambda _done: None,
) -> list[Exported]:
    """Bring an archive up to the newest of `heads` of each partition; older ones are proven to be extended.

    Raises `CheckpointDiffers`, `ArchiveUnusable`, `ArchiveDamaged`, and what the source raises. Partitions that were
    done before stay done.
    """
    known = list(heads)
    with locked(directory):
        store = ArchiveStore(directory, source.deployment, source.partitions)
        formats = _formats(store, wanted)
        done: list[Exported] = []
        for partition in range(source.partitions):
            mine = [head for head in known if head.partition == partition]
            work = _Partition(source, Rows(trust), store, partition, replace(wanted, formats=formats))
            done.append(await work.bring_up_to(mine))
            report(done[-1])
        return done


class _Partition:
    """One partition's part of a run."""

    def __init__(self, source: Records, rows: Rows, store: ArchiveStore, partition: int, wanted: Wanted) -> None:
        self._source, self._rows, self._store, self._partition = source, rows, store, partition
        self._wanted = wanted
        self._prefix = tree_directory(store.directory, partition)
        self._segment: SegmentWriter | None = None

    async def bring_up_to(self, heads: Sequence[Head]) -> Exported:
        """Read, write, compare, publish."""
        before = self._store.manifest.size(self._partition)
        target = max([head.size for head in heads], default=before)
        if target < before:
            raise CheckpointDiffers(
                f"partition {self._partition}: the archive has {before} records, the newest checkpoint signs {target}; "
                "the log was cut or replaced"
            )
        self._check_tree(before)
        if self._store.end(self._partition)[0] > target:  # of a run that was cut, and saw a newer checkpoint
            self._store.drop(self._partition)
        start, offset = self._store.end(self._partition)
        tree = TileWriter(self._prefix, start)
        try:
            left = await self._read(tree, target, offset)
        finally:
            if self._segment is not None:
                self._segment.discard()
        self._publish(heads, tree)
        return Exported(self._partition, target, target - before, left)

    def _check_tree(self, size: int) -> None:
        """Raise `ArchiveDamaged` unless the tree on disk is the one that was archived."""
        newest = self._store.manifest.newest(self._partition)
        if newest is None:
            return
        checkpoint = parse_checkpoint(parse_note(newest.note.encode()))
        if range_root(size, TileReader(self._prefix, size)) != checkpoint.root:
            raise ArchiveDamaged(
                f"the tiles in {self._prefix} are not those of the checkpoint beside them; begin another archive"
            )

    async def _read(self, tree: TileWriter, target: int, offset: int | None) -> int:
        """Write what lies before the checkpoint; return how many records are behind it."""
        left = 0
        batches = cast("AsyncGenerator[list[Inbound]]", self._source.records(self._partition, offset))
        async with aclosing(batches):
            async for batch in batches:
                wanted = batch[: target - tree.size]
                for record in wanted:
                    self._write(tree, record, target)
                left += len(batch) - len(wanted)
        if tree.size < target:
            raise CheckpointDiffers(
                f"partition {self._partition}: the log has {tree.size} records, its newest checkpoint signs {target}; "
                "records were cut off"
            )
        return left

    def _write(self, tree: TileWriter, record: Inbound, target: int) -> None:
        if self._segment is None:
            self._segment = SegmentWriter(self._store.directory, self._partition, tree.size, self._wanted.formats)
        self._segment.add(self._rows.of(record, tree.size))
        tree.append(leaf_of(record.key, record.value, record.headers))
        if self._segment.count == self._wanted.segment_rows or tree.size == target:
            self._store.note(self._segment.seal(), tree)
            self._segment = None

    def _publish(self, heads: Sequence[Head], tree: TileWriter) -> None:
        if not heads:
            return
        tree.flush()
        reader = TileReader(self._prefix, tree.size)
        for head in heads:
            if range_root(head.size, reader) != head.root:
                self._store.drop(self._partition)
                raise CheckpointDiffers(
                    f"partition {self._partition}: the first {head.size} records of the log do not have the root that "
                    "its checkpoint signs; find the first record that differs with `keyfold audit verify`"
                )
        stands = [each for each in self._store.manifest.checkpoints if each.partition == self._partition]
        checkpoints = merged(self._partition, stands, heads, reader)
        if checkpoints != stands or self._store.unfinished(self._partition):
            self._store.publish(self._partition, checkpoints, tree)


def range_root(size: int, reader: TileReader) -> bytes:
    """Return the root of the first `size` leaves."""
    return range_hash(0, size, reader.node) if size else root_of([])


def _formats(store: ArchiveStore, wanted: Wanted) -> tuple[Format, ...]:
    formats = wanted.formats or store.formats or ("parquet",)
    if store.formats and set(store.formats) != set(formats):
        raise ArchiveUnusable(
            f"the archive is written as {' and '.join(store.formats)}; go on with the same, or begin another one"
        )
    return formats
