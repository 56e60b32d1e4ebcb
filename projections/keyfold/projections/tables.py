"""From entities to rows: which rows of which tables differ between two states of an entity. Pure.

A row is a document whose names are the columns of its table. Only what changed is staged: using a key touches one row
of `key_versions`, not the key. A column is named as the entity's field, except what is a word of SQL
and the ids of grants and proposals. What stands beside entities is in `evidence`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyfold.events import entities
from keyfold.events.entities import Entity, Key, Principal, PrincipalKey
from keyfold.events.incident_entities import Incident, Suppression
from keyfold.events.streams import REGISTRY
from keyfold.projections.naming import bucket_columns
from keyfold.projections.rows import DirectoryRecord, Report, Usage

_KEY_PARTS: Final = {"kind", "versions", "policies"}
KEY_COLUMNS: Final = tuple(name for name in Key.model_fields if name not in _KEY_PARTS)

PRIMARY_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "keys": ("key_id",),
    "key_versions": ("key_id", "version"),
    "key_materials": ("key_id", "version"),
    "principals": ("principal",),
    "signing_keys": ("principal", "signing_key"),
    "signing_key_index": ("signing_key",),
    "issuers": ("issuer",),
    "limits": ("limit_name",),
    "buckets": ("partition", "bucket"),
    "grants": ("grant_id",),
    "grant_index": ("key_id", "grantee"),
    "proposals": ("proposal_id",),
    "handled_incidents": ("incident",),
    "suppressions": ("suppression",),
    "aliases": ("alias",),
    "policies": ("stream", "policy"),
    "sealing_keys": ("sealing_key",),
    "deployment": ("id",),
    "capabilities": ("id",),
    "storage_epochs": ("epoch",),
    "storage_epoch_turns": ("epoch", "partition"),
    "certificates": ("position",),
    "revocations": ("position",),
    "usage": ("stream", "version", "principal", "verb"),
    "reports": ("partition", "kafka_offset"),
    "directory": ("name",),
}
_TABLES: Final[Mapping[type[Any], str]] = {
    entities.SigningKey: "signing_key_index",
    entities.Alias: "aliases",
    entities.RegistryPolicy: "policies",
    entities.Issuer: "issuers",
    entities.Limit: "limits",
    entities.Bucket: "buckets",
    entities.Grant: "grants",
    entities.Grants: "grant_index",
    entities.Proposal: "proposals",
    Incident: "handled_incidents",
    Suppression: "suppressions",
    entities.SealingKey: "sealing_keys",
    entities.Deployment: "deployment",
    entities.Capabilities: "capabilities",
}
_REMOVABLE: Final[Mapping[str, tuple[str, str]]] = {
    "policy": ("policies", "policy"),
    "signing-key": ("signing_key_index", "signing_key"),
    "issuer": ("issuers", "issuer"),
    "limit": ("limits", "limit_name"),
    "suppression": ("suppressions", "suppression"),
}
_RENAMED: Final = {"grant": "grant_id", "group": "group_name", "limit": "limit_name", "proposal": "proposal_id"}


@dataclass(frozen=True, slots=True)
class Staged:
    """One row to write, or to remove (then only its primary key counts)."""

    table: str
    document: dict[str, Any]
    removed: bool = False

    def key(self) -> tuple[Any, ...]:
        """Return the values of the primary key."""
        return tuple(self.document[column] for column in PRIMARY_KEYS[self.table])


def entity_rows(partition: int, name: str, old: Entity | None, new: Entity | None) -> Iterator[Staged]:
    """Yield the rows that bring the tables from one state of an entity to another, as a partition's fold says it."""
    if new is None:
        yield _removed(name)
    elif isinstance(new, Key):
        yield from _key_rows(name, old if isinstance(old, Key) else None, new)
    elif isinstance(new, Principal):
        yield from _principal_rows(old if isinstance(old, Principal) else None, new)
    elif new != old:
        yield _simple_row(partition, name, new)


def usage_row(usage: Usage) -> Staged:
    """Return what is added to a row of `usage`."""
    return Staged("usage", {name: getattr(usage, name) for name in Usage.__slots__})


def report_row(report: Report) -> Staged:
    """Return a report as a row."""
    return Staged("reports", {name: getattr(report, name) for name in Report.__slots__})


