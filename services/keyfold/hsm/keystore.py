"""The keystore of one partition in memory: which wrapped material exists, as the log says. Pure.

`Index` is what is committed, `Draft` what a batch under way would add; a draft is thrown away or promoted whole. It
opens nothing.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import NamedTuple

from keyfold.custody import KeyReference
from keyfold.events import facts
from keyfold.events.streams import key_id_bytes


class Material(NamedTuple):
    """One key version's reference and blob."""

    reference: KeyReference
    blob: bytes


Versions = Mapping[int, Material]
_NONE: Versions = {}


class Index:
    """Committed material by key, and on partition 0 the blobs of live sealing keys, oldest first."""

    def __init__(self) -> None:
        self.keys: dict[str, Versions] = {}
        self.sealing: dict[str, bytes] = {}

    def versions(self, key_id: str) -> Versions:
        """Return a key's material by version; empty for what never was or is erased."""
        return self.keys.get(key_id, _NONE)


class Draft:
    """An index with changes on top that nobody else sees yet."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._keys: dict[str, Versions] = {}
        self._sealing: dict[str, bytes] | None = None

    def versions(self, key_id: str) -> Versions:
        """See `Index.versions`."""
        changed = self._keys.get(key_id)
        return self._index.versions(key_id) if changed is None else changed

    @property
    def sealing(self) -> dict[str, bytes]:
        """Live sealing keys, oldest first."""
        return self._index.sealing if self._sealing is None else self._sealing

    @property
    def current_sealing_key(self) -> str | None:
        """The sealing key that was stored last."""
        return next(reversed(self.sealing), None)

    def fold(self, record: facts.Event) -> None:
        """Apply one keystore record; other events change nothing."""
        match record:
            case facts.KeyMaterialStored(data=data):
                known = self.versions(data.key_id)
                self._keys[data.key_id] = {**known, data.version: _material(data)}
            case facts.KeyMaterialErased(data=data):
                known = self.versions(data.key_id)
                self._keys[data.key_id] = {v: m for v, m in known.items() if v not in data.versions}
            case facts.SealingKeyStored(data=data):
                self._sealing = {**self.sealing, data.sealing_key: b64decode(data.blob)}
            case facts.SealingKeyDeleted(data=data):
                self._sealing = {name: blob for name, blob in self.sealing.items() if name != data.sealing_key}

    def promote(self) -> None:
        """Make the changes the index's own. To be called after the commit returned, once."""
        for key_id, versions in self._keys.items():
            if versions:
                self._index.keys[key_id] = versions
            else:
                self._index.keys.pop(key_id, None)
        if self._sealing is not None:
            self._index.sealing = self._sealing


def _material(data: facts.KeyMaterialStored.Data) -> Material:
    reference = KeyReference(key_id_bytes(data.key_id), data.version, data.key_spec, data.protection)
    return Material(reference, b64decode(data.blob))
