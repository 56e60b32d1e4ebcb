"""Trees, notes and proofs that others made or published: Keyfold verifies theirs, and what they verified is unchanged.

`tests/vectors/README.md` and `published/README.md` say where each file comes from.
"""

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keyfold.events.checkpoints import open_checkpoint, parse_checkpoint
from keyfold.events.log_proofs import parse_proof
from keyfold.events.merkle import ProofInvalid, leaf_hash, root_of, verify_inclusion
from keyfold.events.notes import ED25519, Note, NoteInvalid, parse_note, parse_vkey
from keyfold.events.tree import Node, consistency_path, inclusion_path, verify_consistency

FOLDER: Final = Path(__file__).resolve().parents[2] / "vectors"
PUBLISHED: Final = {
    name: json.loads((FOLDER / "published" / "transparency" / f"{name}.json").read_text("utf-8"))
    for name in ("inclusion", "consistency", "notes")
}
MADE: Final = {
    name: json.loads((FOLDER / "transparency" / f"{name}.json").read_text("utf-8"))
    for name in ("trees", "notes", "proofs", "verified")
}


def cases(name: str) -> pytest.MarkDecorator:
    """Every published case of a kind."""
    return pytest.mark.parametrize("case", PUBLISHED[name]["cases"], ids=lambda case: case["file"])


def decoded(path: list[str] | None) -> list[bytes]:
    """Nodes of a path in base64."""
    return [base64.b64decode(node) for node in path or []]


@cases("inclusion")
def test_published_inclusion(case: dict[str, Any]) -> None:
    """Each published proof verifies or is refused, as its authors say."""
    given = (base64.b64decode(case["leafHash"]), case["leafIdx"], case["treeSize"], decoded(case["proof"]))
    root = base64.b64decode(case["root"])
    if case["wantErr"]:
        with pytest.raises(ProofInvalid):
            verify_inclusion(*given, root)
    else:
        verify_inclusion(*given, root)


@cases("consistency")
def test_published_consistency(case: dict[str, Any]) -> None:
    """Likewise. From a tree without leaves the authors verify nothing; here an empty path is right."""
    given = (case["size1"], case["size2"], base64.b64decode(case["root1"]), base64.b64decode(case["root2"]))
    path = decoded(case["proof"])
    from_nothing = case["size1"] == 0 and not path and (case["size2"] > 0 or case["root1"] == case["root2"])
    if case["wantErr"] and not from_nothing:
        with pytest.raises(ProofInvalid):
            verify_consistency(*given, path)
    else:
        verify_consistency(*given, path)


def test_published_cases_are_all_there() -> None:
    """As many cases as the authors have, good and bad."""
    counts = {name: [case["wantErr"] for case in PUBLISHED[name]["cases"]] for name in ("inclusion", "consistency")}
    assert {name: (len(found), found.count(False)) for name, found in counts.items()} == {
        "inclusion": (98, 6),
        "consistency": (98, 6),
    }


@cases("notes")
def test_published_notes(case: dict[str, Any]) -> None:
    """Example notes of the specifications, and a log's ML-DSA-44 signature, parse, and verify where keys are given."""
    note = parse_note(case["note"].encode())
    assert note.to_bytes().decode() == case["note"]
    for vkey in case["vkeys"]:
        key = parse_vkey(vkey)
        line = note.signed_by(key)
        assert line is not None
        if key.kind == ED25519:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(line.signature, note.text.encode())
        else:
            assert open_checkpoint(case["note"].encode(), [key]).signed_at == {key: 0}


def test_published_checkpoints() -> None:
    """The specifications' example of a checkpoint, and of one with a cosignature, are the checkpoint that they tell."""
    notes = {case["file"]: case["note"] for case in PUBLISHED["notes"]["cases"]}
    for name, lines in (("tlog-checkpoint.md", 1), ("tlog-cosignature.md", 2)):
        note = parse_note(notes[name].encode())
        checkpoint = parse_checkpoint(note)
        assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20_852_163)
        assert len(note.signatures) == lines
    assert int.from_bytes(note.signatures[1].signature[:8], "big") == 1_679_315_147


