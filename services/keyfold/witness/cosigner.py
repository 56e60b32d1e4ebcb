"""The keys of a witness, in one file that only its owner may read, and the lines that they sign.

A witness has an Ed25519 key, an ML-DSA-44 key, or both; both cosign under the witness's name. The keys are software:
what a witness protects is that two views of the log cannot both be cosigned, and that rests on its state.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from keyfold.events.checkpoints import Checkpoint, cosign_ed25519, cosign_ml_dsa_44
from keyfold.events.errors import KeyfoldError
from keyfold.events.notes import ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE, NoteSignature, VerifierKey, check_name
from keyfold.witness.files import write_durably

CosignerAlgorithm = Literal["Ed25519", "ML-DSA-44"]
ALGORITHMS: Final[tuple[CosignerAlgorithm, ...]] = ("Ed25519", "ML-DSA-44")
_FORMAT: Final = "keyfold-witness-key-v1"
_FIELDS: Final[dict[CosignerAlgorithm, str]] = {"Ed25519": "ed25519", "ML-DSA-44": "ml-dsa-44"}
_SEED_BYTES: Final = 32


class WitnessUnusable(KeyfoldError):
    """The witness's directory is missing, incomplete, readable by others, in use, or of another deployment."""

    code = "WitnessUnusable"


@dataclass(frozen=True, slots=True, repr=False)
class Cosigner:
    """A name and its keys."""

    name: str
    ed25519: Ed25519PrivateKey | None
    ml_dsa_44: MLDSA44PrivateKey | None

    @property
    def vkeys(self) -> tuple[VerifierKey, ...]:
        """What others need to believe the cosignatures."""
        found = []
        if self.ed25519 is not None:
            public = self.ed25519.public_key().public_bytes_raw()
            found.append(VerifierKey(self.name, ED25519_COSIGNATURE, public))
        if self.ml_dsa_44 is not None:
            public = self.ml_dsa_44.public_key().public_bytes_raw()
            found.append(VerifierKey(self.name, ML_DSA_44_COSIGNATURE, public))
        return tuple(found)

    def cosign(self, checkpoint: Checkpoint, at_s: int) -> list[NoteSignature]:
        """Return one line of each key. Whether the checkpoint may be cosigned was asked before."""
        lines = []
        if self.ed25519 is not None:
            public = self.ed25519.public_key().public_bytes_raw()
            lines.append(cosign_ed25519(checkpoint, self.name, public, self.ed25519.sign, at_s))
        if self.ml_dsa_44 is not None:
            public = self.ml_dsa_44.public_key().public_bytes_raw()
            lines.append(cosign_ml_dsa_44(checkpoint, self.name, public, self.ml_dsa_44.sign, at_s))
        return lines


def create_cosigner(path: Path, name: str, algorithms: Sequence[CosignerAlgorithm]) -> Cosigner:
    """Make keys and write them with mode 0600, durably. Raises `WitnessUnusable`, `NoteInvalid` (the name)."""
    check_name(name)
    if path.exists():
        raise WitnessUnusable(f"{path} exists; a witness's key is never overwritten")
    seeds = {_FIELDS[algorithm]: secrets.token_bytes(_SEED_BYTES).hex() for algorithm in algorithms}
    document = {"format": _FORMAT, "name": name, **seeds}
    write_durably(path, (json.dumps(document) + "\n").encode(), 0o600)
    return load_cosigner(path)


def load_cosigner(path: Path) -> Cosigner:
    """Read the keys. Raises `WitnessUnusable`."""
    try:
        if path.stat().st_mode & 0o077:
            raise WitnessUnusable(f"{path} may be read by others; run chmod 600 on it")
        document: dict[str, Any] = json.loads(path.read_text())
        ed25519, ml_dsa = (document.get(_FIELDS[algorithm]) for algorithm in ALGORITHMS)
        return Cosigner(
            document["name"],
            None if ed25519 is None else Ed25519PrivateKey.from_private_bytes(bytes.fromhex(ed25519)),
            None if ml_dsa is None else MLDSA44PrivateKey.from_seed_bytes(bytes.fromhex(ml_dsa)),
        )
    except FileNotFoundError:
        raise WitnessUnusable(f"there is no witness key {path}; run `keyfold witness init`") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WitnessUnusable(f"{path} is no witness key") from None
