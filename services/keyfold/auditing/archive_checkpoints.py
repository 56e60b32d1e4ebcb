"""The checkpoints of an archive: which of the log's are believed, and proofs that each extends the one before. Pure.

A checkpoint counts as the log's if root certified the keys that signed it, and both of a notary's keys did where it has
two. Cosignatures of witnesses are carried along, for readers who know the witnesses' keys.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from keyfold.auditing.archive import ArchivedCheckpoint
from keyfold.auditing.archive_tiles import TileReader
from keyfold.events.checkpoints import log_pairs, open_log_checkpoint, parse_checkpoint, partition_of_origin
from keyfold.events.notes import Note, parse_note
from keyfold.events.tree import consistency_path
from keyfold.events.trust import Trust


@dataclass(frozen=True, slots=True)
class Head:
    """A tree head that the log's own keys signed."""

    partition: int
    size: int
    root: bytes
    note: Note


def believed(document: bytes, trust: Trust) -> Head:
    """Return a checkpoint of the pinned deployment's log. Raises `NoteInvalid`."""
    note = parse_note(document)
    checkpoint = parse_checkpoint(note)
    partition = partition_of_origin(trust.deployment, checkpoint.origin)
    open_log_checkpoint(document, log_pairs(trust.notary_keys(), checkpoint.origin))
    return Head(partition, checkpoint.size, checkpoint.root, note)


def merged(
    partition: int, stands: Sequence[ArchivedCheckpoint], heads: Iterable[Head], reader: TileReader
) -> list[ArchivedCheckpoint]:
    """Return a partition's checkpoints in order, each with a consistency proof from the one before.

    The roots of all were compared with the tree that the reader has.
    """
    notes = {each.size: parse_note(each.note.encode()) for each in stands}
    for head in heads:
        known = notes.get(head.size)
        notes[head.size] = head.note if known is None else joined(known, head.note)
    found: list[ArchivedCheckpoint] = []
    before = 0
    for size in sorted(notes):
        path = consistency_path(before, size, reader.node) if before else ()
        found.append(
            ArchivedCheckpoint(
                partition=partition,
                size=size,
                note=notes[size].to_bytes().decode(),
                consistent_with=before,
                consistency=tuple(node.hex() for node in path),
            )
        )
        before = size
    return found


def joined(note: Note, other: Note) -> Note:
    """Return a note with the lines of further keys; of a key that signed both, its line stays as it is.

    A checkpoint that does not grow is signed anew again and again, and one line of a key says all.
    """
    known = {(line.name, line.key_id) for line in note.signatures}
    return note.with_signatures(line for line in other.signatures if (line.name, line.key_id) not in known)
