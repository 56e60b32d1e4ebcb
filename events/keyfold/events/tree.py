"""RFC 9162 Merkle trees that grow: append, roots, and proofs of inclusion and consistency. Pure.

A tree is held as its compact range: the roots of its perfect subtrees, largest first, at most 64 hashes of any size.
Proofs are computed from hashes that lie elsewhere (`Node`); none are stored here. Checking inclusion is in `merkle`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from keyfold.events.merkle import ProofInvalid, node_hash, verify_inclusion

__all__ = [
    "TILE_HEIGHT",
    "CompactRange",
    "Node",
    "Subtree",
    "consistency_path",
    "inclusion_path",
    "range_hash",
    "verify_consistency",
    "verify_inclusion",
]

TILE_HEIGHT: Final = 8
"""A tile spans so many levels (C2SP tlog-tiles): level `l` of tiles holds the subtrees of height `8 * l`."""

Node = Callable[[int, int], bytes]
"""Returns MTH(D[i * 2^h : (i + 1) * 2^h]) of a height and an index; only of subtrees that are complete."""

Subtree = tuple[int, int, bytes]
"""A perfect subtree: height, index at that height, hash."""


class CompactRange:
    """A tree of `size` leaves as the roots of its perfect subtrees, from left to right. Not for use by two tasks."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if size < 0 or len(self.peaks) != size.bit_count() or any(len(peak) != 32 for peak in self.peaks):
            raise ValueError("a compact range has one hash for each bit of its size that is set")

    def copy(self) -> "CompactRange":
        """Return one that grows by itself."""
        return CompactRange(self.size, self.peaks)

    def append(self, leaf: bytes) -> Iterator[Subtree]:
        """Add a leaf hash, at once; the iterator gives the perfect subtrees that it completes, lowest first."""
        completed: list[Subtree] = []
        index, height, node = self.size, 0, leaf
        while index & 1:
            node = sha256(b"\x01" + self.peaks.pop() + node).digest()
            index, height = index >> 1, height + 1
            completed.append((height, index, node))
        self.peaks.append(node)
        self.size += 1
        return iter(completed)

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes."""
        peaks, size = list(self.peaks), self.size
        for leaf in leaves:
            node, index = leaf, size
            while index & 1:
                node = sha256(b"\x01" + peaks.pop() + node).digest()
                index >>= 1
            peaks.append(node)
            size += 1
        self.peaks, self.size = peaks, size

    def root(self) -> bytes:
        """Return MTH of the tree; of none, SHA-256 of the empty string (RFC 9162, section 2.1.1)."""
        if not self.peaks:
            return sha256(b"").digest()
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


def range_hash(start: int, end: int, node: Node) -> bytes:
    """Return MTH(D[start:end]) of a subtree whose start is a multiple of the smallest power of two >= its length."""
    peaks: list[bytes] = []
    at = start
    while at < end:
        height = (end - at).bit_length() - 1
        peaks.append(node(height, at >> height))
        at += 1 << height
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def inclusion_path(index: int, size: int, node: Node) -> tuple[bytes, ...]:
    """Return PATH(index, D[size]), RFC 9162 section 2.1.3.1, lowest sibling first. Raises ValueError out of range."""
    if not 0 <= index < size:
        raise ValueError("the leaf is outside the tree")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            path.append(range_hash(split, end, node))
            end = split
        else:
            path.append(range_hash(start, split, node))
            start = split
    return tuple(reversed(path))


def consistency_path(old: int, new: int, node: Node) -> tuple[bytes, ...]:
    """Return PROOF(old, D[new]), RFC 9162 section 2.1.4.1. Raises ValueError unless 0 < old <= new."""
    if not 0 < old <= new:
        raise ValueError("a consistency proof is between a tree and one that is not smaller")
    path: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        split = start + _split(end - start)
        if old <= split:
            path.append(range_hash(split, end, node))
            end = split
        else:
            path.append(range_hash(start, split, node))
            start, whole = split, False
    if not whole:
        path.append(range_hash(start, end, node))
    return tuple(reversed(path))


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    """Raise `ProofInvalid` unless the tree of `new` leaves extends that of `old`, RFC 9162 section 2.1.4.2.

    Of a tree without leaves everything is an extension; then, and between equal sizes, the path is empty.
    """
    if not 0 <= old <= new:
        raise ProofInvalid("the older tree is larger than the newer one")
    if old in (0, new):
        if path or (old == new and old_root != new_root):
            raise ProofInvalid("two trees of one size differ, or a path stands where none belongs")
        return
    hashes = list(path)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        raise ProofInvalid("the path is too short")
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    older = newer = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofInvalid("the path is too long")
        if node & 1 or node == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or older != old_root or newer != new_root:
        raise ProofInvalid("the newer tree does not extend the older one")


def _split(count: int) -> int:
    """Return the largest power of two below a count of at least two."""
    return 1 << (count - 1).bit_length() - 1