@pytest.mark.parametrize("case", MADE["trees"]["cases"], ids=lambda case: str(case["size"]))
def test_trees(case: dict[str, Any]) -> None:
    """Roots and paths are those that two other implementations make, and theirs verify."""
    size, root = case["size"], bytes.fromhex(case["root"])
    leaves = [leaf_hash(f"entry {number}".encode()) for number in range(size)]
    node: Node = lambda height, index: root_of(leaves[index << height : (index + 1) << height])  # noqa: E731
    assert root_of(leaves) == root
    for index, texts in case["inclusion"].items():
        path = tuple(map(bytes.fromhex, texts))
        assert inclusion_path(int(index), size, node) == path
        verify_inclusion(leaves[int(index)], int(index), size, path, root)
    for old, texts in case["consistency"].items():
        path = tuple(map(bytes.fromhex, texts))
        assert consistency_path(int(old), size, node) == path
        verify_consistency(int(old), size, root_of(leaves[: int(old)]), root, path)


@pytest.mark.parametrize("case", MADE["notes"]["cases"], ids=lambda case: case["what"])
def test_notes(case: dict[str, Any]) -> None:
    """Others' notes are read as they were written; all signatures on their checkpoints verify."""
    note, keys = parse_note(case["note"].encode()), {parse_vkey(vkey): at for vkey, at in case["signed_at"].items()}
    assert note.to_bytes().decode() == case["note"]
    assert {str(key) for key in keys} == case["signed_at"].keys()
    assert len(note.signatures) == len(keys)
    if "checkpoint" in case["what"] or "tree" in case["what"] or "cosigned" in case["what"]:
        assert open_checkpoint(case["note"].encode(), keys).signed_at == keys
    else:
        for key in keys:
            line = note.signed_by(key)
            assert line is not None
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(line.signature, note.text.encode())


def test_no_checkpoint_of_others_may_change() -> None:
    """Each signature on others' checkpoints is refused on another checkpoint."""
    for case in MADE["notes"]["cases"]:
        note = parse_note(case["note"].encode())
        for key in map(parse_vkey, case["signed_at"]):
            changed = Note(note.text.replace("\n1000\n", "\n1001\n"), note.signatures)
            if changed != note:
                with pytest.raises(NoteInvalid):
                    open_checkpoint(changed.to_bytes(), [key])


@pytest.mark.parametrize("case", MADE["proofs"]["cases"], ids=lambda case: f"{case['index']} {case['what']}")
def test_proofs(case: dict[str, Any]) -> None:
    """Others' proofs verify for the entry that they are about, by all keys, and are written as they were read."""
    made, keys = parse_proof(case["proof"].encode()), {parse_vkey(vkey): at for vkey, at in case["signed_at"].items()}
    assert (made.index, made.extra.hex()) == (case["index"], case["extra_hex"])
    leaf = leaf_hash(f"entry {case['index']}".encode())
    assert leaf.hex() == case["leaf_hex"]
    opened = made.verify(leaf, keys)
    assert (opened.checkpoint.origin, opened.signed_at) == (case["origin"], keys)
    assert made.to_bytes() == case["proof"].encode()
    with pytest.raises(ProofInvalid):
        made.verify(leaf_hash(b"another entry"), keys)


def test_what_others_verified(vectors: Callable[[str], Any]) -> None:
    """Keyfold's own vectors are those that the other implementations verified: make them do it again otherwise."""
    assert MADE["verified"]["cases"].keys() == {"merkle.json", "checkpoints.json", "log_proofs.json"}
    for name, digest in MADE["verified"]["cases"].items():
        assert vectors(name.removesuffix(".json"))
        assert sha256((FOLDER / name).read_bytes()).hexdigest() == digest, (
            f"run scripts/transparency after a change of {name}"
        )
