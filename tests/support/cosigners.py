"""Keys that sign notes of the three known types, made from a name, for tests of checkpoints and their proofs."""

from collections.abc import Iterable
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from keyfold.events.checkpoints import Checkpoint, cosign_ed25519, cosign_ml_dsa_44, sign_ed25519
from keyfold.events.notes import ED25519, ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE, Note, NoteSignature, VerifierKey

ORIGIN = "example.com/log"
AT_S = 1_769_860_800


class Cosigner:
    """Somebody with one key of one type. `name` is in the signature; `seed` tells keys of one name apart."""

    def __init__(self, kind: int, name: str = ORIGIN, seed: str = "") -> None:
        private = sha256(f"keyfold test cosigner: {kind} {name} {seed}".encode()).digest()
        self._private: Ed25519PrivateKey | MLDSA44PrivateKey = Ed25519PrivateKey.from_private_bytes(private)
        if kind == ML_DSA_44_COSIGNATURE:
            self._private = MLDSA44PrivateKey.from_seed_bytes(private)
        self.key = VerifierKey(name, kind, self._private.public_key().public_bytes_raw())

    def sign(self, head: Checkpoint, at_s: int = AT_S) -> NoteSignature:
        """Sign as the key's type does."""
        name, public_key = self.key.name, self.key.public_key
        if self.key.kind == ED25519:
            return sign_ed25519(head, name, public_key, self._private.sign)
        cosign = cosign_ed25519 if self.key.kind == ED25519_COSIGNATURE else cosign_ml_dsa_44
        return cosign(head, name, public_key, self._private.sign, at_s)


def signed(head: Checkpoint, signers: Iterable[Cosigner]) -> Note:
    """Return the note with a line of each."""
    return Note(head.text(), tuple(signer.sign(head) for signer in signers))
