"""The keystore of one partition in memory: which wrapped material exists, as the log says. Pure.

`Index` is what is committed, `Draft` what a batch under way would add; a draft is thrown away or promoted whole. It
opens nothing.
"""

from base64 import b64decode
from typing import NamedTuple

from keyfold.custody import KeyReference
from keyfold.events import facts
from keyfold.events.streams import key_id_bytes
from keyfold.hsm.materials import Material, Materials, Versions

__all__ = ["Draft", "Erasure", "ImportKey", "Index", "Material", "Versions"]


class ImportKey(NamedTuple):
    """The wrapped private key of the one import that a key has open, and the version that it is for."""

    import_token: str
    reference: KeyReference
    wrapping_algorithm: str
    blob: bytes
    time: str


class Erasure(NamedTuple):
    """A version without material here, whose blobs may still open elsewhere: `epoch` is the last of one of them."""

    version: int
    time: str
    epoch: int
    offset: int
    blob_digest: str


class Index:
    """Committed material by key; on partition 0 the blobs of live sealing keys, oldest first.

    `checks` are the digests by which imported material is known again, by key and version. `erasures` are of destroyed
    versions and wait for their certificate; `deleted` are of imported material that may come again.
    """

    def __init__(self) -> None:
        self.keys = Materials()
        self.sealing: dict[str, bytes] = {}
        self.imports: dict[str, ImportKey] = {}
        self.checks: dict[tuple[str, int], str] = {}
        self.erasures: dict[str, tuple[Erasure, ...]] = {}
        self.deleted: dict[str, tuple[Erasure, ...]] = {}

    def versions(self, key_id: str) -> Versions:
        """Return a key's material by version; empty for what never was or is erased."""
        return self.keys.versions(key_id)


class Draft:
    """An index with changes on top that nobody else sees yet."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._keys: dict[str, Versions] = {}
        self._sealing: dict[str, bytes] | None = None
        self._imports: dict[str, ImportKey | None] = {}
        self._checks: dict[tuple[str, int], str] = {}
        self._erasures: dict[str, tuple[Erasure, ...]] = {}
        self._deleted: dict[str, tuple[Erasure, ...]] = {}

    def versions(self, key_id: str) -> Versions:
        """See `Index.versions`."""
        changed = self._keys.get(key_id)
        return self._index.versions(key_id) if changed is None else changed

    def material(self, key_id: str, version: int) -> Material | None:
        """Return one version's material."""
        changed = self._keys.get(key_id)
        return self._index.keys.find(key_id, version) if changed is None else changed.get(version)

    def holds(self, key_id: str) -> bool:
        """Tell whether there is material of any version."""
        changed = self._keys.get(key_id)
        return key_id in self._index.keys if changed is None else bool(changed)

    @property
    def sealing(self) -> dict[str, bytes]:
        """Live sealing keys, oldest first."""
        return self._index.sealing if self._sealing is None else self._sealing

    @property
    def current_sealing_key(self) -> str | None:
        """The sealing key that was stored last."""
        return next(reversed(self.sealing), None)

    def import_key(self, key_id: str) -> ImportKey | None:
        """Return the import that a key has open."""
        return self._imports[key_id] if key_id in self._imports else self._index.imports.get(key_id)

    def check(self, key_id: str, version: int) -> str | None:
        """Return the digest of the material that was imported for a version before."""
        return self._checks.get((key_id, version)) or self._index.checks.get((key_id, version))

    def erasures(self, key_id: str) -> tuple[Erasure, ...]:
        """Return the destroyed versions of a key that wait for their certificate."""
        changed = self._erasures.get(key_id)
        return self._index.erasures.get(key_id, ()) if changed is None else changed

    def deleted(self, key_id: str) -> tuple[Erasure, ...]:
        """Return the versions of a key whose imported material was deleted, as often as that happened."""
        changed = self._deleted.get(key_id)
        return self._index.deleted.get(key_id, ()) if changed is None else changed

    def fold(self, record: facts.Event) -> None:
        """Apply one keystore record; other events change nothing."""
        match record:
            case facts.KeyMaterialStored(data=data):
                self._keys[data.key_id] = {**self.versions(data.key_id), data.version: _material(data)}
                if data.material_check is not None:
                    self._checks[data.key_id, data.version] = data.material_check
            case facts.KeyMaterialRewrapped(data=data):
                blobs = {int(version): b64decode(blob) for version, blob in data.blobs.items()}
                known = self.versions(data.key_id)
                self._keys[data.key_id] = {
                    version: material._replace(blob=blobs.get(version, material.blob))
                    for version, material in known.items()
                }
            case facts.KeyMaterialErased():
                self._erase(record)
            case facts.ErasureCertified(data=data):
                left = (erasure for erasure in self.erasures(data.key_id) if erasure.version not in data.versions)
                self._erasures[data.key_id] = tuple(left)
            case facts.ImportKeyStored(data=data):
                blob = b64decode(data.blob)
                key = ImportKey(data.import_token, _reference(data), data.wrapping_algorithm, blob, record.time)
                self._imports[data.key_id] = key
            case facts.ImportKeyErased(data=data):
                self._imports[data.key_id] = None
            case facts.SealingKeyStored(data=data):
                self._sealing = {**self.sealing, data.sealing_key: b64decode(data.blob)}
            case facts.SealingKeyDeleted(data=data):
                self._sealing = {name: blob for name, blob in self.sealing.items() if name != data.sealing_key}

    def promote(self) -> None:
        """Make the changes the index's own. To be called after the commit returned, once."""
        index = self._index
        for key_id, versions in self._keys.items():
            if versions:
                index.keys[key_id] = versions
            else:
                index.keys.pop(key_id, None)
        for key_id, import_key in self._imports.items():
            if import_key is None:
                index.imports.pop(key_id, None)
            else:
                index.imports[key_id] = import_key
        for mine, own in ((self._erasures, index.erasures), (self._deleted, index.deleted)):
            for key_id, erasures in mine.items():
                if erasures:
                    own[key_id] = erasures
                else:
                    own.pop(key_id, None)
        index.checks.update(self._checks)
        if self._sealing is not None:
            index.sealing = self._sealing

    def _erase(self, record: facts.KeyMaterialErased) -> None:
        data = record.data
        known = self.versions(data.key_id)
        self._keys[data.key_id] = {version: m for version, m in known.items() if version not in data.versions}
        if data.epoch is None or data.offset is None:
            return
        gone = tuple(
            Erasure(version, record.time, data.epoch, data.offset, data.blob_digests.get(str(version), ""))
            for version in data.versions
        )
        if not data.destroyed:
            self._deleted[data.key_id] = (*self.deleted(data.key_id), *gone)
            return
        self._erasures[data.key_id] = (*self.erasures(data.key_id), *gone)
        left = tuple(each for each in self.deleted(data.key_id) if each.version not in data.versions)
        if left != self.deleted(data.key_id):
            self._deleted[data.key_id] = left


def _material(data: facts.KeyMaterialStored.Data) -> Material:
    public_key = None if data.public_key is None else b64decode(data.public_key)
    return Material(_reference(data), b64decode(data.blob), public_key)


def _reference(data: facts.KeyMaterialStored.Data | facts.ImportKeyStored.Data) -> KeyReference:
    return KeyReference(key_id_bytes(data.key_id), data.version, data.key_spec, data.protection, data.key_usage)
