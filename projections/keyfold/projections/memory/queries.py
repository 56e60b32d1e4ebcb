"""Reading the live schema in memory. See `keyfold.projections.ports.Queries`."""

import asyncio
import json
import time
from dataclasses import replace
from typing import Any, Final, TypeVar

from keyfold.events.entities import (
    Alias,
    Capabilities,
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
from keyfold.events.incident_entities import Suppression
from keyfold.events.storage import KeyErased
from keyfold.events.times import to_milliseconds
from keyfold.projections.filters import beyond, cursor_of, matches, place_of
from keyfold.projections.memory.describing import key_summary, last_uses, storage_epoch, version_row
from keyfold.projections.memory.schemas import EPOCH, MemorySchemas, Schema
from keyfold.projections.ports import AuditFilter, AuditPage, KeyPage, SchemaStatus
from keyfold.projections.rotation import rotation_due
from keyfold.projections.rows import (
    AuditRow,
    BucketRow,
    DueDeletion,
    DueExpiry,
    DueRotation,
    Erasure,
    LastUse,
    PolicyRow,
    Progress,
    PublicKeyRow,
    Report,
    StorageEpoch,
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

    async def list_keys(
        self,
        *,
        after: str | None = None,
        limit: int = 100,
        status: str | None = None,
        state: str | None = None,
        now: str | None = None,
    ) -> KeyPage:
        """Return keys by id, with their states at `now` (default: this machine's clock)."""
        now_ms = time.time_ns() // 1_000_000 if now is None else to_milliseconds(now)
        aliases = await self.aliases()
        keys = sorted((await self._by_name(Key)).values(), key=lambda key: key.key_id)
        summaries = [key_summary(key, aliases, now_ms) for key in keys if key.key_id > (after or "")]
        found = [each for each in summaries if status in {None, each.status} and state in {None, each.state}][:limit]
        return KeyPage(tuple(found), found[-1].key_id if len(found) == limit else None)

    async def key_versions(self, key_id: str) -> tuple[VersionRow, ...]:
        """Return a key's versions."""
        schema = await self._live()
        rows = [row for row in schema.rows["key_versions"].values() if row["key_id"] == key_id]
        return tuple(version_row(schema, row) for row in sorted(rows, key=lambda row: int(row["version"])))

    async def last_use(self, key_id: str) -> tuple[LastUse, ...]:
        """Return the last use of each version that ever served an item."""
        return last_uses(key_id, await self.usage(stream=f"key/{key_id}"))

    async def public_key(self, key_id: str, version: int | None = None) -> PublicKeyRow | None:
        """Return the public half of a version, by default the current one."""
        key = await self.describe_key(key_id)
        if key is None:
            return None
        wanted = key.current_version if version is None else version
        public = (await self._materials(key_id)).get(wanted, {}).get("public_key")
        return PublicKeyRow(key_id, wanted, key.key_spec, key.key_usage, public) if public is not None else None

    async def erasures(self, key_id: str) -> tuple[Erasure, ...]:
        """Return the erasure certificates of a key's versions."""
        return tuple(
            Erasure(key_id, version, row["certified_at"], row["certificate_event"], _certificate(row))
            for version, row in sorted((await self._materials(key_id)).items())
            if row["certified_at"] is not None
        )

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

    async def suppressions(self) -> tuple[Suppression, ...]:
        """Return suppressions by name."""
        return tuple(each for _, each in sorted((await self._by_name(Suppression)).items()))

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

    async def capabilities(self) -> Capabilities | None:
        """Return what keys can be made here."""
        return (await self._by_name(Capabilities)).get("capabilities")

    async def storage_epoch(self) -> StorageEpoch | None:
        """Return the current storage epoch and which partitions have turned to it."""
        deployment = await self.deployment()
        return None if deployment is None else storage_epoch(await self._live(), deployment)

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

    async def due_rotations(self, now: str, limit: int = 100) -> tuple[DueRotation, ...]:
        """Return keys whose current version is to be replaced, the most urgent first."""
        found = []
        for key in (await self._by_name(Key)).values():
            if (due := rotation_due(key, to_milliseconds(now))) is not None:
                found.append((due[0], key.key_id, DueRotation(key.key_id, key.current_version, due[1])))
        return tuple(due for _, _, due in sorted(found, key=lambda each: each[:2])[:limit])

    async def due_material_expiries(self, now: str, limit: int = 100) -> tuple[DueExpiry, ...]:
        """Return versions whose imported material is over, the longest due first."""
        found = sorted(
            (version.valid_to, key.key_id, version.version)
            for key in (await self._by_name(Key)).values()
            for version in key.versions
            if key.status in {"Enabled", "Disabled"}
            and version.material
            and version.status in {"Active", "Disabled"}
            and version.valid_to is not None
            and version.valid_to <= now
        )
        return tuple(DueExpiry(key_id, version, valid_to) for valid_to, key_id, version in found[:limit])

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

    async def _materials(self, key_id: str) -> dict[int, dict[str, Any]]:
        rows = (await self._live()).rows["key_materials"].values()
        return {int(row["version"]): row for row in rows if row["key_id"] == key_id}

    async def _by_name(self, kind: type[Kind]) -> dict[str, Kind]:
        entities = (await self._live()).entities
        return {name: entity for name, entity in entities.items() if isinstance(entity, kind)}


def _certificate(row: dict[str, Any]) -> KeyErased.Data:
    return KeyErased.Data.model_validate_json(json.dumps(row["certificate"]))


def _stored(row: AuditRow) -> AuditRow:
    """Spell contexts as Postgres' jsonb does: names ordered by length, then bytes."""
    if row.contexts is None:
        return row
    contexts = [
        {name: context[name] for name in sorted(context, key=lambda name: (len(name.encode()), name.encode()))}
        for context in json.loads(row.contexts)
    ]
    return replace(row, contexts=json.dumps(contexts, ensure_ascii=False))
