"""The inventory: what token, keystore and log say of key material, laid side by side. Pure; nothing is changed.

The log is what counts. Against it there are

    orphans      material that no event states: in the keystore, or a key in a token
    ghosts       material that an event states and nobody holds: no blob, or a resident key that is not in the token
    mismatches   a blob whose digest is not the one that its event states
    unerased     material that is erased by the log, and still in the keystore or a token
    keyless      a blob, or a storage epoch, whose epoch key is not in the token: it opens no more
    missing      a key that the token must hold to serve at all

Blobs that were made anew under a later storage epoch are compared by the digest of the blob that they came from. Import
keys are not compared: they live for a day and protect nothing that is kept.
"""

from base64 import b64decode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal

from keyfold.custody import InvalidBlob, blobs, in_token_material
from keyfold.custody.custody import KEY_ENCRYPTION_KEY_ID
from keyfold.custody.envelopes import EPOCH_PREFIX, IMPORT_CHECK_ID, KEK_PREFIX, SOFTWARE_KEY_ID, TRANSFER_ID
from keyfold.events import facts
from keyfold.events.streams import key_id_bytes

Kind = Literal["orphan", "ghost", "mismatch", "unerased", "keyless", "missing"]
Place = tuple[str, int]
"""A key's id and a version."""

NEEDED: Final = (KEY_ENCRYPTION_KEY_ID, SOFTWARE_KEY_ID)
_OWN: Final = (KEK_PREFIX, SOFTWARE_KEY_ID, IMPORT_CHECK_ID, TRANSFER_ID)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit: what it is about, where it was found, and what is wrong, in words."""

    kind: Kind
    subject: str
    place: str
    detail: str


@dataclass(frozen=True, slots=True)
class Held:
    """The CKA_IDs of the keys in the token `kms`, and the ids of the sealing keys in the token `seal`."""

    kms: frozenset[bytes] = frozenset()
    sealing: frozenset[str] = frozenset()

    @property
    def epochs(self) -> set[int]:
        """The storage epochs whose keys are there."""
        numbers = (key_id.removeprefix(EPOCH_PREFIX) for key_id in self.kms if key_id.startswith(EPOCH_PREFIX))
        return {int(number) for number in numbers if number.isdigit()}


@dataclass(frozen=True, slots=True)
class Blob:
    """The present blob of a version, and the digest (hex SHA-256) of the one that was stored first."""

    present: bytes
    first_digest: str


@dataclass(slots=True)
class Keystore:
    """The fold of keystore records; those of a stream must come in order."""

    materials: dict[Place, Blob] = field(default_factory=dict)
    sealing: dict[str, str] = field(default_factory=dict)

    def fold(self, record: facts.Event) -> None:
        """Apply one record; others change nothing."""
        match record:
            case facts.KeyMaterialStored(data=data):
                blob = b64decode(data.blob)
                self.materials[data.key_id, data.version] = Blob(blob, sha256(blob).hexdigest())
            case facts.KeyMaterialRewrapped(data=data):
                for version, text in data.blobs.items():
                    known = self.materials.get((data.key_id, int(version)))
                    if known is not None:
                        self.materials[data.key_id, int(version)] = Blob(b64decode(text), known.first_digest)
            case facts.KeyMaterialErased(data=data):
                for number in data.versions:
                    self.materials.pop((data.key_id, number), None)
            case facts.SealingKeyStored(data=data):
                self.sealing[data.sealing_key] = sha256(b64decode(data.blob)).hexdigest()
            case facts.SealingKeyDeleted(data=data):
                self.sealing.pop(data.sealing_key, None)


@dataclass(slots=True)
class Log:
    """The fold of events; those of a stream must come in order."""

    materials: dict[Place, str] = field(default_factory=dict)
    erased: set[Place] = field(default_factory=set)
    sealing: dict[str, str] = field(default_factory=dict)
    sealing_erased: set[str] = field(default_factory=set)
    epochs: set[int] = field(default_factory=lambda: {1})
    epochs_ended: set[int] = field(default_factory=set)

    def fold(self, event: facts.Event) -> None:
        """Apply one event; others change nothing."""
        match event:
            case facts.KeyMaterialGenerated(data=data) | facts.KeyMaterialImported(data=data):
                self.materials[data.key_id, data.version] = data.blob_digest
                self.erased.discard((data.key_id, data.version))
            case facts.KeyUseCeased(data=data):
                for version in data.erased_versions:
                    self.materials.pop((data.key_id, version), None)
                    self.erased.add((data.key_id, version))
            case facts.SealingKeyPublished(data=data):
                self.sealing[data.sealing_key] = data.blob_digest
            case facts.SealingKeyErased(data=data):
                self.sealing.pop(data.sealing_key, None)
                self.sealing_erased.add(data.sealing_key)
            case facts.StorageEpochBegun(data=data):
                self.epochs.add(data.epoch)
            case facts.StorageEpochKeyDestroyed(data=data):
                self.epochs_ended.add(data.epoch)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, and how much was compared."""

    findings: tuple[Finding, ...]
    versions: int
    sealing_keys: int
    epochs: tuple[int, ...]
    token_keys: int

    @property
    def ok(self) -> bool:
        """Whether all three agree."""
        return not self.findings


