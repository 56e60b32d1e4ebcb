"""Proofs that a record is in the log: made from the published tree, and checked with public keys alone.

Making reads tiles and checkpoints, never the log itself. Checking (`check_proof`) does no I/O at all: the record stands
in the proof. What is proven is that the record is in the log that the checkpoint signs; whether its author was allowed
to write it is asked where a `Trust` is at hand.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from keyfold.auditing.trees import StoredTree
from keyfold.events import facts
from keyfold.events.checkpoints import Checkpoint, SignedCheckpoint, log_keys, open_checkpoint, parse_checkpoint
from keyfold.events.errors import RecordError
from keyfold.events.log_proofs import LogProof, parse_proof
from keyfold.events.log_records import LogRecord, parse_record
from keyfold.events.merkle import ProofInvalid, verify_inclusion
from keyfold.events.notes import ED25519, Note, NoteInvalid, VerifierKey
from keyfold.events.statements import UntrustedRecord
from keyfold.events.trust import Trust

SUFFIX: Final = ".tlog-proof"


class NotWitnessed(RecordError):
    """Fewer witnesses than are asked for have cosigned the checkpoint."""

    code = "NotWitnessed"


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof shows: this record is the leaf `index` of the log at `checkpoint`.

    `witnesses` cosigned it, each at a time (POSIX seconds). `author` is the role that signed the record, None where
    there was no `Trust` to ask.
    """

    record: LogRecord
    index: int
    checkpoint: Checkpoint
    signed_at_s: int
    witnesses: dict[str, int]
    author: str | None

    @property
    def event(self) -> facts.Event | None:
        """The event of the record; None where it is none that is known here."""
        return self.record.event


async def make_proof(tree: StoredTree, record: LogRecord, index: int, note: Note) -> LogProof:
    """Return the proof of a record at its leaf index, up to a checkpoint. Raises `ProofInvalid`, `NotPublished`.

    What is returned leads from the record to the checkpoint's root; whose signature that has is the checker's to ask.
    """
    checkpoint = parse_checkpoint(note)
    if await tree.leaf_at(index) != record.leaf:
        raise ProofInvalid(f"leaf {index} of {checkpoint.origin} is of another record")
    if index >= checkpoint.size:
        raise ProofInvalid(f"the checkpoint of {checkpoint.origin} does not reach leaf {index}; take a newer one")
    path = await tree.inclusion(index, checkpoint.size)
    verify_inclusion(record.leaf, index, checkpoint.size, path, checkpoint.root)
    return LogProof(index, path, note, record.to_bytes())


def check_proof(
    document: bytes,
    keys: Iterable[VerifierKey] = (),
    *,
    witnesses: Collection[VerifierKey] = (),
    quorum: int | None = None,
    trust: Trust | None = None,
) -> Proven:
    """Believe a proof by the log's `keys`, or by those that root certified (`trust`), and by a quorum of witnesses.

    Where keys of both types are at hand, the log must have signed with both. The quorum is by default all of the
    witnesses that are named. Raises `NoteInvalid`, `ProofInvalid`, `NotWitnessed`, `UntrustedRecord` (the author; with
    `trust` only) or `LogRecordInvalid`.
    """
    proof = parse_proof(document)
    record = parse_record(proof.extra)
    origin = proof.checkpoint.text.partition("\n")[0]
    of_log = [key for key in (*keys, *(() if trust is None else log_keys(trust, origin))) if key.name == origin]
    signed = open_log_checkpoint(proof.checkpoint.to_bytes(), of_log)
    verify_inclusion(record.leaf, proof.index, signed.checkpoint.size, proof.path, signed.checkpoint.root)
    cosigned = _cosigned(signed, witnesses, len({key.name for key in witnesses}) if quorum is None else quorum)
    author = None
    if trust is not None:
        _check_place(record, origin)
        record.verify_author(trust)
        author = record.statement.role
    times = [at for key, at in signed.signed_at.items() if key.kind != ED25519]
    return Proven(record, proof.index, signed.checkpoint, max(times, default=0), cosigned, author)


def open_log_checkpoint(document: bytes, keys: Collection[VerifierKey]) -> SignedCheckpoint:
    """Return a checkpoint that the log has signed with a key of each type that is known of it. Raises `NoteInvalid`.

    Neither algorithm alone is to be enough to forge a tree head.
    """
    signed = open_checkpoint(document, keys)
    if {key.kind for key in keys} - {key.kind for key in signed.signed_at}:
        raise NoteInvalid(f"{signed.checkpoint.origin} has not signed this checkpoint with keys of both types")
    return signed


def verified_only(note: Note, keys: Iterable[VerifierKey]) -> Note:
    """Return the note with those of its lines only that are good signatures of these keys."""
    good = []
    for key in keys:
        line = note.signed_by(key)
        try:
            if line is not None:
                open_checkpoint(Note(note.text, (line,)).to_bytes(), [key])
                good.append(line)
        except NoteInvalid:
            continue
    return replace(note, signatures=tuple(good))


def _cosigned(signed: SignedCheckpoint, witnesses: Collection[VerifierKey], quorum: int) -> dict[str, int]:
    """Return who cosigned when: with every key that is named of it. A wrong line is none."""
    found: dict[str, int] = {}
    for name in dict.fromkeys(key.name for key in witnesses):
        keys = {key for key in witnesses if key.name == name}
        note = verified_only(signed.note, keys)
        if len(note.signatures) == len(keys):
            found[name] = max(open_checkpoint(note.to_bytes(), keys).signed_at.values())
    if len(found) < quorum:
        raise NotWitnessed(f"{len(found)} of the named witnesses cosigned the checkpoint; {quorum} are asked for")
    return found


def _check_place(record: LogRecord, origin: str) -> None:
    """The statement says which partition of which deployment it is for; the tree must be that one."""
    statement = record.statement
    if origin != f"keyfold/{statement.deployment}/events/{statement.partition}":
        raise UntrustedRecord("the record was signed for another partition than the tree that holds it")
