"""Where the notary stands in one partition, as a value and as the bytes of its state record; and how it moves on. Pure.

A position is bounded by the depth of the tree: peaks, no leaves. It is private state, covered by the signed head of
the state topic, and no source of trust: whatever it says must lead to the heads that were signed (`Expected`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from keyfold.events import strictjson, topics
from keyfold.events.chains import Place
from keyfold.events.statements import ChainHead
from keyfold.events.tree import CompactRange
from keyfold.events.trust import Trust
from keyfold.log import StateCorrupt
from keyfold.notary.errors import LogContradictsHead
from keyfold.notary.growing import Anchor, Level, grow
from keyfold.notary.token import Head


@dataclass(frozen=True, slots=True)
class Position:
    """A tree, the Kafka offset behind its last leaf, the last checkpoint, and what was believed on the way.

    `places` are the authors' chains by role, `signers` the last statement number of each signing key, `untrusted`
    counts records that were not authentic: leaves all the same. `signed` are heads that were published: the last
    checkpoint's, and what must be reached when an older state is read on from, however often that is begun.
    """

    tree: CompactRange = field(default_factory=CompactRange)
    next: int = 0
    anchor: Anchor = field(default_factory=Anchor)
    places: Mapping[str, Place] = field(default_factory=lambda: MappingProxyType({}))
    signers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    untrusted: int = 0
    signed: tuple[Head, ...] = ()

    @property
    def head(self) -> Head:
        """Size and root of the tree."""
        return self.tree.size, self.tree.root()

    def published(self) -> "Position":
        """Return the position whose tree has its checkpoint."""
        return replace(self, anchor=Anchor(self.tree), signed=(self.head,))

    def is_outdated(self, partition: int, trust: Trust) -> bool:
        """Tell whether statements were believed that a later revocation took back."""
        place = f"{topics.EVENTS}/{partition}"
        return any(
            signer in trust.revocations and n > trust.revocations[signer].get(place, 0)
            for signer, n in self.signers.items()
        )

    def to_bytes(self) -> bytes:
        """Return the state record's value."""
        anchor = self.anchor
        siblings = {str(height): node.hex() for height, node in anchor.siblings.items()}
        return strictjson.canonical(
            {
                "tree": _dump(self.tree),
                "next": self.next,
                # None where the last checkpoint is of this very tree, as nearly always.
                "anchor": None if anchor.tree.size == self.tree.size else [_dump(anchor.tree), siblings],
                "places": {role: [p.head.n, p.head.digest, p.leaf, p.leaves] for role, p in self.places.items()},
                "signers": dict(self.signers),
                "untrusted": self.untrusted,
                # None where the last checkpoint's is the only one, as nearly always.
                "signed": None
                if self.signed == _signed(anchor)
                else [[size, root.hex()] for size, root in self.signed],
            }
        )


def parse_position(document: bytes) -> Position:
    """Read what `to_bytes` wrote. Raises `StateCorrupt`."""
    try:
        stored: dict[str, Any] = json.loads(document)
        tree = _load(stored["tree"])
        anchor = Anchor(tree)
        if stored["anchor"] is not None:
            before, siblings = stored["anchor"]
            anchor = Anchor(_load(before), {int(height): bytes.fromhex(node) for height, node in siblings.items()})
        places = {
            role: Place(ChainHead(n, digest), leaf, leaves)
            for role, (n, digest, leaf, leaves) in stored["places"].items()
        }
        heads = stored.get("signed")
        signed = _signed(anchor) if heads is None else tuple((int(size), bytes.fromhex(root)) for size, root in heads)
        return Position(tree, stored["next"], anchor, places, stored["signers"], stored["untrusted"], signed)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateCorrupt(f"a position of the notary does not parse: {type(error).__name__}") from None


@dataclass(frozen=True, slots=True)
class Expected:
    """What was signed or kept of a partition before, and must be found again: heads, and the last published size.

    Everything up to `published` is on the tiles topic. Nothing is signed below `floor`.
    """

    published: int = 0
    heads: tuple[Head, ...] = ()

    @property
    def floor(self) -> int:
        """The largest size that was signed or kept."""
        return max((size for size, _ in self.heads), default=0)

    @property
    def largest(self) -> Head | None:
        """The head of that size."""
        return max(self.heads, default=None)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a partition goes on from: a position, what must be found again, and what the state topic holds of it."""

    position: Position
    expected: Expected
    stored: bytes | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read behind a position: leaf hashes, the offsets of their records, what was believed of them."""

    leaves: Sequence[bytes]
    offsets: Sequence[int]
    places: Mapping[str, Place]
    signers: Mapping[str, int]
    untrusted: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A record for the tiles topic: hashes of one level; of leaves, also the offsets of their records."""

    level: Level
    offsets: Sequence[int] = ()


def advance(partition: int, at: Position, batch: Batch, expected: Expected) -> tuple[Position, list[Run]]:
    """Return the position behind a batch, and the runs that the tiles topic lacks up to there.

    Raises `LogContradictsHead` where the tree, on its way, has not the root that a head names.
    """
    tree, anchor, runs, start = at.tree, at.anchor, list[Run](), at.tree.size
    for stop in _stops(start, start + len(batch.leaves), expected):
        growth = grow(tree, batch.leaves[tree.size - start : stop - start])
        if tree.size >= expected.published:
            anchor = anchor.grown(growth)
            for level in growth.runs():
                first = level.first - start
                runs.append(Run(level, () if level.height else batch.offsets[first : first + len(level.hashes)]))
        tree = growth.after
        if any(size == stop and root != tree.root() for size, root in expected.heads):
            raise LogContradictsHead(partition, stop)
        if stop == expected.published > start:
            anchor = Anchor(tree)
    behind = batch.offsets[-1] + 1 if batch.offsets else at.next
    return Position(tree, behind, anchor, batch.places, batch.signers, batch.untrusted, at.signed), runs


def _stops(start: int, end: int, expected: Expected) -> Iterator[int]:
    """Yield the sizes at which something is to be compared on the way, and the end."""
    sizes = {expected.published, *(size for size, _ in expected.heads)}
    yield from sorted({size for size in sizes if start <= size < end} | {end})


def _signed(anchor: Anchor) -> tuple[Head, ...]:
    """The head of an anchor's tree, if there was a checkpoint."""
    return ((anchor.tree.size, anchor.tree.root()),) if anchor.tree.size else ()


def _dump(tree: CompactRange) -> list[Any]:
    return [tree.size, [peak.hex() for peak in tree.peaks]]


def _load(stored: list[Any]) -> CompactRange:
    size, peaks = stored
    return CompactRange(size, map(bytes.fromhex, peaks))
