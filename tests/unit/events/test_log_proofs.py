"""Proofs that an entry is in the log (C2SP tlog-proof): written, read, verified and refused."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.cosigners import ORIGIN, Cosigner, signed

from keyfold.events.checkpoints import Checkpoint
from keyfold.events.log_proofs import MAGIC, LogProof, parse_proof
from keyfold.events.merkle import ProofInvalid, leaf_hash, levels_of, path_of, root_of
from keyfold.events.notes import ED25519, ML_DSA_44_COSIGNATURE, NoteInvalid, parse_vkey

LEAVES = [leaf_hash(bytes([number])) for number in range(11)]
OWNER, LATTICE = Cosigner(ED25519), Cosigner(ML_DSA_44_COSIGNATURE)
KEYS = [OWNER.key, LATTICE.key]
NOTE = signed(Checkpoint(ORIGIN, len(LEAVES), root_of(LEAVES)), [OWNER, LATTICE])
PATHS = [path_of(levels_of(LEAVES), index) for index in range(len(LEAVES))]
PROOF = LogProof(7, PATHS[7], NOTE, b"extra")
LINES = PROOF.to_bytes().decode().partition("\n\n")[0].split("\n")
HASH = base64.b64encode(bytes(32)).decode()


def document(*lines: str) -> bytes:
    """A proof of these lines, with the checkpoint."""
    return "\n".join(lines).encode() + b"\n\n" + NOTE.to_bytes()


def test_golden(vectors: Callable[[str], Any]) -> None:
    """The recorded proofs verify by all their keys, and are written as they were read."""
    for case in vectors("log_proofs")["cases"]:
        made, keys = parse_proof(case["proof"].encode()), {parse_vkey(key): at for key, at in case["signed_at"].items()}
        assert (made.index, made.extra.hex()) == (case["index"], case["extra_hex"])
        opened = made.verify(bytes.fromhex(case["leaf_hex"]), keys)
        assert (opened.checkpoint.origin, opened.signed_at) == (case["origin"], keys)
        assert made.to_bytes() == case["proof"].encode()


def test_form() -> None:
    """First the name of the format, extra data, index, path from the leaf up, then the checkpoint as it is."""
    assert LINES[:3] == [MAGIC, "extra ZXh0cmE=", "index 7"]
    assert LINES[3:] == [base64.b64encode(node).decode() for node in PATHS[7]]
    assert PROOF.to_bytes().endswith(b"\n\n" + NOTE.to_bytes())
    assert b"extra" not in LogProof(7, PATHS[7], NOTE).to_bytes()


@pytest.mark.parametrize("index", range(len(LEAVES)))
@pytest.mark.parametrize("extra", [b"", b"\0", bytes(300)])
def test_round_trip(index: int, extra: bytes) -> None:
    """What was written is read, and verifies."""
    made = LogProof(index, PATHS[index], NOTE, extra)
    assert parse_proof(made.to_bytes()) == made
    assert made.verify(LEAVES[index], KEYS).checkpoint.size == len(LEAVES)


def test_a_tree_of_one_leaf() -> None:
    """The only leaf needs no path."""
    note = signed(Checkpoint(ORIGIN, 1, LEAVES[0]), [OWNER])
    assert parse_proof(LogProof(0, (), note).to_bytes()).verify(LEAVES[0], KEYS).checkpoint.root == LEAVES[0]


def test_another_leaf_index_or_path() -> None:
    """A proof is of one leaf in one place."""
    with pytest.raises(ProofInvalid):
        PROOF.verify(LEAVES[6], KEYS)
    for index in (0, 6, 8, 11, 2**63 - 1):
        with pytest.raises(ProofInvalid):
            LogProof(index, PROOF.path, NOTE).verify(LEAVES[7], KEYS)
    for path in (PATHS[6], PATHS[7][:-1], (*PATHS[7], bytes(32)), ()):
        with pytest.raises(ProofInvalid):
            LogProof(7, path, NOTE).verify(LEAVES[7], KEYS)


def test_another_checkpoint() -> None:
    """A path to another root proves nothing, though the checkpoint is signed."""
    other = signed(Checkpoint(ORIGIN, len(LEAVES), root_of(LEAVES[::-1])), [OWNER])
    with pytest.raises(ProofInvalid):
        LogProof(7, PATHS[7], other).verify(LEAVES[7], KEYS)


def test_a_checkpoint_of_nobody() -> None:
    """Without a signature of a known key nothing is proven."""
    with pytest.raises(NoteInvalid, match="none of the keys"):
        PROOF.verify(LEAVES[7], [Cosigner(ED25519, seed="another").key])


def test_extra_data_is_not_authenticated() -> None:
    """Other extra data leaves the proof as good as it was: whoever uses it must derive the leaf from it."""
    assert LogProof(7, PATHS[7], NOTE, b"forged").verify(LEAVES[7], KEYS)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (MAGIC,),
        ("c2sp.org/tlog-proof@v2", "index 0"),
        (f"{MAGIC} ", "index 0"),
        ("index 0",),
        (MAGIC, "index"),
        (MAGIC, "index "),
        (MAGIC, "index 00"),
        (MAGIC, "index 01"),
        (MAGIC, "index -1"),
        (MAGIC, "index +1"),
        (MAGIC, "index 1 "),
        (MAGIC, f"index {2**63}"),
        (MAGIC, "index " + "9" * 5000),
        (MAGIC, HASH),
        (MAGIC, "index 0", "extra AA=="),
        (MAGIC, "extra ", "index 0"),
        (MAGIC, "extra", "index 0"),
        (MAGIC, "extra AA", "index 0"),
        (MAGIC, "extra AB==", "index 0"),
        (MAGIC, "extra AA==", "extra AA==", "index 0"),
        (MAGIC, "extra AA=="),
        (MAGIC, "index 0", HASH[:-4]),
        (MAGIC, "index 0", HASH + HASH),
        (MAGIC, "index 0", "not a hash"),
        (MAGIC, "index 0", " " + HASH),
        (MAGIC, "index 0", HASH + "\r"),
        (MAGIC, "index 0", *[HASH] * 65),
        (MAGIC, "index 0", "Ω"),
        ("", MAGIC, "index 0"),
    ],
)
def test_no_proof(lines: tuple[str, ...]) -> None:
    """Another name, no index, numbers that are not plain, and a path that is not of hashes are refused."""
    with pytest.raises(NoteInvalid):
        parse_proof(document(*lines))


def test_the_longest_path() -> None:
    """64 hashes are more than any tree needs, and are read."""
    assert len(parse_proof(document(MAGIC, "index 0", *[HASH] * 64)).path) == 64


@pytest.mark.parametrize(
    "whole",
    [
        b"",
        PROOF.to_bytes().partition(b"\n\n")[0],
        PROOF.to_bytes().partition(b"\n\n")[0] + b"\n\n",
        PROOF.to_bytes()[:-1],
        PROOF.to_bytes().replace(b"\n\n", b"\n", 1),
        document(*LINES)[:-2] + b"\xff\n",
        PROOF.to_bytes().replace(f"\n{len(LEAVES)}\n".encode(), b"\n011\n"),
        PROOF.to_bytes().replace(f"\n{len(LEAVES)}\n".encode(), b"\n11\nx\n"),
    ],
)
def test_no_checkpoint_behind_it(whole: bytes) -> None:
    """What follows the empty line must be a checkpoint."""
    with pytest.raises(NoteInvalid):
        parse_proof(whole)
