"""A custody on its own token, into which tests bring keys that they know, by the way that users' keys come: imports."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from keyfold.client.importing import wrap_key_material
from keyfold.client.material import KeyMaterial
from keyfold.client.results import ImportParameters
from keyfold.custody import (
    Custody,
    Generated,
    Handle,
    Imported,
    KeyReference,
    MemoryOperations,
    Operations,
    Protection,
    TokenOperations,
)
from keyfold.custody.public_keys import load
from keyfold.events.import_format import MAX_WRAPPED_BYTES
from keyfold.token import create_token, load_module, open_token

PUBLISHED: Final = Path(__file__).resolve().parent.parent / "vectors" / "published"
PROTECTIONS: Final[tuple[Protection, ...]] = ("HSM", "SOFTWARE")
_WRAPPING_SPEC: Final = "RSA_3072"
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def published(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The cases of a file of known answers, each with its group (empty where the file has none)."""
    document = json.loads((PUBLISHED / f"{name}.json").read_text("utf-8"))
    if "cases" in document:
        return [({}, case) for case in document["cases"]]
    found = [(group, case) for group in document["testGroups"] for case in group["tests"]]
    assert found
    return found


@dataclass(frozen=True)
class Key:
    """A key that was brought in or made, and the adapter that uses it."""

    handle: Handle
    public_key: bytes
    operations: Operations


@dataclass
class Vault:
    """`bring` imports; a key that was brought once is used again, since RSA keys are dear."""

    custody: Custody
    import_id: bytes
    import_key: Generated
    adapters: dict[Protection, Operations]
    _brought: dict[tuple[str, str, Protection, bytes], Key] = field(default_factory=dict)

    def bring(self, spec: str, usage: str, protection: Protection, material: bytes) -> Key:
        """Import material wrapped as the client wraps it (RSA_AES_KEY_WRAP_SHA_256). Raises as `import_material`."""
        name = spec, usage, protection, material
        if name not in self._brought:
            self._brought[name] = self.open(spec, usage, protection, self.wrap(spec, material))
        return self._brought[name]

    def wrap(self, spec: Any, material: bytes) -> bytes:
        """Wrap material for the import key, by the client's own function."""
        assert self.import_key.public_key is not None
        algorithm, end = "RSA_AES_KEY_WRAP_SHA_256", "2999-01-01T00:00:00.000Z"
        parameters = ImportParameters("", 1, "", algorithm, self.import_key.public_key, end)  # type: ignore[arg-type]
        return wrap_key_material(parameters, KeyMaterial(spec, material))

    def encrypt_for_import(self, ephemeral: bytes) -> bytes:
        """RSAES-OAEP of an ephemeral key, for material that is wrapped already."""
        assert self.import_key.public_key is not None
        key = load(self.import_key.public_key)
        assert isinstance(key, rsa.RSAPublicKey)
        return key.encrypt(ephemeral, _OAEP)

    def open(self, spec: str, usage: str, protection: Protection, wrapped: bytes) -> Key:
        """Import what is wrapped, and open it."""
        assert len(wrapped) <= MAX_WRAPPED_BYTES
        reference = KeyReference(os.urandom(16), 1, spec, protection, usage)
        made = self.imported(reference, wrapped)
        return Key(self.custody.open(reference, made.blob), made.public_key or b"", self.adapters[protection])

    def imported(self, reference: KeyReference, wrapped: bytes) -> Imported:
        """Import what is wrapped."""
        algorithm, blob = "RSA_AES_KEY_WRAP_SHA_256", self.import_key.blob
        return self.custody.import_material(reference, self.import_id, blob, algorithm, wrapped)

    def generate(self, spec: str, usage: str, protection: Protection) -> Key:
        """Make a key, once."""
        name = spec, usage, protection, b""
        if name not in self._brought:
            reference = KeyReference(os.urandom(16), 1, spec, protection, usage)
            made = self.custody.generate(reference)
            opened = self.custody.open(reference, made.blob)
            self._brought[name] = Key(opened, made.public_key or b"", self.adapters[protection])
        return self._brought[name]


@contextmanager
def open_vault(module_path: Path, pins: Path) -> Iterator[Vault]:
    """A vault on a new token of this module."""
    module = load_module(module_path)
    create_token(module, "kms", pins / "pin", pins / "so")
    try:
        with open_token(module, "kms", pins / "pin", pool_size=2) as token:
            custody, import_id = Custody(token), os.urandom(16)
            custody.provision()
            adapters: dict[Protection, Operations] = {"HSM": TokenOperations(token), "SOFTWARE": MemoryOperations()}
            yield Vault(custody, import_id, custody.generate_import_key(import_id, _WRAPPING_SPEC), adapters)
    finally:
        module.close()
