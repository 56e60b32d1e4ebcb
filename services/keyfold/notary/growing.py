"""How a tree grows by a batch of leaves: new hashes level by level, what is stored of them, and consistency. Pure.

A batch is hashed level by level, not leaf by leaf, because that is the notary's hot path. What has to be remembered of
a tree to prove later that it was extended is bounded (`Anchor`): its perfect subtrees, and those next to its last leaf.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from keyfold.events.tree import TILE_HEIGHT, CompactRange, consistency_path

MAX_RUN: Final = 8192
"""Hashes of one record of the tiles topic: 256 KiB, and 64 KiB of offsets."""


@dataclass(frozen=True, slots=True)
class Level:
    """New hashes of the perfect subtrees of one height, from index `first` on, without a gap."""

    height: int
    first: int
    hashes: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Growth:
    """A tree before and after a batch, and every hash that the batch completed, lowest height first."""

    before: CompactRange
    after: CompactRange
    levels: Sequence[Level]

    def runs(self) -> Iterator[Level]:
        """Yield what the tiles topic gets: the levels of tiles (C2SP tlog-tiles), in runs of bounded length."""
        for level in self.levels[::TILE_HEIGHT]:
            for start in range(0, len(level.hashes), MAX_RUN):
                part = level.hashes[start : start + MAX_RUN]
                yield Level(level.height, level.first + start, part)


def grow(before: CompactRange, leaves: Sequence[bytes]) -> Growth:
    """Append leaf hashes to a tree. `before` stays as it is."""
    size = before.size + len(leaves)
    old, levels = peaks_of(before), list[Level]()
    new, first = list(leaves), before.size
    while new:
        height = len(levels)
        levels.append(Level(height, first, new))
        # A left sibling that was complete already is a peak of the old tree.
        row = [old[height, first - 1], *new] if first & 1 else new
        first = first - (first & 1) >> 1
        new = [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]
    peaks = [_peak(height, (size >> height) - 1, levels, old) for height in _heights(size)]
    return Growth(before, CompactRange(size, peaks), levels)


def peaks_of(tree: CompactRange) -> dict[tuple[int, int], bytes]:
    """Return the perfect subtrees of a tree by height and index."""
    return {
        (height, (tree.size >> height) - 1): peak for height, peak in zip(_heights(tree.size), tree.peaks, strict=True)
    }


def _heights(size: int) -> list[int]:
    """The heights of a tree's perfect subtrees, from left to right."""
    return [height for height in range(size.bit_length() - 1, -1, -1) if size >> height & 1]


def _peak(height: int, index: int, levels: Sequence[Level], old: Mapping[tuple[int, int], bytes]) -> bytes:
    if height < len(levels) and index >= levels[height].first:
        return levels[height].hashes[index - levels[height].first]
    return old[height, index]


@dataclass(frozen=True, slots=True)
class Anchor:
    """The tree of the last checkpoint, and what is needed to prove that a larger one extends it.

    `siblings` are, by height, the perfect subtrees that have completed to the right of the one with its last leaf.
    """

    tree: CompactRange = field(default_factory=CompactRange)
    siblings: Mapping[int, bytes] = field(default_factory=lambda: MappingProxyType({}))

    def grown(self, growth: Growth) -> "Anchor":
        """Return the anchor with what a batch completed."""
        found = dict(self.siblings)
        for level in growth.levels if self.tree.size else ():
            place = (self.tree.size - 1 >> level.height) + 1 - level.first
            if 0 <= place < len(level.hashes):
                found[level.height] = level.hashes[place]
        return Anchor(self.tree, found)

    def path(self, tree: CompactRange) -> tuple[bytes, ...]:
        """Return the consistency proof (RFC 9162, section 2.1.4.1) to a tree that is not smaller; none from nothing."""
        if not self.tree.size:
            return ()
        known = {**peaks_of(tree), **peaks_of(self.tree)}
        for height, node in self.siblings.items():
            known[height, (self.tree.size - 1 >> height) + 1] = node
        return consistency_path(self.tree.size, tree.size, lambda height, index: known[height, index])