def reconcile(held: Held, keystore: Keystore, log: Log) -> Report:
    """Compare the three; findings are sorted."""
    findings = [
        *_blobs(held, keystore, log),
        *_ghosts(keystore, log),
        *_sealing(held, keystore, log),
        *_epochs(held, log),
        *_token(held, log),
    ]
    ordered = tuple(sorted(findings, key=lambda each: (each.kind, each.subject, each.place)))
    count = len(held.kms) + len(held.sealing)
    return Report(ordered, len(log.materials), len(log.sealing), tuple(sorted(held.epochs)), count)


def resident_id(place: Place) -> bytes:
    """The CKA_ID of a key version that stays in the token."""
    return in_token_material.resident_id(key_id_bytes(place[0]), place[1])


def _blobs(held: Held, keystore: Keystore, log: Log) -> list[Finding]:
    """What is in the keystore, against log and token."""
    found: list[Finding] = []
    for place, blob in keystore.materials.items():
        name = _name(place)
        if place in log.erased:
            found.append(Finding("unerased", name, "keystore", "the log says that it is erased"))
        elif place not in log.materials:
            found.append(Finding("orphan", name, "keystore", "no event states this material"))
        elif log.materials[place] != blob.first_digest:
            found.append(Finding("mismatch", name, "keystore", "the blob is not the one that its event states"))
        try:
            parsed = blobs.parse(blob.present)
        except InvalidBlob as error:
            found.append(Finding("mismatch", name, "keystore", str(error)))
            continue
        if parsed.epoch not in held.epochs:
            detail = f"its blob is of storage epoch {parsed.epoch}, whose key is not in the token"
            found.append(Finding("keyless", name, "kms", detail))
        if parsed.is_resident and resident_id(place) not in held.kms:
            found.append(Finding("ghost", name, "kms", "its key must be in the token, and is not"))
    return found


def _ghosts(keystore: Keystore, log: Log) -> list[Finding]:
    """What the log states, and the keystore lacks."""
    return [
        Finding("ghost", _name(place), "keystore", "an event states this material, and there is no blob of it")
        for place in log.materials
        if place not in keystore.materials
    ]


def _sealing(held: Held, keystore: Keystore, log: Log) -> list[Finding]:
    found: list[Finding] = []
    for name in keystore.sealing.keys() | held.sealing:
        places = [("keystore", keystore.sealing.keys()), ("seal", held.sealing)]
        for place in (place for place, names in places if name in names):
            if name in log.sealing_erased:
                found.append(Finding("unerased", _sealing_name(name), place, "the log says that it is erased"))
            elif name not in log.sealing:
                found.append(Finding("orphan", _sealing_name(name), place, "no event states this sealing key"))
    for name, digest in log.sealing.items():
        if name not in keystore.sealing:
            found.append(Finding("ghost", _sealing_name(name), "keystore", "there is no blob of it"))
        elif keystore.sealing[name] != digest:
            found.append(Finding("mismatch", _sealing_name(name), "keystore", "the blob is not the one of its event"))
        if name not in held.sealing:
            found.append(Finding("ghost", _sealing_name(name), "seal", "the key around it is not in the token"))
    return found


def _epochs(held: Held, log: Log) -> list[Finding]:
    """Storage epochs by the log, against the token."""
    gone = [
        Finding("keyless", f"epoch {epoch}", "kms", "the token holds no key of this storage epoch")
        for epoch in log.epochs - log.epochs_ended - held.epochs
    ]
    kept = [
        Finding("unerased", f"epoch {epoch}", "kms", "the log says that this epoch's key is destroyed")
        for epoch in log.epochs_ended & held.epochs
    ]
    unknown = [
        Finding("orphan", f"epoch {epoch}", "kms", "no event has begun this storage epoch")
        for epoch in held.epochs - log.epochs
    ]
    return gone + kept + unknown


def _token(held: Held, log: Log) -> list[Finding]:
    """The other keys in the token `kms`: its own, and the resident ones."""
    found = [
        Finding("missing", key_id.decode(), "kms", "the token cannot serve without this key")
        for key_id in NEEDED
        if key_id not in held.kms
    ]
    live = {resident_id(place) for place in log.materials}
    erased = {resident_id(place) for place in log.erased}
    for key_id in held.kms - live:
        name = key_id.decode("ascii", "backslashreplace")
        if key_id in erased:
            found.append(Finding("unerased", name, "kms", "the log says that this key is erased"))
        elif not key_id.startswith((*_OWN, EPOCH_PREFIX)):
            found.append(Finding("orphan", name, "kms", "no event states this key"))
    return found


def _name(place: Place) -> str:
    return f"{place[0]} version {place[1]}"


def _sealing_name(name: str) -> str:
    return f"sealing key {name}"
