"""What `scripts/vectors` writes of the log's own proofs: leaves, checkpoints, and proofs under them.

`given` are the names of examples.py. Signing with ML-DSA-44 is randomised: signatures that were recorded before are
kept where they still verify.
"""

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from keyfold.events import checkpoints, log_leaves, log_proofs, merkle, notes, statements, tree

SIGNED_AT = 1_769_860_800
COSIGNED_AT = 1_769_860_807
WITNESS, OTHER_WITNESS = "witness.example/w1", "witness.example/w2"
Case = dict[str, Any]
Header = statements.Header
HEADERS: list[Header] = [
    (statements.SIGNER_HEADER, b"a signer"),
    (statements.STATEMENT_HEADER, b"a statement"),
    (statements.SIGNATURE_HEADER, b"a signature"),
    (statements.PATH_HEADER, b"a path"),
]
RECORDS: list[tuple[str, bytes | None, bytes | None, list[Header]]] = [
    ("a record as services write them", b"registry", b"{}", HEADERS),
    ("headers in another order, with one more, and without a path", b"registry", b"{}", [*HEADERS[2::-1], ("x", b"y")]),
    ("no headers", b"registry", b"{}", []),
    ("empty key and value", b"", b"", HEADERS),
    ("no key", None, b"{}", HEADERS),
    ("no value", b"registry", None, HEADERS),
    ("a header without a value counts as none", b"registry", b"{}", [(HEADERS[0][0], None), *HEADERS[1:]]),
    ("a header that is there twice counts as none", b"registry", b"{}", [*HEADERS, HEADERS[2]]),
    ("a header with an empty value", b"registry", b"{}", [(HEADERS[0][0], b""), *HEADERS[1:]]),
    ("nothing at all", None, None, []),
]


def files(document: Callable[..., Case], given: dict[str, Any], folder: Path) -> dict[str, Callable[[], Case]]:
    """Return who makes which file. `document` puts cases under a heading."""

    def made(name: str, what: str, cases: Callable[["Signers"], list[Case]]) -> Callable[[], Case]:
        return lambda: document(what, cases(Signers(given, folder / name)))

    leaf_cases = "records of the log with the entries and leaf hashes that the trees are made of"
    heads = (
        "checkpoints as signed notes, with all keys that signed and the times (0: none); what is signed at these times"
    )
    proofs = (
        "tlog-proofs over the records of log_leaves.json and once more the first; all keys that signed, and the times"
    )
    return {
        "log_leaves.json": lambda: document(leaf_cases, leaves()),
        "checkpoints.json": made("checkpoints.json", heads, checkpoint_cases),
        "log_proofs.json": made("log_proofs.json", proofs, proof_cases),
    }


def leaves() -> list[Case]:
    """Records with their entries and leaf hashes."""
    return [
        {
            "what": what,
            "key_hex": _hex(key),
            "value_hex": _hex(value),
            "headers": [[name, _hex(data)] for name, data in headers],
            "entry_hex": log_leaves.entry_of(key, value, headers).hex(),
            "leaf_hex": log_leaves.leaf_of(key, value, headers).hex(),
        }
        for what, key, value, headers in RECORDS
    ]


def consistency(hashes: list[bytes]) -> list[Case]:
    """All consistency paths between trees of these leaf hashes."""
    return [
        {"old": old, "new": new, "path": [node.hex() for node in tree.consistency_path(old, new, nodes_of(hashes))]}
        for new in range(1, len(hashes) + 1)
        for old in range(1, new + 1)
    ]


def nodes_of(hashes: list[bytes]) -> tree.Node:
    """Return the hashes of perfect subtrees."""
    return lambda height, index: merkle.root_of(hashes[index << height : (index + 1) << height])


