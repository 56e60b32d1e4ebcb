"""Proofs that a record is in the log: made from the published tree, and checked with public keys alone.

Making reads tiles and checkpoints, never the log itself. Checking (`check_proof`) does no I/O at all: the record stands
in the proof. What is proven is that the record is in the log that the checkpoint signs; whether its author was allowed
to write it is asked where a `Trust` is at hand.
"""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from keyfold.auditing.trees import StoredTree
from keyfold.events import facts
from keyfold.events.checkpoints import (
    Checkpoint,
    LogPair,
    SignedCheckpoint,
    log_pairs,
    open_checkpoint,
    open_log_checkpoint,
    parse_checkpoint,
)
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

    The log must have signed with all keys of one of its notaries (`_pairs`). The quorum is by default all of the
    witnesses that are named. Raises `NoteInvalid`, `ProofInvalid`, `NotWitnessed`, `UntrustedRecord` (the author; with
    `trust` only) or `LogRecordInvalid`.
    """
    proof = parse_proof(document)
    record = parse_record(proof.extra)
    origin = proof.checkpoint.text.partition("\n")[0]
    signed = open_log_checkpoint(proof.checkpoint.to_bytes(), _pairs(keys, trust, origin))
    verify_inclusion(record.leaf, proof.index, signed.checkpoint.size, proof.path, signed.checkpoint.root)
    cosigned = _cosigned(signed, witnesses, len({key.name for key in witnesses}) if quorum is None else quorum)
    author = None
    if trust is not None:
        _check_place(record, origin)
        record.verify_author(trust)
        author = record.statement.role
    times = [at for key, at in signed.signed_at.items() if key.kind != ED25519]
    return Proven(record, proof.index, signed.checkpoint, max(times, default=0), cosigned, author)


def verified_only(note: Note, keys: Iterable[VerifierKey]) -> Note:
    """Return the note with a good signature of each of these keys that has one, whatever else claims to be of it."""
    good = []
    for key in keys:
        for line in note.all_by(key):
            with suppress(NoteInvalid):
                open_checkpoint(Note(note.text, (line,)).to_bytes(), [key])
                good.append(line)
                break
    return replace(note, signatures=tuple(good))


def _pairs(keys: Iterable[VerifierKey], trust: Trust | None, origin: str) -> tuple[LogPair, ...]:
    """Return the keys of each notary: as root certified them, and of `keys` those that stand together.

    An ML-DSA-44 key belongs to the Ed25519 key right before it, as `keyfold audit keys` prints them, and one that none
    follows counts alone; where that order was lost, any two of both types stand together.
    """
    certified = () if trust is None else log_pairs(trust.notary_keys(), origin)
    return (*certified, *_paired([key for key in keys if key.name == origin]))


def _paired(keys: Sequence[VerifierKey]) -> Iterable[LogPair]:
    pairs: list[LogPair] = []
    for key in keys:
        if key.kind == ED25519:
            pairs.append((key,))
        elif pairs and len(pairs[-1]) == 1:
            pairs[-1] = (*pairs[-1], key)
        else:
            firsts, seconds = ([each for each in keys if (each.kind == ED25519) is first] for first in (True, False))
            return product(firsts, seconds) if firsts else ((each,) for each in seconds)
    return pairs


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
