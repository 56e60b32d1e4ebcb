"""Trees, notes, checkpoints and proofs: what was made verifies, nothing else does, and parsers are total."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.cosigners import ORIGIN, Cosigner, signed

from keyfold.events.checkpoints import Checkpoint, open_checkpoint, parse_checkpoint
from keyfold.events.log_leaves import entry_of, leaf_of
from keyfold.events.log_proofs import MAGIC, LogProof, parse_proof
from keyfold.events.merkle import ProofInvalid, leaf_hash, levels_of, path_of, root_of, verify_inclusion
from keyfold.events.notes import (
    ED25519,
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    Note,
    NoteInvalid,
    NoteSignature,
    VerifierKey,
    parse_note,
    parse_vkey,
)
from keyfold.events.statements import SIGNATURE_HEADER, SIGNER_HEADER, STATEMENT_HEADER
from keyfold.events.tree import CompactRange, Node, consistency_path, inclusion_path, verify_consistency

LEAVES = [leaf_hash(number.to_bytes(2, "big")) for number in range(600)]
SIGNERS = [Cosigner(ED25519), Cosigner(ML_DSA_44_COSIGNATURE), Cosigner(ED25519_COSIGNATURE, "witness.example/w1")]
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters="+"), min_size=1, max_size=20)
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.just("\n"), max_size=60)
SIGNATURES = st.builds(NoteSignature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=40))
NOTES = st.builds(
    lambda text, lines: Note(text + "\n", tuple(lines)), TEXTS, st.lists(SIGNATURES, min_size=1, max_size=4)
)
HASHES = st.binary(min_size=32, max_size=32)
HEADS = st.builds(Checkpoint, NAMES, st.integers(1, 2**63 - 1), HASHES)


def nodes_of(leaves: list[bytes]) -> Node:
    """Hashes of complete subtrees; asking for another one fails."""

    def node(height: int, index: int) -> bytes:
        assert 0 <= index << height < (index + 1) << height <= len(leaves)
        return root_of(leaves[index << height : (index + 1) << height])

    return node


def flip(data: bytes, bit: int) -> bytes:
    """The same bytes with one bit changed."""
    at = bit // 8 % len(data)
    return data[:at] + bytes([data[at] ^ (1 << bit % 8)]) + data[at + 1 :]


def altered(path: tuple[bytes, ...], bit: int) -> list[tuple[bytes, ...]]:
    """Paths that differ from this one by one bit, one node, or their order."""
    made = [(*path, bytes(32)), (bytes(32), *path), (*path, *path[-1:], bytes(31))]
    for at, node in enumerate(path):
        made += [(*path[:at], flip(node, bit), *path[at + 1 :]), (*path[:at], *path[at + 1 :])]
    return [*made, path[::-1]] if len(set(path)) > 1 else made


@given(st.integers(0, len(LEAVES)), st.integers(0, len(LEAVES)), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_compact_range_is_the_tree(first: int, more: int, by_append: bool) -> None:
    """However a tree is grown, continued from its peaks, it has the root of all its leaves."""
    size = min(len(LEAVES), first + more)
    tree = CompactRange()
    tree.extend(LEAVES[:first])
    again = CompactRange(first, tree.peaks)
    if by_append:
        for leaf in LEAVES[first:size]:
            again.append(leaf)
    else:
        again.extend(LEAVES[first:size])
    assert (again.size, again.root()) == (max(first, size), root_of(LEAVES[: max(first, size)]))
    assert tree.root() == root_of(LEAVES[:first])


@given(st.integers(1, len(LEAVES)))
@settings(max_examples=30, deadline=None)
def test_append_gives_every_subtree_once(size: int) -> None:
    """All perfect subtrees above the leaves come out, each once, with its hash, as soon as it is complete."""
    tree, found = CompactRange(), dict[tuple[int, int], bytes]()
    for number, leaf in enumerate(LEAVES[:size]):
        for height, index, node in tree.append(leaf):
            assert (index + 1) << height == number + 1
            assert (height, index) not in found
            found[height, index] = node
    expected = {(height, index) for height in range(1, 11) for index in range(size >> height)}
    assert found.keys() == expected
    assert all(node == nodes_of(LEAVES[:size])(*place) for place, node in found.items())


@given(st.integers(1, len(LEAVES)), st.data())
@settings(max_examples=100, deadline=None)
def test_inclusion(size: int, data: st.DataObject) -> None:
    """A leaf is proven in its place, and by nothing else: no bit, node, index or size may be another."""
    index = data.draw(st.integers(0, size - 1))
    bit = data.draw(st.integers(0, 255))
    leaf, root = LEAVES[index], root_of(LEAVES[:size])
    path = inclusion_path(index, size, nodes_of(LEAVES[:size]))
    assert path == path_of(levels_of(LEAVES[:size]), index)
    verify_inclusion(leaf, index, size, path, root)
    wrong: list[tuple[bytes, int, int, Any, bytes]] = [
        (flip(leaf, bit), index, size, path, root),
        (leaf, index, size, path, flip(root, bit)),
        *((leaf, index, size, other, root) for other in altered(path, bit)),
        *((leaf, other, size, path, root) for other in (index - 1, index + 1, index ^ 1, size) if other != index),
        *((leaf, index, other, path, root) for other in (0, index, 1 << len(path) + 1)),
    ]
    for case in wrong:
        with pytest.raises(ProofInvalid):
            verify_inclusion(*case)


@given(st.integers(1, len(LEAVES)), st.data())
@settings(max_examples=100, deadline=None)
def test_consistency(new: int, data: st.DataObject) -> None:
    """A tree is proven to extend an older one, and by nothing else: no bit, node or size may be another."""
    old = data.draw(st.integers(1, new))
    bit = data.draw(st.integers(0, 255))
    before, after = root_of(LEAVES[:old]), root_of(LEAVES[:new])
    path = consistency_path(old, new, nodes_of(LEAVES[:new]))
    verify_consistency(old, new, before, after, path)
    wrong: list[tuple[int, int, bytes, bytes, Any]] = [
        (old, new, flip(before, bit), after, path),
        (old, new, before, flip(after, bit), path),
        (new + 1, new, before, after, path),
        *((old, new, before, after, other) for other in altered(path, bit)),
        *((other, new, before, after, path) for other in (old - 1, old + 1) if 0 < other < new),
    ]
    for case in wrong:
        with pytest.raises(ProofInvalid):
            verify_consistency(*case)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 199), st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_rewritten_log_is_inconsistent(old: int, more: int, at: int, bit: int) -> None:
    """Whoever changes a leaf that is under an older tree finds no path in the changed tree that hides it."""
    new = min(len(LEAVES), old + more)
    forged = list(LEAVES[:new])
    forged[at % old] = flip(forged[at % old], bit)
    path = consistency_path(old, new, nodes_of(forged))
    with pytest.raises(ProofInvalid):
        verify_consistency(old, new, root_of(LEAVES[:old]), root_of(forged), path)
    assert root_of(forged[:old]) != root_of(LEAVES[:old])


@given(st.integers(-2, 2**63), st.integers(-2, 2**63), st.lists(HASHES, max_size=70), HASHES, HASHES)
@settings(max_examples=200, deadline=None)
def test_random_consistency_proofs(old: int, new: int, path: list[bytes], before: bytes, after: bytes) -> None:
    """Random proofs are refused with the one typed error, in time that sizes do not matter for."""
    if not path and old == 0 <= new:
        return
    with pytest.raises(ProofInvalid):
        verify_consistency(old, new, before, flip(before, 0) if before == after else after, path)


@given(st.lists(st.none() | st.binary(max_size=8), min_size=5, max_size=5), st.data())
@settings(max_examples=200, deadline=None)
def test_entries_are_told_apart(parts: list[bytes | None], data: st.DataObject) -> None:
    """Two records have one leaf only if all of key, value, signer, statement and signature are the same."""
    others = data.draw(st.lists(st.none() | st.binary(max_size=8), min_size=5, max_size=5))
    names = (SIGNER_HEADER, STATEMENT_HEADER, SIGNATURE_HEADER)
    made = [(key, value, list(zip(names, headers, strict=True))) for key, value, *headers in (parts, others)]
    assert (entry_of(*made[0]) == entry_of(*made[1])) == (parts == others)
    assert (leaf_of(*made[0]) == leaf_of(*made[1])) == (parts == others)


@given(NOTES)
@settings(max_examples=200, deadline=None)
def test_notes_round_trip(note: Note) -> None:
    """A note is read as it was written."""
    assert parse_note(note.to_bytes()) == note


@given(NAMES, st.sampled_from([(1, 32), (4, 32), (6, 1312)]), st.data())
@settings(max_examples=100, deadline=None)
def test_keys_round_trip(name: str, kind: tuple[int, int], data: st.DataObject) -> None:
    """A verifier key is read as it was written."""
    key = VerifierKey(name, kind[0], data.draw(st.binary(min_size=kind[1], max_size=kind[1])))
    assert parse_vkey(str(key)) == key


@given(HEADS)
@settings(max_examples=100, deadline=None)
def test_checkpoints_round_trip(head: Checkpoint) -> None:
    """A checkpoint is read as it was written."""
    assert parse_checkpoint(Note(head.text(), ())) == head


@given(st.integers(0, 2**63 - 1), st.lists(HASHES, max_size=64), st.binary(max_size=100), HEADS, SIGNATURES)
@settings(max_examples=100, deadline=None)
def test_proofs_round_trip(index: int, path: list[bytes], extra: bytes, head: Checkpoint, line: NoteSignature) -> None:
    """A proof is read as it was written."""
    made = LogProof(index, tuple(path), Note(head.text(), (line,)), extra)
    assert parse_proof(made.to_bytes()) == made


HEAD = Checkpoint(ORIGIN, 300, root_of(LEAVES[:300]))
SIGNED = signed(HEAD, SIGNERS).to_bytes()
PROVEN = LogProof(77, inclusion_path(77, 300, nodes_of(LEAVES[:300])), parse_note(SIGNED), b"extra").to_bytes()
KEYS = [signer.key for signer in SIGNERS]


@given(st.integers(0, 8 * len(SIGNED) - 1))
@settings(max_examples=300, deadline=None)
def test_no_bit_of_a_checkpoint_may_change(bit: int) -> None:
    """With any bit changed, a checkpoint is refused, or it has lost a signature: never another checkpoint or time."""
    try:
        opened = open_checkpoint(flip(SIGNED, bit), KEYS)
    except NoteInvalid:
        return
    assert opened.checkpoint == HEAD
    assert len(opened.signed_at) == len(KEYS) - 1
    assert opened.signed_at.items() <= open_checkpoint(SIGNED, KEYS).signed_at.items()


@given(st.integers(0, 8 * len(PROVEN) - 1))
@settings(max_examples=300, deadline=None)
def test_no_bit_of_a_proof_may_change(bit: int) -> None:
    """With any bit changed, a proof is refused, or it still proves the same; extra data may be other data."""
    try:
        opened = parse_proof(flip(PROVEN, bit)).verify(LEAVES[77], KEYS)
    except (NoteInvalid, ProofInvalid):
        return
    assert opened.checkpoint == HEAD


def near(document: bytes) -> st.SearchStrategy[bytes]:
    """Random bytes, and bytes that are close to a document."""
    cut = st.integers(0, len(document))
    pieces = st.sampled_from(
        [b"\n", b"\n\n", b" ", b"\xe2\x80\x94 ", b"=", b"0", b"+", b"\0", b"\xff", b"extra ", b"index "]
    )
    spliced = st.builds(
        lambda a, b, piece: document[:a] + piece + document[b:], cut, cut, pieces | st.binary(max_size=9)
    )
    return st.binary(max_size=300) | spliced | st.text(max_size=100).map(str.encode)


PARSERS: dict[str, tuple[Callable[[bytes], Any], bytes]] = {
    "note": (parse_note, SIGNED),
    "checkpoint": (lambda data: open_checkpoint(data, KEYS), SIGNED),
    "proof": (lambda data: parse_proof(data).verify(LEAVES[77], KEYS), PROVEN),
    "empty proof": (parse_proof, MAGIC.encode() + b"\nindex 0\n\n" + SIGNED),
    "key": (lambda data: parse_vkey(data.decode("utf-8", "surrogateescape")), str(KEYS[0]).encode()),
}


@pytest.mark.parametrize("name", PARSERS)
@given(st.data())
@settings(max_examples=200, deadline=None)
def test_parsers_are_total(name: str, data: st.DataObject) -> None:
    """Whatever is read, it parses, or is refused with a typed error."""
    parse, document = PARSERS[name]
    with suppress(NoteInvalid, ProofInvalid):
        parse(data.draw(near(document)))


@pytest.mark.parametrize("name", ["note", "empty proof", "key"])
@given(st.data())
@settings(max_examples=200, deadline=None)
def test_there_is_one_form(name: str, data: st.DataObject) -> None:
    """What parses is written again as it was: nothing has two forms."""
    parse, document = PARSERS[name]
    given_bytes = data.draw(near(document))
    try:
        made = parse(given_bytes)
    except NoteInvalid:
        return
    if name == "key":
        assert str(made).encode() == given_bytes.strip()
    else:
        assert made.to_bytes() == given_bytes
