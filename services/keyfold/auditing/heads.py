"""Signed tree heads: which checkpoints there are for each partition, verified, and by whom they are cosigned. Pure.

A checkpoint counts where root certified its signer as a notary: by Ed25519, and by ML-DSA-44 wherever root certified
such a key beside it. One by a key that was revoked since proves nothing any more, and is no fault of the log's either.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from keyfold.auditing.findings import Finding, Findings
from keyfold.auditing.proving import verified_only
from keyfold.events.checkpoints import (
    Checkpoint,
    SignedCheckpoint,
    log_keys,
    log_pairs,
    open_log_checkpoint,
    origin_of,
    parse_checkpoint,
    partition_of_origin,
)
from keyfold.events.notes import ED25519, Note, NoteInvalid, VerifierKey, parse_note
from keyfold.events.trust import Trust

Roots = dict[int, dict[int, bytes]]
"""By partition and size: the root that was signed."""


@dataclass(slots=True)
class Heads:
    """What is known of signed tree heads. `cosigned` has by witness and partition the largest size that it signed."""

    trust: Trust
    partitions: int
    witnesses: Sequence[VerifierKey] = ()
    roots: Roots = field(default_factory=dict)
    cosigned: dict[str, dict[int, int]] = field(default_factory=dict)
    signatures: int = 0
    cosignatures: int = 0
    revoked: int = 0
    findings: Findings = field(default_factory=Findings)

    def add(self, document: bytes, where: str) -> SignedCheckpoint | None:
        """Verify a checkpoint and take it in; what is wrong with it becomes a finding."""
        partition = 0
        try:
            note = parse_note(document)
            checkpoint = parse_checkpoint(note)
            partition = self._partition(checkpoint)
            if self._is_of_revoked(checkpoint, note):
                self.revoked += 1
                return None
            signed = open_log_checkpoint(document, log_pairs(self.trust.notary_keys(), checkpoint.origin))
        except NoteInvalid as error:
            self.findings.add(_finding(partition, "CheckpointInvalid", "a checkpoint by a certified notary",
                                       f"{where}: {error}"))  # fmt: skip
            return None
        self._keep(partition, signed, where)
        return signed

    def require_witnesses(self, partition: int, leaves: int) -> None:
        """Note the witnesses that cosigned nothing of a partition, if there is something in it."""
        for witness in self.witnesses:
            if self.uncosigned(witness, partition, leaves) == leaves > 0:
                self.findings.add(_finding(partition, "NotCosigned", f"cosignatures of {witness.name}", "none"))

    def uncosigned(self, witness: VerifierKey, partition: int, leaves: int) -> int:
        """Return how many leaves are behind the largest tree that a witness cosigned."""
        return max(0, leaves - self.cosigned.get(str(witness), {}).get(partition, 0))

    def origin(self, partition: int) -> str:
        """Return the name of a partition's tree."""
        return origin_of(self.trust.deployment, partition)

    def _partition(self, checkpoint: Checkpoint) -> int:
        partition = partition_of_origin(self.trust.deployment, checkpoint.origin)
        if partition >= self.partitions:
            raise NoteInvalid(f"there is no partition {partition}")
        return partition

    def _keep(self, partition: int, signed: SignedCheckpoint, where: str) -> None:
        checkpoint = signed.checkpoint
        known = self.roots.setdefault(partition, {}).setdefault(checkpoint.size, checkpoint.root)
        if known != checkpoint.root:
            told = f"{where}: root {checkpoint.root.hex()} of {checkpoint.size} leaves"
            self.findings.add(_finding(partition, "CheckpointsDiffer", f"root {known.hex()}", told))
        self.signatures += len(signed.signed_at)
        for witness in self.witnesses:
            self._keep_cosignature(witness, partition, signed, where)

    def _keep_cosignature(self, witness: VerifierKey, partition: int, signed: SignedCheckpoint, where: str) -> None:
        """Take in what a witness signed. A wrong line under its name takes nothing from the checkpoint, nor from a
        right one: whoever may write cosignatures can write it."""
        lines = signed.note.all_by(witness)
        good = [line for line in lines if verified_only(replace(signed.note, signatures=(line,)), [witness]).signatures]
        if len(good) < len(lines):
            self.findings.add(_finding(partition, "CosignatureInvalid", f"cosignatures of {witness.name}",
                                       f"{where}: a wrong one under its name"))  # fmt: skip
        if good:
            self.cosignatures += 1
            sizes = self.cosigned.setdefault(str(witness), {})
            sizes[partition] = max(sizes.get(partition, 0), signed.checkpoint.size)

    def _is_of_revoked(self, checkpoint: Checkpoint, note: Note) -> bool:
        """Tell whether this was signed by a notary whose key root took back, and by no other."""
        taken_back = [
            VerifierKey(checkpoint.origin, ED25519, certificate.public_key)
            for name in self.trust.revocations
            for certificate in self.trust.certificates.get(name, ())
            if certificate.service == "notary"
        ]
        keys = log_keys(self.trust, checkpoint.origin)
        return any(map(note.signed_by, taken_back)) and not any(map(note.signed_by, keys))


def _finding(partition: int, code: str, expected: str, found: str) -> Finding:
    return Finding(partition, None, None, "", code, expected, found)


def add_all(heads: Heads, documents: Iterable[bytes], where: str) -> None:
    """Take in many checkpoints from one place."""
    for document in documents:
        heads.add(document, where)
