"""Trees that grow: RFC 9162 roots, proofs of inclusion and consistency, and what is no proof."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from keyfold.events.merkle import ProofInvalid, leaf_hash, root_of
from keyfold.events.tree import (
    TILE_HEIGHT,
    CompactRange,
    Node,
    consistency_path,
    inclusion_path,
    range_hash,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(bytes([number])) for number in range(21)]


def node(height: int, index: int) -> bytes:
    """Hashes of complete subtrees over the leaves; nobody may ask for others."""
    start, end = index << height, (index + 1) << height
    assert end <= len(LEAVES)
    return root_of(LEAVES[start:end])


def grown(size: int) -> CompactRange:
    """A tree over the first leaves."""
    made = CompactRange()
    made.extend(LEAVES[:size])
    return made


@pytest.mark.parametrize("size", range(len(LEAVES) + 1))
def test_root(size: int) -> None:
    """However it grew, a tree has the root of its leaves, in one hash for each bit of its size."""
    one = CompactRange()
    for leaf in LEAVES[:size]:
        one.append(leaf)
    assert one.root() == grown(size).root() == root_of(LEAVES[:size])
    assert one.size == size
    assert len(one.peaks) == size.bit_count()
    assert CompactRange(size, one.peaks).root() == one.root()


def test_append_gives_what_it_completes() -> None:
    """Each leaf completes as many subtrees as its number in binary ends in ones, lowest first."""
    tree = CompactRange()
    completed = [[(height, index) for height, index, _ in tree.append(leaf)] for leaf in LEAVES[:8]]
    assert completed == [[], [(1, 0)], [], [(1, 1), (2, 0)], [], [(1, 2)], [], [(1, 3), (2, 1), (3, 0)]]


def test_append_need_not_be_read() -> None:
    """A leaf is added at once, whoever reads what it completed."""
    tree = grown(3)
    completed = tree.append(LEAVES[3])
    assert (tree.size, tree.root()) == (4, root_of(LEAVES[:4]))
    assert list(completed) == [(1, 1, root_of(LEAVES[2:4])), (2, 0, root_of(LEAVES[:4]))]


def test_a_copy_grows_by_itself() -> None:
    """A tree does not change with its copy."""
    tree = grown(5)
    copy = tree.copy()
    copy.extend(LEAVES[5:8])
    assert (tree.size, tree.root()) == (5, root_of(LEAVES[:5]))
    assert (copy.size, copy.root()) == (8, root_of(LEAVES[:8]))


def test_an_interrupted_extension_changes_nothing() -> None:
    """Where the source of leaves fails, the tree is what it was."""

    def broken() -> Any:
        yield from LEAVES[3:9]
        raise OSError("the source of leaves")

    tree = grown(3)
    with pytest.raises(OSError, match="source"):
        tree.extend(broken())
    assert (tree.size, tree.root()) == (3, root_of(LEAVES[:3]))


@pytest.mark.parametrize(
    ("size", "peaks"), [(1, []), (0, [bytes(32)]), (3, [bytes(32)]), (2, [bytes(31)]), (-1, [bytes(32)])]
)
def test_no_compact_range(size: int, peaks: list[bytes]) -> None:
    """Hashes that do not fit the size are a mistake of the caller."""
    with pytest.raises(ValueError, match="one hash for each bit"):
        CompactRange(size, peaks)


def test_tiles_have_the_published_height() -> None:
    """C2SP tlog-tiles: a tile is a subtree of height 8."""
    assert TILE_HEIGHT == 8


def test_range_hash() -> None:
    """A range on a boundary has the root of its leaves."""
    for start, end in ((0, 1), (0, 21), (16, 21), (8, 16), (8, 13), (20, 21)):
        assert range_hash(start, end, node) == root_of(LEAVES[start:end])


def test_inclusion_and_consistency_of_every_size() -> None:
    """All leaves of all sizes are proven, and all trees with all later ones."""
    for size in range(1, len(LEAVES) + 1):
        root = root_of(LEAVES[:size])
        for number in range(size):
            verify_inclusion(LEAVES[number], number, size, inclusion_path(number, size, node), root)
            older = number + 1
            path = consistency_path(older, size, node)
            verify_consistency(older, size, root_of(LEAVES[:older]), root, path)


def test_published_consistency(vectors: Callable[[str], Any]) -> None:
    """Consistency paths of the certificate-transparency reference tests, which RFC 6962 names in section 2.1.3."""
    golden = vectors("merkle")
    hashes = [leaf_hash(bytes.fromhex(text)) for text in golden["inputs_hex"]]
    made: Node = lambda height, index: root_of(hashes[index << height : (index + 1) << height])  # noqa: E731
    roots = {case["size"]: bytes.fromhex(case["root"]) for case in golden["cases"]}
    known = {(case["old"], case["new"]): case["path"] for case in golden["consistency"]}
    for places, starts in PUBLISHED.items():
        assert [text[:8] for text in known[places]] == starts
    for (old, new), path in known.items():
        nodes = tuple(bytes.fromhex(text) for text in path)
        assert consistency_path(old, new, made) == nodes
        verify_consistency(old, new, roots[old], roots[new], nodes)


PUBLISHED = {
    (1, 1): [],
    (1, 8): ["96a296d2", "5f083f0a", "6b47aaf2"],
    (6, 8): ["0ebc5d34", "ca854ea1", "d37ee418"],
    (2, 5): ["5f083f0a", "bc1a0643"],
}


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0)])
def test_no_path_outside(index: int, size: int) -> None:
    """A leaf that is not in the tree is a mistake of the caller."""
    with pytest.raises(ValueError, match="outside"):
        inclusion_path(index, size, node)


@pytest.mark.parametrize(("old", "new"), [(0, 4), (5, 4), (-1, 4)])
def test_no_consistency_path(old: int, new: int) -> None:
    """There is no proof from nothing, nor to a smaller tree."""
    with pytest.raises(ValueError, match="not smaller"):
        consistency_path(old, new, node)


def test_everything_extends_nothing() -> None:
    """From no leaves to any tree the path is empty; between equal sizes the roots must be equal."""
    root = root_of(LEAVES[:7])
    verify_consistency(0, 7, root_of([]), root, [])
    verify_consistency(7, 7, root, root, [])
    verify_consistency(0, 0, root_of([]), root_of([]), [])


@pytest.mark.parametrize(
    ("old", "new", "path"), [(0, 7, [bytes(32)]), (7, 7, [bytes(32)]), (7, 6, []), (-1, 6, []), (3, 7, []), (4, 7, [])]
)
def test_no_consistency(old: int, new: int, path: list[bytes]) -> None:
    """A path where none belongs, none where one belongs, and sizes that fall are refused."""
    with pytest.raises(ProofInvalid):
        verify_consistency(old, new, root_of(LEAVES[: max(old, 0)]), root_of(LEAVES[:new]), path)


def test_equal_sizes_with_other_roots() -> None:
    """Two trees of one size that differ are what the proof is there to find."""
    with pytest.raises(ProofInvalid, match="differ"):
        verify_consistency(7, 7, root_of(LEAVES[:7]), sha256(b"another").digest(), [])


def test_a_path_that_goes_on() -> None:
    """What goes on after the root is refused."""
    path = [*consistency_path(3, 7, node), bytes(32)]
    with pytest.raises(ProofInvalid, match="too long"):
        verify_consistency(3, 7, root_of(LEAVES[:3]), root_of(LEAVES[:7]), path)


def test_a_changed_leaf_is_no_extension() -> None:
    """A tree in which an older leaf was changed does not extend the older one, whatever path is shown."""
    forged = [LEAVES[0], sha256(b"forged").digest(), *LEAVES[2:7]]
    made: Node = lambda height, index: root_of(forged[index << height : (index + 1) << height])  # noqa: E731
    for old in range(2, 7):
        with pytest.raises(ProofInvalid):
            verify_consistency(old, 7, root_of(LEAVES[:old]), root_of(forged), consistency_path(old, 7, made))
