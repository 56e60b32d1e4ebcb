"""Merkle trees against the recursive definition of RFC 9162, and statements that refuse every altered bit."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfold.events import merkle
from keyfold.events.merkle import ProofInvalid, levels_of, path_of, paths_of, root_of, verify_inclusion
from keyfold.events.statements import (
    PATH_HEADER,
    STATEMENT_HEADER,
    Chain,
    ChainHead,
    Entry,
    UntrustedRecord,
    parse_statement,
    sign_entries,
    verify_entry,
)

CHAIN = Chain("d" * 64, "keyfold.events", "policy", 1)


def split(size: int) -> int:
    """The largest power of two smaller than the size (RFC 9162 section 2.1.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def tree_hash(entries: list[bytes]) -> bytes:
    """MTH, written down as the RFC defines it."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return sha256(b"\x01" + tree_hash(entries[:k]) + tree_hash(entries[k:])).digest()


def path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH(m, D_n), written down as the RFC defines it (section 2.1.3.1)."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*path(m, entries[:k]), tree_hash(entries[k:])]
    return [*path(m - k, entries[k:]), tree_hash(entries[:k])]


@pytest.mark.parametrize("size", range(1, 65))
def test_roots_and_paths(size: int) -> None:
    """For every size up to 64: the root, every path and its check are those of the recursive definition."""
    entries = [bytes([i, size]) for i in range(size)]
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    levels, root = levels_of(leaves), tree_hash(entries)
    assert root_of(leaves) == levels[-1][0] == root
    for index, leaf in enumerate(leaves):
        expected = path(index, entries)
        assert list(path_of(levels, index)) == expected
        assert paths_of(levels)[index] == b"".join(expected)
        verify_inclusion(leaf, index, size, expected, root)


@pytest.mark.parametrize("size", [*range(1, 18), 31, 33, 64])
def test_no_other_place(size: int) -> None:
    """A leaf's path proves no other index, and no other size that would need a path of another shape."""
    entries = [bytes([i]) for i in range(size)]
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    levels, root = levels_of(leaves), tree_hash(entries)
    for index, leaf in enumerate(leaves):
        proof = path_of(levels, index)
        for other in range(size):
            if other != index:
                with pytest.raises(ProofInvalid):
                    verify_inclusion(leaf, other, size, proof, root)


@given(st.integers(1, 40), st.data())
@settings(max_examples=100, deadline=None)
def test_altered_proofs(size: int, data: st.DataObject) -> None:
    """A proof with any bit of leaf, path or root flipped, or with a node dropped, added or moved, is refused."""
    leaves = [merkle.leaf_hash(bytes([i])) for i in range(size)]
    levels = levels_of(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof, root = list(path_of(levels, index)), levels[-1][0]
    bit = data.draw(st.integers(0, 255))
    altered = [(flip(leaves[index], bit), proof, root), (leaves[index], proof, flip(root, bit))]
    altered += [(leaves[index], [*proof, node], root) for node in (root, bytes(32))]
    for at in range(len(proof)):
        altered.append((leaves[index], [*proof[:at], flip(proof[at], bit), *proof[at + 1 :]], root))
        altered.append((leaves[index], [*proof[:at], *proof[at + 1 :]], root))
    if len(proof) > 1:
        altered.append((leaves[index], proof[::-1], root))
    for leaf, nodes, claimed in altered:
        with pytest.raises(ProofInvalid):
            verify_inclusion(leaf, index, size, nodes, claimed)


@given(st.binary(max_size=200), st.integers(-1, 2**32), st.integers(0, 2**32), st.binary(min_size=32, max_size=32))
@settings(max_examples=100, deadline=None)
def test_random_proofs(nodes: bytes, index: int, size: int, root: bytes) -> None:
    """Random proofs are refused with the one typed error."""
    cut = [nodes[i : i + 32] for i in range(0, len(nodes), 32)]
    with pytest.raises(ProofInvalid):
        verify_inclusion(bytes(32), index, size, cut, root if root != bytes(32) else b"\x01" * 32)


@given(
    st.lists(
        st.tuples(st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=20)), min_size=1, max_size=12
    ),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_altered_records(records: list[tuple[bytes, bytes, bytes]], data: st.DataObject) -> None:
    """Every record verifies at its own leaf; with any bit of key, value, sealed body or path altered it does not."""
    entries = [Entry(*record) for record in records]
    _, headers = sign_entries(CHAIN, ChainHead(), entries, "f" * 64, lambda message: bytes(64))
    at = data.draw(st.integers(0, len(entries) - 1))
    named = dict(headers[at])
    statement, proof, entry = parse_statement(named[STATEMENT_HEADER]), named[PATH_HEADER], entries[at]
    assert verify_entry(statement, entry, proof) == at
    part = data.draw(st.sampled_from(["key", "value", "sealed", "path"]))
    target = {"key": entry.key, "value": entry.value, "sealed": entry.sealed, "path": proof}[part]
    bad = data.draw(st.one_of(flips(target), st.binary(max_size=40)).filter(lambda found: found != target))
    changed = Entry(
        **{"key": entry.key, "value": entry.value, "sealed": entry.sealed, **({part: bad} if part != "path" else {})}
    )
    try:
        index = verify_entry(statement, changed, bad if part == "path" else proof)
    except UntrustedRecord:
        return
    assert part == "path", "an altered record was believed"
    assert index != at
    assert entries[index] == entry, "only an equal record stands at another leaf"


def flip(data: bytes, bit: int) -> bytes:
    at = bit % (8 * len(data))
    return data[: at // 8] + bytes([data[at // 8] ^ (1 << at % 8)]) + data[at // 8 + 1 :]


def flips(data: bytes) -> st.SearchStrategy[bytes]:
    if not data:
        return st.just(b"x")
    return st.integers(0, 8 * len(data) - 1).map(lambda bit: flip(data, bit))
