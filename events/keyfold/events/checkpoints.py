"""C2SP checkpoints: signed tree heads, the log's own signatures, and the cosignatures of witnesses. Pure.

A checkpoint is a note of three lines: origin, size, root (c2sp.org/tlog-checkpoint). Each partition of the events topic
is a tree of its own with an origin of its own. The notary signs with Ed25519 (type 0x01) and ML-DSA-44 (type 0x06,
c2sp.org/tlog-cosignature); a witness cosigns with Ed25519 (type 0x04) or ML-DSA-44 (0x06).
"""

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from keyfold.events.merkle import root_of
from keyfold.events.notes import (
    ED25519,
    ED25519_COSIGNATURE,
    MAX_NUMBER,
    ML_DSA_44_COSIGNATURE,
    Note,
    NoteInvalid,
    NoteSignature,
    VerifierKey,
    decode_base64,
    decode_number,
    parse_note,
)
from keyfold.events.trust import Trust

CONSISTENCY_HEADER: Final = "kf_consistency"
"""On the checkpoints topic: u64 size of the same log's checkpoint before, and the path from it (32 bytes a node)."""

NEXT_HEADER: Final = "kf_next"
"""On the checkpoints topic: u64 offset of keyfold.events behind the last leaf."""

_TIMESTAMP_BYTES: Final = 8
_MAX_PARTITION_DIGITS: Final = 6
_EMPTY_ROOT: Final = root_of([])
_LABEL: Final = b"subtree/v1\n\0"
Sign = Callable[[bytes], bytes]
LogPair = tuple[VerifierKey, ...]
"""All keys of one notary: Ed25519, and ML-DSA-44 if it has such a key."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: whose tree, how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint whose signatures were verified. `signed_at` has each key that signed (POSIX seconds; 0: untold)."""

    checkpoint: Checkpoint
    note: Note
    signed_at: Mapping[VerifierKey, int]


def origin_of(deployment: str, partition: int) -> str:
    """Return the origin of the tree over a partition of the events topic."""
    return f"keyfold/{deployment}/events/{partition}"


def partition_of_origin(deployment: str, origin: str) -> int:
    """Return the partition that an origin names. Raises `NoteInvalid` for another deployment's, or none."""
    number = origin.rpartition("/")[2]
    if not (number.isascii() and number.isdecimal() and len(number) <= _MAX_PARTITION_DIGITS):
        raise NoteInvalid("the checkpoint is of no partition of events")
    if origin_of(deployment, int(number)) != origin:
        raise NoteInvalid("the checkpoint is of another log than this deployment's events")
    return int(number)


def parse_checkpoint(note: Note) -> Checkpoint:
    """Read the text of a note as a checkpoint. Extension lines are refused: nothing here signs them."""
    lines = note.text.split("\n")
    if len(lines) != 4 or lines[3] or not all(lines[:3]):
        raise NoteInvalid("a checkpoint has an origin, a size and a root, and nothing else")
    size, root = decode_number(lines[1]), decode_base64(lines[2])
    if len(root) != 32 or (size == 0 and root != _EMPTY_ROOT):
        raise NoteInvalid("a checkpoint's root is 32 bytes; without leaves, SHA-256 of nothing")
    return Checkpoint(lines[0], size, root)


def log_keys(trust: Trust, origin: str) -> tuple[VerifierKey, ...]:
    """Return the keys by which a log of this deployment may be signed, as root certified them: named as the log is."""
    return tuple(dict.fromkeys(key for pair in log_pairs(trust.notary_keys(), origin) for key in pair))


def log_pairs(notary_keys: Iterable[tuple[bytes, bytes | None]], origin: str) -> tuple[LogPair, ...]:
    """Return the keys of each notary, as `Trust.notary_keys` has them, named as the log is."""
    return tuple(
        (VerifierKey(origin, ED25519, public_key),)
        if checkpoint_key is None
        else (VerifierKey(origin, ED25519, public_key), VerifierKey(origin, ML_DSA_44_COSIGNATURE, checkpoint_key))
        for public_key, checkpoint_key in notary_keys
    )


def sign_ed25519(checkpoint: Checkpoint, name: str, public_key: bytes, sign: Sign) -> NoteSignature:
    """Sign as the log itself, over the text (type 0x01)."""
    return NoteSignature(name, VerifierKey(name, ED25519, public_key).key_id, sign(checkpoint.text().encode()))


def cosign_ed25519(checkpoint: Checkpoint, name: str, public_key: bytes, sign: Sign, timestamp_s: int) -> NoteSignature:
    """Cosign at a time (type 0x04)."""
    stamp = _stamp(timestamp_s)
    key = VerifierKey(name, ED25519_COSIGNATURE, public_key)
    return NoteSignature(name, key.key_id, stamp + sign(_cosignature_v1(checkpoint, timestamp_s)))