class Signers:
    """The notary and two witnesses, with fixed keys; ML-DSA-44 signatures come out of a recorded file if they can."""

    def __init__(self, given: dict[str, Any], recorded: Path) -> None:
        self._known = set(_signatures(json.loads(recorded.read_text("utf-8")))) if recorded.exists() else set()
        self.notary = Ed25519PrivateKey.from_private_bytes(given["seed"]("notary"))
        self.lattice = MLDSA44PrivateKey.from_seed_bytes(given["seed"]("notary, ML-DSA-44"))
        self.witness = Ed25519PrivateKey.from_private_bytes(given["seed"]("witness"))
        self.other = MLDSA44PrivateKey.from_seed_bytes(given["seed"]("witness, ML-DSA-44"))
        self.deployment: str = given["DEPLOYMENT"]

    def sign(self, head: checkpoints.Checkpoint, cosigned: bool) -> tuple[notes.Note, dict[str, int]]:
        """Return the note with everybody's line, and each vkey with the time of its signature."""
        name, owner, lattice = head.origin, _raw(self.notary), _raw(self.lattice)
        lines = [
            checkpoints.sign_ed25519(head, name, owner, self.notary.sign),
            self._lattice(head, name, self.lattice, SIGNED_AT),
        ]
        keys = {
            notes.VerifierKey(name, notes.ED25519, owner): 0,
            notes.VerifierKey(name, notes.ML_DSA_44_COSIGNATURE, lattice): SIGNED_AT,
        }
        if cosigned:
            witness = _raw(self.witness)
            lines.append(checkpoints.cosign_ed25519(head, WITNESS, witness, self.witness.sign, COSIGNED_AT))
            lines.append(self._lattice(head, OTHER_WITNESS, self.other, COSIGNED_AT))
            keys[notes.VerifierKey(WITNESS, notes.ED25519_COSIGNATURE, witness)] = COSIGNED_AT
            keys[notes.VerifierKey(OTHER_WITNESS, notes.ML_DSA_44_COSIGNATURE, _raw(self.other))] = COSIGNED_AT
        return notes.Note(head.text(), tuple(lines)), {str(key): at for key, at in keys.items()}

    def _lattice(
        self, head: checkpoints.Checkpoint, name: str, private: MLDSA44PrivateKey, at: int
    ) -> notes.NoteSignature:
        public = _raw(private)
        key = notes.VerifierKey(name, notes.ML_DSA_44_COSIGNATURE, public)
        for line in sorted(self._known, key=str):
            if (line.name, line.key_id) == (name, key.key_id) and _opens(head, line, key, at):
                return line
        return checkpoints.cosign_ml_dsa_44(head, name, public, private.sign, at)


def checkpoint_cases(signers: Signers) -> list[Case]:
    """Checkpoints with the log's two lines, and with those of two witnesses."""
    cases = []
    for partition, size, cosigned in ((0, 0, False), (1, 1, False), (3, 11, True), (11, 70_000, True)):
        origin = checkpoints.origin_of(signers.deployment, partition)
        root = merkle.root_of([]) if size == 0 else sha256(f"root of {size} leaves".encode()).digest()
        head = checkpoints.Checkpoint(origin, size, root)
        note, signed_at = signers.sign(head, cosigned)
        cases.append({
            "origin": origin,
            "partition": partition,
            "size": size,
            "root_hex": root.hex(),
            "cosigned_message_hex": _message(head, origin, SIGNED_AT).hex(),
            "cosignature_v1": _cosignature(head, COSIGNED_AT),
            "note": note.to_bytes().decode(),
            "signed_at": signed_at,
        })  # fmt: skip
    return cases


def proof_cases(signers: Signers) -> list[Case]:
    """Proofs of leaves in a tree of eleven: the ten records above, and the first again."""
    records = [*RECORDS, RECORDS[0]]
    hashes = [log_leaves.leaf_of(key, value, headers) for _, key, value, headers in records]
    head = checkpoints.Checkpoint(checkpoints.origin_of(signers.deployment, 2), len(hashes), merkle.root_of(hashes))
    note, signed_at = signers.sign(head, cosigned=True)
    cases = []
    for index, extra in ((0, b""), (4, b""), (7, b"extra data, not authenticated"), (10, b"\x00")):
        path = tree.inclusion_path(index, len(hashes), nodes_of(hashes))
        cases.append({
            "what": records[index][0],
            "origin": head.origin,
            "leaf_hex": hashes[index].hex(),
            "index": index,
            "extra_hex": extra.hex(),
            "proof": log_proofs.LogProof(index, path, note, extra).to_bytes().decode(),
            "signed_at": signed_at,
        })  # fmt: skip
    return cases


def _cosignature(head: checkpoints.Checkpoint, at: int) -> str:
    return _seen(lambda sign: checkpoints.cosign_ed25519(head, WITNESS, bytes(32), sign, at)).decode()


def _message(head: checkpoints.Checkpoint, name: str, at: int) -> bytes:
    return _seen(lambda sign: checkpoints.cosign_ml_dsa_44(head, name, bytes(1312), sign, at))


def _seen(cosign: Callable[[checkpoints.Sign], notes.NoteSignature]) -> bytes:
    """Return what somebody is asked to sign."""
    messages: list[bytes] = []

    def sign(message: bytes) -> bytes:
        messages.append(message)
        return b"signature"

    cosign(sign)
    return messages[0]


def _opens(head: checkpoints.Checkpoint, line: notes.NoteSignature, key: notes.VerifierKey, at: int) -> bool:
    try:
        opened = checkpoints.open_checkpoint(notes.Note(head.text(), (line,)).to_bytes(), [key])
    except notes.NoteInvalid:
        return False
    return opened.signed_at == {key: at}


def _signatures(recorded: Case) -> Iterable[notes.NoteSignature]:
    for case in recorded["cases"]:
        document = case["note"] if "note" in case else case["proof"].partition("\n\n")[2]
        yield from notes.parse_note(document.encode()).signatures


def _raw(private: Ed25519PrivateKey | MLDSA44PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex()