def directory_rows(partition: int, record: DirectoryRecord) -> Iterator[Staged]:
    """Yield a row for each name of a directory record; bytes are written as Postgres reads them."""
    document = {
        "partition": partition,
        "kafka_offset": record.kafka_offset,
        "value": "\\x" + record.value.hex(),
        "headers": [[name, value.hex()] for name, value in record.headers],
    }
    for name in record.names:
        yield Staged("directory", {"name": name, **document})


def _removed(name: str) -> Staged:
    kind, _, rest = name.partition("/")
    if kind == "alias":
        return Staged("aliases", {"alias": name}, removed=True)
    if kind not in _REMOVABLE:
        raise TypeError(f"entities of this kind are never removed: {kind}")
    table, column = _REMOVABLE[kind]
    place = {"stream": REGISTRY} if kind == "policy" else {}
    return Staged(table, {**place, column: rest}, removed=True)


def _key_rows(name: str, old: Key | None, new: Key) -> Iterator[Staged]:
    if old is None or any(getattr(new, column) != getattr(old, column) for column in KEY_COLUMNS):
        yield Staged("keys", new.model_dump(mode="json", exclude=_KEY_PARTS))
    known = old.versions if old else ()
    for index, version in enumerate(new.versions):
        if index >= len(known) or version != known[index]:
            yield Staged("key_versions", _version(new.key_id, version))
    if new.policies != (old.policies if old else ()):
        yield from _policy_rows(name, old.policies if old else (), new.policies)


def _version(key_id: str, version: entities.KeyVersion) -> dict[str, Any]:
    document = version.model_dump(mode="json")
    return {"key_id": key_id, "command_offset": document.pop("offset"), **document}


def _policy_rows(
    stream: str, old: tuple[entities.AttachedPolicy, ...], new: tuple[entities.AttachedPolicy, ...]
) -> Iterator[Staged]:
    kept = {policy.policy for policy in new}
    for policy in old:
        if policy.policy not in kept:
            yield Staged("policies", {"stream": stream, "policy": policy.policy}, removed=True)
    for ordinal, policy in enumerate(new):
        document = {"stream": stream, "policy": policy.policy, "ordinal": ordinal, "text": policy.text}
        yield Staged("policies", {**document, "updated_at": None})


def _principal_rows(old: Principal | None, new: Principal) -> Iterator[Staged]:
    if old is None or old.model_copy(update={"keys": new.keys}) != new:
        yield Staged("principals", new.model_dump(mode="json", exclude={"kind", "keys"}))
    yield from _signing_key_rows(new.principal, old.keys if old else (), new.keys)


def _signing_key_rows(principal: str, old: tuple[PrincipalKey, ...], new: tuple[PrincipalKey, ...]) -> Iterator[Staged]:
    """A key that takes another place in the order is written again, as one that changed."""
    known = {key.signing_key: (ordinal, key) for ordinal, key in enumerate(old)}
    kept = {key.signing_key for key in new}
    for signing_key in known:
        if signing_key not in kept:
            yield Staged("signing_keys", {"principal": principal, "signing_key": signing_key}, removed=True)
    for ordinal, key in enumerate(new):
        if known.get(key.signing_key) != (ordinal, key):
            document = {"principal": principal, "ordinal": ordinal, **key.model_dump(mode="json")}
            yield Staged("signing_keys", document)


def _simple_row(partition: int, name: str, entity: Entity) -> Staged:
    table = _TABLES.get(type(entity))
    if table is None:
        raise TypeError(f"no table for {name}")
    document = entity.model_dump(mode="json", exclude={"kind"})
    columns = {_RENAMED.get(field, field): value for field, value in document.items()}
    return Staged(table, _named(partition, name, entity) | columns)


def _named(partition: int, name: str, entity: Entity) -> dict[str, Any]:
    """Return the columns that say what is not in the entity but in its name, or in neither."""
    rest = name.partition("/")[2]
    match entity:
        case entities.SigningKey():
            return {"signing_key": rest}
        case entities.RegistryPolicy():
            return {"stream": REGISTRY, "ordinal": 0}
        case entities.Bucket():
            return {"partition": partition, "bucket": name, **bucket_columns(name)}
        case entities.Grants():
            key_id, _, grantee = rest.partition("/")
            return {"key_id": key_id, "grantee": grantee}
        case entities.Deployment() | entities.Capabilities():
            return {"id": 1}
        case _:
            return {}
