"""Evidence that stands beside entities: what the HSM worker says of material and epochs, and root of keys. Pure.

Rows of the tables in `IN_PARTS` come into being bit by bit: a document names only the columns that an event says
something about, and a store leaves the others as they are.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from keyfold.events import facts
from keyfold.events.signatures import fingerprint
from keyfold.projections.rows import AuditRow
from keyfold.projections.tables import Staged

IN_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "key_materials": (
        "key_id", "version", "generated_at", "imported_at", "blob_digest", "public_key", "attributes",
        "key_check_value", "erased_at", "certified_at", "certificate_event", "certificate", "epoch",
    ),
    "storage_epochs": (
        "epoch", "begun_at", "begun_by", "begun_event", "destroyed_at", "destroyed_event", "token", "serial", "module",
        "answer", "found_after", "evidence",
    ),
}  # fmt: skip
_MATERIAL: Final = {"blob_digest", "public_key", "attributes"}
_DESTRUCTION: Final = {"token", "serial", "module", "answer", "found_after", "evidence"}


def evidence_rows(event: facts.Event, place: AuditRow) -> Iterator[Staged]:
    """Yield what an event states, apart from what it does to entities; `place` is its row of the audit."""
    match event:
        case facts.KeyMaterialGenerated() | facts.KeyMaterialImported() | facts.KeyUseCeased() | facts.KeyErased():
            yield from _material(event)
        case facts.StorageEpochBegun(data=data):
            begun = {"begun_at": event.time, "begun_by": place.principal, "begun_event": event.id}
            yield Staged("storage_epochs", {"epoch": data.epoch, **begun})
        case facts.StorageEpochTurned():
            yield _turned(event, place)
        case facts.StorageEpochKeyDestroyed(data=data):
            destroyed = {"destroyed_at": event.time, "destroyed_event": event.id}
            yield Staged("storage_epochs", {"epoch": data.epoch, **destroyed, **data.model_dump(include=_DESTRUCTION)})
        case facts.ServiceKeyCertified() | facts.ServiceKeyRevoked():
            yield _root(event, place)
        case _:
            return


def _material(
    event: facts.KeyMaterialGenerated | facts.KeyMaterialImported | facts.KeyUseCeased | facts.KeyErased,
) -> Iterator[Staged]:
    match event:
        case facts.KeyMaterialGenerated(data=data):
            yield _of_version(data.key_id, data.version, generated_at=event.time, **data.model_dump(include=_MATERIAL))
        case facts.KeyMaterialImported(data=data):
            imported = {"imported_at": event.time, "key_check_value": data.key_check_value, "erased_at": None}
            yield _of_version(data.key_id, data.version, **imported, **data.model_dump(include=_MATERIAL))
        case facts.KeyUseCeased(data=data):
            for version in data.erased_versions:
                yield _of_version(data.key_id, version, erased_at=event.time)
        case facts.KeyErased(data=data):
            certificate = {"certificate": data.model_dump(mode="json"), "epoch": data.epoch}
            certified = {"certified_at": event.time, "certificate_event": event.id, **certificate}
            for version in data.versions:
                yield _of_version(data.key_id, version, **certified)


def _of_version(key_id: str, version: int, **known: Any) -> Staged:
    return Staged("key_materials", {"key_id": key_id, "version": version, **known})


def _turned(event: facts.StorageEpochTurned, place: AuditRow) -> Staged:
    """The partition is the one in which it was said, whatever it says of itself."""
    where = {"partition": place.partition, "kafka_offset": place.kafka_offset, "position": place.position}
    said = {"epoch": event.data.epoch, "turned_at": event.time, "versions": event.data.versions}
    return Staged("storage_epoch_turns", {**said, **where})


def _root(event: facts.ServiceKeyCertified | facts.ServiceKeyRevoked, place: AuditRow) -> Staged:
    signer = fingerprint(bytes.fromhex(event.data.public_key))
    known: dict[str, Any] = {"position": place.position, "signer": signer}
    if isinstance(event, facts.ServiceKeyRevoked):
        return Staged("revocations", {**known, "last_valid": event.data.last_valid, "revoked_at": event.time})
    data = event.data.model_dump(include={"service", "topics", "not_before", "not_after"})
    return Staged("certificates", {**known, **data})
