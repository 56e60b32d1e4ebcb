"""Reading the live schema in memory. See `keyfold.projections.ports.Queries`."""

import asyncio
import json
from dataclasses import replace
from typing import Any, Final, TypeVar

from keyfold.events.entities import (
    Alias,
    Deployment,
    Entity,
    Grant,
    Issuer,
    Key,
    Limit,
    Principal,
    Proposal,
    SealingKey,
)
from keyfold.events.times import to_milliseconds
from keyfold.projections.filters import beyond, cursor_of, matches, place_of
from keyfold.projections.memory.schemas import EPOCH, MemorySchemas, Schema
from keyfold.projections.ports import AuditFilter, AuditPage, KeyPage, SchemaStatus
from keyfold.projections.rows import (
    AuditRow,
    BucketRow,
    DueDeletion,
    DueRotation,
    KeySummary,
    PolicyRow,
    Progress,
    Report,
    Usage,
    VersionRow,
)

Kind = TypeVar("Kind", bound=Entity)

_ALL: Final = AuditFilter()


class MemoryQueries:
    """Answers from what `MemorySchemas` hold; like a database, it keeps contexts by meaning, not by spelling."""

    def __init__(self, schemas: MemorySchemas) -> None:
        self._schemas = schemas

    async def describe_key(self, key_id: str) -> Key | None:
        """Return a key."""
        return (await self._by_name(Key)).get(f"key/{key_id}")

    async def list_keys(self, *, after: str | None = None, limit: int = 100, status: str | None = None) -> KeyPage:
        """Return keys by id."""
        keys = sorted((await self._by_name(Key)).values(), key=lambda key: key.key_id)
        aliases = await self.aliases()
        found = [
            _summary(key, tuple(alias.alias for alias in aliases if alias.key_id == key.key_id))
            for key in keys
            if key.key_id > (after or "") and status in {None, key.status}
        ][:limit]
        return KeyPage(tuple(found), found[-1].key_id if len(found) == limit else None)

    async def key_versions(self, key_id: str) -> tuple[VersionRow, ...]:
        """Return a key's versions."""
        schema = await self._live()
        rows = [row for row in schema.rows["key_versions"].values() if row["key_id"] == key_id]
        return tuple(_version(schema, row) for row in sorted(rows, key=lambda row: int(row["version"])))

    async def usage(self, *, stream: str | None = None, principal: str | None = None) -> tuple[Usage, ...]:
        """Return exact use."""
        rows = sorted((await self._live()).rows["usage"].items())
        return tuple(
            Usage(**row) for _, row in rows if stream in {None, row["stream"]} and principal in {None, row["principal"]}
        )

    async def aliases(self, *, key_id: str | None = None) -> tuple[Alias, ...]:
        """Return aliases."""
        found = sorted((await self._by_name(Alias)).items())
        return tuple(alias for _, alias in found if key_id in {None, alias.key_id})

    async def resolve_alias(self, alias: str) -> Alias | None:
        """Return one alias."""
        return (await self._by_name(Alias)).get(alias)

    async def principals(self) -> tuple[Principal, ...]:
        """Return all principals."""
        return tuple(principal for _, principal in sorted((await self._by_name(Principal)).items()))

    async def principal(self, name: str) -> Principal | None:
        """Return one principal."""
        return (await self._by_name(Principal)).get(f"principal/{name}")

    async def issuers(self) -> tuple[Issuer, ...]:
        """Return issuers by name."""
        return tuple(issuer for _, issuer in sorted((await self._by_name(Issuer)).items()))

    async def limits(self) -> tuple[Limit, ...]:
        """Return limits by name."""
        return tuple(limit for _, limit in sorted((await self._by_name(Limit)).items()))

    async def buckets(self, principal: str | None = None) -> tuple[BucketRow, ...]:
        """Return how full limits are, by name and partition."""
        rows = [BucketRow(**row) for row in (await self._live()).rows["buckets"].values()]
        found = [row for row in rows if principal in {None, row.principal}]
        return tuple(sorted(found, key=lambda row: (row.bucket, row.partition)))

    async def grants(
        self, *, key_id: str | None = None, grantee: str | None = None, live_at: str | None = None
    ) -> tuple[Grant, ...]:
        """Return grants, oldest first."""
        now_ms = None if live_at is None else to_milliseconds(live_at)
        found = [
            grant
            for grant in (await self._by_name(Grant)).values()
            if key_id in {None, grant.key_id}
            and grantee in {None, grant.grantee}
            and (now_ms is None or grant.live(now_ms))
        ]
        return tuple(sorted(found, key=lambda grant: (grant.created_at, grant.grant)))

    async def grant(self, grant_id: str) -> Grant | None:
        """Return one grant."""
        return (await self._by_name(Grant)).get(f"grant/{grant_id}")

    async def proposals(self, *, stream: str | None = None, status: str | None = None) -> tuple[Proposal, ...]:
        """Return proposals, oldest first."""
        found = [
            proposal
            for proposal in (await self._by_name(Proposal)).values()
            if stream in {None, proposal.stream} and status in {None, proposal.status}
        ]
        return tuple(sorted(found, key=lambda proposal: (proposal.created_at, proposal.proposal)))

    async def proposal(self, proposal_id: str) -> Proposal | None:
        """Return one proposal."""
        return (await self._by_name(Proposal)).get(f"proposal/{proposal_id}")

    async def policies(self, *, stream: str | None = None) -> tuple[PolicyRow, ...]:
        """Return policies."""
        rows = (await self._live()).rows["policies"].values()
        ordered = sorted(rows, key=lambda r: (r["stream"] != "registry", r["stream"], r["ordinal"], r["policy"]))
        return tuple(
            PolicyRow(row["stream"], row["policy"], row["text"], row["updated_at"])
            for row in ordered
            if stream in {None, row["stream"]}
        )

    async def sealing_keys(self) -> tuple[SealingKey, ...]:
        """Return sealing keys, oldest first."""
        found = (await self._by_name(SealingKey)).values()
        return tuple(sorted(found, key=lambda key: (key.published_at, key.sealing_key)))

    async def deployment(self) -> Deployment | None:
        """Return what genesis fixed."""
        return (await self._by_name(Deployment)).get("deployment")

    async def audit(
        self, wanted: AuditFilter = _ALL, *, limit: int = 100, after: str | None = None, oldest_first: bool = False
    ) -> AuditPage:
        """Return audit rows by time."""
        place = place_of(after) if after is not None else None
        rows = sorted(
            (await self._live()).audit,
            key=lambda row: (row.time, row.partition, row.position),
            reverse=not oldest_first,
        )
        found = [row for row in rows if matches(wanted, row) and beyond(row, place, oldest_first=oldest_first)][:limit]
        return AuditPage(tuple(map(_stored, found)), cursor_of(found[-1]) if len(found) == limit else None)

    async def audit_log(self, partition: int, position: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:
        """Return one partition's rows."""
        rows = [row for row in (await self._live()).audit if row.partition == partition and row.position >= position]
        return tuple(map(_stored, sorted(rows, key=lambda row: row.position)[:limit]))

    async def due_deletions(self, now: str, limit: int = 100) -> tuple[DueDeletion, ...]:
        """Return keys whose waiting period is over."""
        found = sorted(
            (key.deletion_date, key.key_id)
            for key in (await self._by_name(Key)).values()
            if key.status == "PendingDeletion" and key.deletion_date is not None and key.deletion_date <= now
        )
        return tuple(DueDeletion(key_id, date) for date, key_id in found[:limit])

    async def due_rotations(self, limit: int = 100) -> tuple[DueRotation, ...]:
        """Return keys that have used their share of the budget, the most urgent first."""
        found = sorted(
            (key.usage_budget - key.version(key.current_version).protected_items, key.key_id, key.current_version)
            for key in (await self._by_name(Key)).values()
            if _rotation_due(key)
        )
        return tuple(DueRotation(key_id, version) for _, key_id, version in found[:limit])

    async def progress(self) -> tuple[Progress, ...]:
        """Return how far each partition is folded."""
        schema = await self._live()
        return tuple(
            Progress(p, o.next, o.position, o.published, o.last_time, schema.halted.get(p), EPOCH)
            for p, o in sorted(schema.offsets.items())
        )

    async def reports(self, limit: int = 100) -> tuple[Report, ...]:
        """Return reports, newest first."""
        found = [Report(**row) for row in (await self._live()).rows["reports"].values()]
        found.sort(key=lambda report: (-report.kafka_offset, report.partition))
        return tuple(sorted(found, key=lambda report: report.time, reverse=True)[:limit])

    async def status(self) -> SchemaStatus:
        """Return which schema is live."""
        return await self._schemas.status()

    async def close(self) -> None:
        """Nothing to release."""

    async def _live(self) -> Schema:
        await asyncio.sleep(0)
        return self._schemas.schema((await self._schemas.status()).live)

    async def _by_name(self, kind: type[Kind]) -> dict[str, Kind]:
        entities = (await self._live()).entities
        return {name: entity for name, entity in entities.items() if isinstance(entity, kind)}


def _rotation_due(key: Key) -> bool:
    version = key.version(key.current_version)
    if key.status != "Enabled" or version.status != "Active" or key.rotate_at_percent is None:
        return False
    return version.protected_items * 100 >= key.usage_budget * key.rotate_at_percent


def _summary(key: Key, aliases: tuple[str, ...]) -> KeySummary:
    return KeySummary(
        key.key_id,
        key.key_spec,
        key.protection,
        key.status,
        key.description,
        key.created_at,
        key.created_by,
        key.current_version,
        key.deletion_date,
        aliases,
    )


def _version(schema: Schema, row: dict[str, Any]) -> VersionRow:
    uses = [
        use
        for use in schema.rows["usage"].values()
        if use["stream"] == f"key/{row['key_id']}" and use["version"] == row["version"]
    ]
    material = schema.rows["key_materials"].get((row["key_id"], row["version"]), {})
    return VersionRow(
        row["key_id"],
        row["version"],
        row["status"],
        row["created_at"],
        row["command_offset"],
        row["protected_items"],
        sum(use["items"] for use in uses),
        max((use["last_used_at"] for use in uses if use["items"]), default=None),
        material.get("generated_at"),
        material.get("erased_at"),
    )


def _stored(row: AuditRow) -> AuditRow:
    """Spell contexts as Postgres' jsonb does: names ordered by length, then bytes."""
    if row.contexts is None:
        return row
    contexts = [
        {name: context[name] for name in sorted(context, key=lambda name: (len(name.encode()), name.encode()))}
        for context in json.loads(row.contexts)
    ]
    return replace(row, contexts=json.dumps(contexts, ensure_ascii=False))
