"""Which wrapped material there is, laid out in few bytes: a worker holds an entry for every key of its partitions.

A key with one version, the most common kind, is one byte string under the 16 bytes of its id. References and versions
are built when they are asked for. Nothing is opened here, and nothing of this layout leaves the process.
"""

import struct
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from keyfold.custody import KeyReference


class Material(NamedTuple):
    """One key version's reference and blob, and the public half (SubjectPublicKeyInfo, DER) of a key pair."""

    reference: KeyReference
    blob: bytes
    public_key: bytes | None = None


Versions = Mapping[int, Material]

_NONE: Final[Versions] = {}
_Row = tuple[bytes, tuple[Any, ...]]
_HEAD: Final = struct.Struct(">IH")  # version, number of the kind; the blob follows
_BLOB_AT: Final = _HEAD.size


class Materials(MutableMapping[str, Versions]):
    """Versions with their material by key id.

    Key ids are UUIDs in their one form. What is read is a snapshot: changing a key means setting it anew. Several
    threads may read while none changes anything.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes | tuple[_Row, ...]] = {}
        # What references say beside key id and version: a few combinations, each stored once.
        self._kinds: list[tuple[Any, ...]] = []
        self._numbers: dict[tuple[Any, ...], int] = {}

    def versions(self, key_id: str) -> Versions:
        """Return a key's material by version; empty for a key that is not there."""
        name = _name(key_id)
        found = self._rows.get(name)
        if found is None:
            return _NONE
        rows: tuple[_Row, ...] = ((found, ()),) if isinstance(found, bytes) else found
        materials = [self._material(name, row) for row in rows]
        return {material.reference.version: material for material in materials}

    def find(self, key_id: str, version: int) -> Material | None:
        """Return one version's material; the others are not built. New versions stand last and are found first."""
        name, wanted = _name(key_id), version.to_bytes(4, "big")
        found = self._rows.get(name, ())
        rows: tuple[_Row, ...] = ((found, ()),) if isinstance(found, bytes) else found
        return next((self._material(name, row) for row in reversed(rows) if row[0].startswith(wanted)), None)

    def __getitem__(self, key_id: str) -> Versions:
        found = self.versions(key_id)
        if not found:
            raise KeyError(key_id)
        return found

    def __setitem__(self, key_id: str, versions: Versions) -> None:
        rows = tuple(self._row(material) for material in versions.values())
        single = len(rows) == 1 and not rows[0][1]
        self._rows[_name(key_id)] = rows[0][0] if single else rows

    def __delitem__(self, key_id: str) -> None:
        del self._rows[_name(key_id)]

    def __contains__(self, key_id: object) -> bool:
        return isinstance(key_id, str) and _name(key_id) in self._rows

    def __iter__(self) -> Iterator[str]:
        return (str(UUID(bytes=name)) for name in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def _row(self, material: Material) -> _Row:
        """Lay a version out; what a material has beside reference and blob, if it has anything, is kept as it is."""
        reference, blob = material[:2]
        more: tuple[Any, ...] = material[2:]
        kind = tuple(reference[2:])
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self._kinds)
            self._kinds.append(kind)
        beside = more if any(each is not None for each in more) else ()
        return _HEAD.pack(reference.version, number) + blob, beside

    def _material(self, name: bytes, row: _Row) -> Material:
        packed, beside = row
        version, number = _HEAD.unpack_from(packed)
        return Material(KeyReference(name, version, *self._kinds[number]), packed[_BLOB_AT:], *beside)


def _name(key_id: str) -> bytes:
    return bytes.fromhex(key_id.replace("-", ""))
