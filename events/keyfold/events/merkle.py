"""RFC 9162 Merkle trees over small lists: roots, inclusion paths and their check (sections 2.1.1 to 2.1.3).

It knows nothing of records; a leaf is any byte string.
"""

from collections.abc import Sequence
from hashlib import sha256

from keyfold.events.errors import RecordError


class ProofInvalid(RecordError):
    """A path does not lead from the leaf, or from the older root, to the root."""

    code = "ProofInvalid"


def leaf_hash(entry: bytes) -> bytes:
    """MTH({d(0)}) = SHA-256(0x00 || d(0)), RFC 9162 section 2.1.1."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), RFC 9162 section 2.1.1."""
    return sha256(b"\x01" + left + right).digest()


def levels_of(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return all levels from leaf hashes to the root; a last odd node rises unchanged.

    This shape equals the recursive definition, where the left subtree is the largest full one.
    """
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        above = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        if len(below) % 2:
            above.append(below[-1])
        levels.append(above)
    return levels


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes; of none it is SHA-256 of the empty string."""
    return levels_of(leaves)[-1][0] if leaves else sha256(b"").digest()


def path_of(levels: Sequence[Sequence[bytes]], index: int) -> tuple[bytes, ...]:
    """Return the inclusion path of one leaf, RFC 9162 section 2.1.3.1, lowest sibling first."""
    path = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index //= 2
    return tuple(path)


def paths_of(levels: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return the inclusion paths of all leaves, each concatenated: those of `path_of`, made from the root down."""
    above = [b""]
    for level in reversed(levels[:-1]):
        last = len(level) - 1
        above = [(level[index ^ 1] if index ^ 1 <= last else b"") + above[index >> 1] for index in range(len(level))]
    return above


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raise `ProofInvalid` unless the path leads from the leaf to the root, RFC 9162 section 2.1.3.2."""
    if not 0 <= index < size:
        raise ProofInvalid("the leaf index is outside the tree")
    if len(leaf) != 32:
        raise ProofInvalid("a leaf hash has 32 bytes")
    node, last = index, size - 1
    result = leaf
    for sibling in path:
        if last == 0:
            raise ProofInvalid("the path is too long")
        if node % 2 or node == last:
            result = node_hash(sibling, result)
            while not node % 2 and node:
                node //= 2
                last //= 2
        else:
            result = node_hash(result, sibling)
        node //= 2
        last //= 2
    if last != 0 or result != root:
        raise ProofInvalid("the path does not lead to the signed root")
