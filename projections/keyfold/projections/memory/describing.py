"""How keys, versions, their use and the storage epoch are shown by the store in memory. Pure; it reads one schema."""

from collections.abc import Iterable
from typing import Any

from keyfold.events.entities import Alias, Deployment, Key
from keyfold.events.key_states import state_of
from keyfold.projections.memory.schemas import Schema
from keyfold.projections.rows import EpochTurn, KeySummary, LastUse, StorageEpoch, Usage, VersionRow


def key_summary(key: Key, aliases: Iterable[Alias], now_ms: int) -> KeySummary:
    """Return a line of a list of keys."""
    return KeySummary(
        key_id=key.key_id,
        key_spec=key.key_spec,
        protection=key.protection,
        status=key.status,
        description=key.description,
        created_at=key.created_at,
        created_by=key.created_by,
        current_version=key.current_version,
        deletion_date=key.deletion_date,
        aliases=tuple(alias.alias for alias in aliases if alias.key_id == key.key_id),
        key_usage=key.key_usage,
        origin=key.origin,
        state=state_of(key, now_ms),
    )


def version_row(schema: Schema, row: dict[str, Any]) -> VersionRow:
    """Return a version with its use and the evidence of its material."""
    uses = [
        use
        for use in schema.rows["usage"].values()
        if use["stream"] == f"key/{row['key_id']}" and use["version"] == row["version"]
    ]
    material = schema.rows["key_materials"].get((row["key_id"], row["version"]), {})
    shown = {name: row[name] for name in VersionRow.__slots__ if name in row}
    evidence = {name: material.get(name) for name in ("generated_at", "imported_at", "erased_at")}
    used = {
        "used_items": sum(use["items"] for use in uses),
        "last_used_at": max((use["last_used_at"] for use in uses if use["items"]), default=None),
    }
    return VersionRow(**{**shown, **evidence, **used, "certified_at": row["erased_at"]})


def last_uses(key_id: str, uses: Iterable[Usage]) -> tuple[LastUse, ...]:
    """Return the last use of each version that ever served an item."""
    found: dict[int, LastUse] = {}
    served = [use for use in uses if use.items]
    for use in sorted(served, key=lambda use: use.principal, reverse=True):
        known = found.get(use.version)
        items = sum(other.items for other in served if other.version == use.version)
        if known is None or use.last_used_at >= known.last_used_at:
            found[use.version] = LastUse(key_id, use.version, use.last_used_at, use.principal, items)
    return tuple(use for _, use in sorted(found.items()))


def storage_epoch(schema: Schema, deployment: Deployment) -> StorageEpoch:
    """Return the current storage epoch and which partitions have turned to it."""
    begun = schema.rows["storage_epochs"].get((deployment.storage_epoch,), {})
    ended = schema.rows["storage_epochs"].get((deployment.storage_epoch_ended,), {})
    turns = [row for row in schema.rows["storage_epoch_turns"].values() if row["epoch"] == deployment.storage_epoch]
    return StorageEpoch(
        epoch=deployment.storage_epoch,
        ended=deployment.storage_epoch_ended,
        partitions=deployment.partitions,
        begun_at=begun.get("begun_at"),
        begun_by=begun.get("begun_by"),
        destroyed_at=ended.get("destroyed_at"),
        answer=ended.get("answer"),
        turned=tuple(
            EpochTurn(row["partition"], row["kafka_offset"], row["turned_at"], row["versions"])
            for row in sorted(turns, key=lambda row: int(row["partition"]))
        ),
    )