def cosign_ml_dsa_44(
    checkpoint: Checkpoint, name: str, public_key: bytes, sign: Sign, timestamp_s: int
) -> NoteSignature:
    """Sign or cosign at a time with ML-DSA-44 (type 0x06)."""
    stamp = _stamp(timestamp_s)
    key = VerifierKey(name, ML_DSA_44_COSIGNATURE, public_key)
    return NoteSignature(name, key.key_id, stamp + sign(_subtree_v1(checkpoint, name, timestamp_s)))


def open_checkpoint(document: bytes, keys: Iterable[VerifierKey]) -> SignedCheckpoint:
    """Parse a checkpoint and verify every line that claims to be of one of the keys; lines of others are ignored.

    Raises `NoteInvalid` where one of them is wrong, or none is there. A key of type 0x01 is a log's own: it counts for
    the origin that it is named after, and for no other. Which of the keys must have signed is the caller's to ask.
    """
    note = parse_note(document)
    checkpoint = parse_checkpoint(note)
    signed_at: dict[VerifierKey, int] = {}
    for key in keys:
        line = note.signed_by(key)
        if line is not None:
            signed_at[key] = _verified(checkpoint, key, line.signature)
    if not signed_at:
        raise NoteInvalid(f"the checkpoint of {checkpoint.origin} is signed by none of the keys that are known")
    return SignedCheckpoint(checkpoint, note, signed_at)


def open_log_checkpoint(document: bytes, pairs: Iterable[LogPair]) -> SignedCheckpoint:
    """Return a checkpoint that one of the log's notaries has signed with all of its keys. Raises `NoteInvalid`.

    Neither algorithm alone is to be enough to forge a tree head, nor a key of each of two notaries. A key that stands
    beside another in some pair does not count alone, though another pair has it so. Cosignatures are not looked at.
    """
    known = tuple(pairs)
    if not known:
        raise NoteInvalid("no notary of this log is known: root certified none, or the keys at hand are of another log")
    signed = open_checkpoint(document, dict.fromkeys(key for pair in known for key in pair))
    together = {key for pair in known if len(pair) > 1 for key in pair}
    needed = [pair for pair in known if len(pair) > 1 or pair[0] not in together]
    if not any(all(key in signed.signed_at for key in pair) for pair in needed):
        raise NoteInvalid(f"the checkpoint of {signed.checkpoint.origin} is not signed by all keys of its notary")
    return signed


def _verified(checkpoint: Checkpoint, key: VerifierKey, signature: bytes) -> int:
    """Verify a signature and return its time."""
    if key.kind == ED25519:
        if key.name != checkpoint.origin:
            raise NoteInvalid(f"the key of {key.name} does not sign for {checkpoint.origin}")
        _check(key, signature, checkpoint.text().encode())
        return 0
    timestamp_s, stamped = int.from_bytes(signature[:_TIMESTAMP_BYTES], "big"), signature[_TIMESTAMP_BYTES:]
    if timestamp_s > MAX_NUMBER:
        raise NoteInvalid("a cosignature's time is out of range")
    if key.kind == ED25519_COSIGNATURE:
        _check(key, stamped, _cosignature_v1(checkpoint, timestamp_s))
    else:
        _check(key, stamped, _subtree_v1(checkpoint, key.name, timestamp_s))
    return timestamp_s


def _check(key: VerifierKey, signature: bytes, message: bytes) -> None:
    kind = MLDSA44PublicKey if key.kind == ML_DSA_44_COSIGNATURE else Ed25519PublicKey
    try:
        kind.from_public_bytes(key.public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise NoteInvalid(f"the signature of {key.name} on the checkpoint is wrong") from None


def _stamp(timestamp_s: int) -> bytes:
    if not 0 <= timestamp_s <= MAX_NUMBER:
        raise NoteInvalid("a cosignature's time is out of range")
    return timestamp_s.to_bytes(_TIMESTAMP_BYTES, "big")


def _cosignature_v1(checkpoint: Checkpoint, timestamp_s: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp_s}\n{checkpoint.text()}".encode()


def _subtree_v1(checkpoint: Checkpoint, name: str, timestamp_s: int) -> bytes:
    """The structure `cosigned_message` of c2sp.org/tlog-cosignature, for a whole tree."""
    cosigner, origin = name.encode(), checkpoint.origin.encode()
    if not 0 < len(cosigner) < 256 or not 0 < len(origin) < 256:
        raise NoteInvalid("names of cosigners and origins have 1 to 255 bytes")
    return b"".join(
        (
            _LABEL,
            len(cosigner).to_bytes(1, "big") + cosigner,
            timestamp_s.to_bytes(8, "big"),
            len(origin).to_bytes(1, "big") + origin,
            (0).to_bytes(8, "big"),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )
