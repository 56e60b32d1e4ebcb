"""Custody and sealing keys without a token, for tests of the worker that need none."""

import hmac
import os
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from keyfold.custody import (
    DerivedKeys,
    Generated,
    Handle,
    Imported,
    InvalidBlob,
    KeyReference,
    TokenIdentity,
    private_keys,
    public_keys,
)
from keyfold.custody.references import MemoryHandle, PairHandle
from keyfold.events.errors import IncorrectKeyMaterial, InvalidCiphertext, SealingKeyRetired, TokenUnavailable
from keyfold.events.specs import is_asymmetric, material_bytes


class MemoryCustody:
    """Custody without a token: a blob is an epoch, then the material. `down` makes it silent.

    `held` are the epochs whose keys exist; a blob of another does not open.
    """

    def __init__(self) -> None:
        self.derived = DerivedKeys()
        self.down = False
        self.calls: list[str] = []
        self.held = {1}
        self.adopted = 1
        self.erased: list[tuple[bytes, int]] = []
        self._imports: dict[bytes, Any] = {}

    def generate(self, reference: KeyReference) -> Generated:
        self._answer("generate")
        if not is_asymmetric(reference.spec):
            return Generated(self._blob(os.urandom(material_bytes(reference.spec) or 32)), None, {})
        private_key = private_keys.generate(reference.spec)
        public_key = public_keys.encode(private_key.public_key())
        return Generated(self._blob(private_keys.encode(private_key)), public_key, {})

    def open(self, reference: KeyReference, blob: bytes) -> Handle:
        self._answer("open")
        if self.epoch_of(blob) not in self.held:
            raise InvalidBlob("the epoch of the blob has ended")
        if is_asymmetric(reference.spec):
            return PairHandle(reference, private_keys.decode(reference.spec, blob[8:]))
        return MemoryHandle(reference, blob[8:], self.derived.forget)

    def erase(self, reference: KeyReference, blob: bytes) -> bool:
        self._answer("erase")
        self.erased.append((reference.key_id, reference.version))
        return False

    def transfer_mac(self, message: bytes) -> bytes:
        return hmac.digest(b"transfer", message, sha256)

    def rewrap(self, reference: KeyReference, blob: bytes) -> bytes:
        self._answer("rewrap")
        if self.epoch_of(blob) not in self.held:
            raise InvalidBlob("the epoch of the blob has ended")
        return self._blob(blob[8:])

    def epoch_of(self, blob: bytes) -> int:
        return int.from_bytes(blob[:8], "big")

    def generate_import_key(self, import_id: bytes, wrapping_spec: str) -> Generated:
        self._answer("import key")
        self._imports[import_id] = private_key = private_keys.generate("RSA_2048")
        return Generated(self._blob(import_id), public_keys.encode(private_key.public_key()), {})

    def rewrap_import(self, import_id: bytes, blob: bytes) -> bytes:
        return self._blob(blob[8:])

    def import_material(
        self, reference: KeyReference, import_id: bytes, import_blob: bytes, wrapping_algorithm: str, wrapped: bytes
    ) -> Imported:
        """By RSAES_OAEP_SHA_256 only; the check is the material's own digest."""
        self._answer("import")
        try:
            material = self._imports[import_id].decrypt(wrapped, OAEP(MGF1(SHA256()), SHA256(), None))
        except ValueError:
            raise InvalidCiphertext from None
        if len(material) != material_bytes(reference.spec):
            raise IncorrectKeyMaterial
        check = sha256(material).hexdigest()
        return Imported(self._blob(material), None, {}, check[:6], check)

    def generate_random(self, size: int) -> bytes:
        self._answer("random")
        return os.urandom(size)

    def begin_epoch(self, epoch: int) -> None:
        self._answer("begin epoch")
        self.held.add(epoch)
        self.adopted = max(self.held)

    def adopt_epoch(self, epoch: int) -> bool:
        self.adopted = max(self.adopted, epoch) if epoch in self.held else self.adopted
        return self.adopted >= epoch

    def end_epoch(self, epoch: int) -> None:
        self._answer("end epoch")
        self.held.discard(epoch)

    def epochs(self) -> list[int]:
        return sorted(self.held)

    def epoch_floor(self) -> int:
        return max(self.held)

    def identity(self) -> TokenIdentity:
        return TokenIdentity("kms", "0001", "Memory 1.0")

    def _blob(self, material: bytes) -> bytes:
        return self.adopted.to_bytes(8, "big") + material

    def _answer(self, call: str) -> None:
        self.calls.append(call)
        if self.down:
            raise TokenUnavailable


class MemorySealing:
    """Sealing keys without a token; what is erased cannot be loaded any more."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, tuple[MLKEM768PrivateKey, X25519PrivateKey]] = {}

    def create(self, sealing_key_id: bytes) -> tuple[bytes, bytes]:
        mlkem, x25519 = self.pairs[sealing_key_id] = (MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())
        return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw(), b"blob" + sealing_key_id

    def load(self, sealing_key_id: bytes, blob: bytes) -> hpke.MLKEM768X25519PrivateKey:
        if sealing_key_id not in self.pairs:
            raise SealingKeyRetired
        return hpke.MLKEM768X25519PrivateKey(*self.pairs[sealing_key_id])

    def erase(self, sealing_key_id: bytes) -> None:
        self.pairs.pop(sealing_key_id, None)

    def list_ids(self) -> list[bytes]:
        return list(self.pairs)
