"""C2SP tlog-proof: that an entry is in a log, in one file that anybody can check offline (c2sp.org/tlog-proof). Pure.

It is told what the leaf hash is; how a record becomes one is in `log_leaves`. The optional extra data is not
authenticated; here it carries the record that the proof is about, from which the leaf hash is computed again.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from keyfold.events.checkpoints import SignedCheckpoint, open_checkpoint, parse_checkpoint
from keyfold.events.merkle import verify_inclusion
from keyfold.events.notes import Note, NoteInvalid, VerifierKey, decode_base64, decode_number, parse_note

MAGIC: Final = "c2sp.org/tlog-proof@v1"
_EXTRA: Final = "extra "
_INDEX: Final = "index "
_MAX_PATH: Final = 64


@dataclass(frozen=True, slots=True)
class LogProof:
    """An inclusion proof with the checkpoint that it leads to. Nothing is verified yet."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the proof as it is written (`.tlog-proof`)."""
        lines = [MAGIC]
        if self.extra:
            lines.append(f"{_EXTRA}{base64.b64encode(self.extra).decode()}")
        lines.append(f"{_INDEX}{self.index}")
        lines += [base64.b64encode(node).decode() for node in self.path]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint.to_bytes()

    def verify(self, leaf: bytes, keys: Iterable[VerifierKey]) -> SignedCheckpoint:
        """Return the checkpoint that this leaf hash is proven to be under, as signed by some of the keys.

        Raises `NoteInvalid` or `ProofInvalid`. Which of the keys must have signed is the caller's to ask.
        """
        signed = open_checkpoint(self.checkpoint.to_bytes(), keys)
        verify_inclusion(leaf, self.index, signed.checkpoint.size, self.path, signed.checkpoint.root)
        return signed


def parse_proof(document: bytes) -> LogProof:
    """Parse a proof. Raises `NoteInvalid`."""
    head, blank, rest = document.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise NoteInvalid("a proof begins with lines of ASCII") from None
    if not blank or lines[0] != MAGIC:
        raise NoteInvalid(f"a proof begins with {MAGIC}")
    remaining = lines[1:]
    extra = b""
    if remaining and remaining[0].startswith(_EXTRA):
        extra = decode_base64(remaining.pop(0).removeprefix(_EXTRA))
        if not extra:
            raise NoteInvalid("a proof without extra data leaves out its line")
    if not remaining or not remaining[0].startswith(_INDEX):
        raise NoteInvalid("a proof says the index of its entry")
    index = decode_number(remaining.pop(0).removeprefix(_INDEX))
    if len(remaining) > _MAX_PATH:
        raise NoteInvalid("a proof's path has at most 64 hashes")
    path = tuple(map(decode_base64, remaining))
    if any(len(node) != 32 for node in path):
        raise NoteInvalid("a proof's path is of hashes of 32 bytes")
    note = parse_note(rest)
    parse_checkpoint(note)
    return LogProof(index, path, note, extra)
