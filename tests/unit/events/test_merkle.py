"""Merkle trees: RFC 9162 roots and inclusion paths."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from keyfold.events.merkle import (
    ProofInvalid,
    leaf_hash,
    levels_of,
    node_hash,
    path_of,
    root_of,
    verify_inclusion,
)

# The certificate-transparency reference vectors (RFC 6962, unchanged in RFC 9162).
INPUTS = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
PATHS = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
LEAVES = [leaf_hash(bytes.fromhex(text)) for text in INPUTS]


def test_empty_root() -> None:
    """The root of nothing is SHA-256 of the empty string."""
    assert root_of([]) == sha256(b"").digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size: int) -> None:
    """Roots are those of the published vectors."""
    assert root_of(LEAVES[:size]).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("place", "path"), PATHS.items(), ids=str)
def test_published_paths(place: tuple[int, int], path: tuple[str, ...]) -> None:
    """Inclusion paths are those of the published vectors, and lead to the root."""
    index, size = place
    made = path_of(levels_of(LEAVES[:size]), index)
    assert tuple(node.hex() for node in made) == path
    verify_inclusion(LEAVES[index], index, size, made, bytes.fromhex(ROOTS[size - 1]))


def test_golden_vectors(vectors: Callable[[str], Any]) -> None:
    """The project's own vectors hold the published roots and every path."""
    golden = vectors("merkle")
    assert tuple(case["root"] for case in golden["cases"]) == ROOTS
    for case in golden["cases"]:
        for index, path in enumerate(case["paths"]):
            nodes = [bytes.fromhex(node) for node in path]
            verify_inclusion(LEAVES[index], index, case["size"], nodes, bytes.fromhex(case["root"]))


def test_leaf_and_node_are_apart() -> None:
    """A node cannot pass for a leaf: their hashes have different prefixes."""
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


@pytest.mark.parametrize("index", [-1, 8, 9])
def test_index_outside(index: int) -> None:
    """An index outside the tree is refused."""
    with pytest.raises(ProofInvalid, match="outside"):
        verify_inclusion(LEAVES[0], index, 8, [], bytes(32))


def test_no_leaf_in_an_empty_tree() -> None:
    """Nothing is included in a tree of no leaves."""
    with pytest.raises(ProofInvalid):
        verify_inclusion(LEAVES[0], 0, 0, [], root_of([]))


def test_path_too_long() -> None:
    """A path that goes on after the root is refused."""
    with pytest.raises(ProofInvalid, match="too long"):
        verify_inclusion(LEAVES[0], 0, 1, [bytes(32)], LEAVES[0])


@pytest.mark.parametrize("size", [2, 3, 7, 8])
def test_path_too_short(size: int) -> None:
    """A path that ends below the root is refused, also where its last node is the root."""
    levels = levels_of(LEAVES[:size])
    path = path_of(levels, 0)
    with pytest.raises(ProofInvalid, match="does not lead"):
        verify_inclusion(LEAVES[0], 0, size, path[:-1], levels[-1][0])


def test_right_path_of_another_leaf() -> None:
    """A path is good for its own index only."""
    levels = levels_of(LEAVES)
    with pytest.raises(ProofInvalid):
        verify_inclusion(LEAVES[0], 1, 8, path_of(levels, 0), levels[-1][0])
