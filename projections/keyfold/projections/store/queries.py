"""Reading the live schema in Postgres, through the views that a swap redirects. See the port `Queries`.

Every query is one read-only transaction; it needs no right but SELECT on the schema `keyfold`.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from keyfold.events.entities import (
    Alias,
    Capabilities,
    Deployment,
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
from keyfold.projections import sqlfiles
from keyfold.projections.errors import StoreUnavailable
from keyfold.projections.filters import conditions, cursor_of, place_of
from keyfold.projections.ports import AuditFilter, AuditPage, KeyPage, SchemaStatus
from keyfold.projections.rows import (
    AuditRow,
    BucketRow,
    DueDeletion,
    DueExpiry,
    DueRotation,
    EpochTurn,
    Erasure,
    KeySummary,
    LastUse,
    PolicyRow,
    Progress,
    PublicKeyRow,
    Report,
    StorageEpoch,
    Usage,
    VersionRow,
)
from keyfold.projections.store.schemas import status_row
from keyfold.projections.store.session import Row, Session

Model = TypeVar("Model", bound=BaseModel)

_SQL: Final = sqlfiles.statements("queries")
_STATUS: Final = sqlfiles.statements("schemas")["status"]
_SETTINGS: Final = {"search_path": "pg_catalog", "default_transaction_read_only": "on"}
_POLICIES: Final = AuditRow.__slots__.index("policies")
_ALL: Final = AuditFilter()


class PostgresQueries:
    """See the port. A query that met a swap or a restart is asked once more; then `StoreUnavailable`."""

    def __init__(self, dsn: str, *, deadline_s: float = 10.0) -> None:
        self._session = Session(dsn, settings=_SETTINGS, deadline_s=deadline_s)

    async def describe_key(self, key_id: str) -> Key | None:
        """Return a key with its versions and policies."""
        return _first(await self._entities(Key, "describe_key", key_id=key_id))

    async def list_keys(
        self,
        *,
        after: str | None = None,
        limit: int = 100,
        status: str | None = None,
        state: str | None = None,
        now: str | None = None,
    ) -> KeyPage:
        """Return keys by id, at most `limit`, with their states at `now` (default: Postgres' clock)."""
        wanted = {"after": after, "limit": limit, "status": status, "state": state, "now": now}
        rows = await self._fetch(_SQL["list_keys"], wanted)
        keys = tuple(KeySummary(*(*row[:9], tuple(row[9]), *row[10:])) for row in rows)
        return KeyPage(keys, keys[-1].key_id if len(keys) == limit else None)

    async def key_versions(self, key_id: str) -> tuple[VersionRow, ...]:
        """Return a key's versions with their use."""
        return tuple(VersionRow(*row) for row in await self._fetch(_SQL["key_versions"], {"key_id": key_id}))

    async def last_use(self, key_id: str) -> tuple[LastUse, ...]:
        """Return the last use of each version that ever served an item."""
        return tuple(LastUse(*row) for row in await self._fetch(_SQL["last_use"], {"key_id": key_id}))

    async def public_key(self, key_id: str, version: int | None = None) -> PublicKeyRow | None:
        """Return the public half of a version, by default the current one."""
        rows = await self._fetch(_SQL["public_key"], {"key_id": key_id, "version": version})
        return PublicKeyRow(*rows[0]) if rows else None

    async def erasures(self, key_id: str) -> tuple[Erasure, ...]:
        """Return the erasure certificates of a key's versions."""
        rows = await self._fetch(_SQL["erasures"], {"key_id": key_id})
        return tuple(Erasure(*(*row[:4], KeyErased.Data.model_validate_json(row[4]))) for row in rows)

    async def usage(self, *, stream: str | None = None, principal: str | None = None) -> tuple[Usage, ...]:
        """Return exact use, by stream, version, principal and verb."""
        return tuple(
            Usage(*row) for row in await self._fetch(_SQL["usage"], {"stream": stream, "principal": principal})
        )

    async def aliases(self, *, key_id: str | None = None) -> tuple[Alias, ...]:
        """Return all aliases, or those of one key."""
        return tuple(await self._entities(Alias, "aliases", key_id=key_id))

    async def resolve_alias(self, alias: str) -> Alias | None:
        """Return one alias."""
        return _first(await self._entities(Alias, "resolve_alias", alias=alias))

    async def principals(self) -> tuple[Principal, ...]:
        """Return all principals, revoked ones too."""
        return tuple(await self._entities(Principal, "principals"))

    async def principal(self, name: str) -> Principal | None:
        """Return one principal."""
        return _first(await self._entities(Principal, "principal", principal=name))

    async def issuers(self) -> tuple[Issuer, ...]:
        """Return all issuers, by name."""
        return tuple(await self._entities(Issuer, "issuers"))

    async def limits(self) -> tuple[Limit, ...]:
        """Return all limits, by name."""
        return tuple(await self._entities(Limit, "limits"))

    async def suppressions(self) -> tuple[Suppression, ...]:
        """Return all suppressions of findings, by name."""
        return tuple(await self._entities(Suppression, "suppressions"))

    async def buckets(self, principal: str | None = None) -> tuple[BucketRow, ...]:
        """Return how full limits are, by name and partition; all, or one principal's."""
        return tuple(BucketRow(*row) for row in await self._fetch(_SQL["buckets"], {"principal": principal}))

    async def grants(
        self, *, key_id: str | None = None, grantee: str | None = None, live_at: str | None = None
    ) -> tuple[Grant, ...]:
        """Return grants, oldest first; with `live_at` those that hold at this instant."""
        return tuple(await self._entities(Grant, "grants", key_id=key_id, grantee=grantee, live_at=live_at))

    async def grant(self, grant_id: str) -> Grant | None:
        """Return one grant."""
        return _first(await self._entities(Grant, "grant", grant=grant_id))

    async def proposals(self, *, stream: str | None = None, status: str | None = None) -> tuple[Proposal, ...]:
        """Return proposals, oldest first."""
        return tuple(await self._entities(Proposal, "proposals", stream=stream, status=status))

    async def proposal(self, proposal_id: str) -> Proposal | None:
        """Return one proposal."""
        return _first(await self._entities(Proposal, "proposal", proposal=proposal_id))

    async def policies(self, *, stream: str | None = None) -> tuple[PolicyRow, ...]:
        """Return all policies, or those of `registry` or of one key's stream."""
        return tuple(PolicyRow(*row) for row in await self._fetch(_SQL["policies"], {"stream": stream}))

    async def sealing_keys(self) -> tuple[SealingKey, ...]:
        """Return all sealing keys, oldest first."""
        return tuple(await self._entities(SealingKey, "sealing_keys"))

    async def deployment(self) -> Deployment | None:
        """Return what genesis fixed; None before it."""
        return _first(await self._entities(Deployment, "deployment"))

    async def capabilities(self) -> Capabilities | None:
        """Return what keys can be made here."""
        return _first(await self._entities(Capabilities, "capabilities"))

    async def storage_epoch(self) -> StorageEpoch | None:
        """Return the current storage epoch and which partitions have turned to it."""
        rows = await self._fetch(_SQL["storage_epoch"])
        return StorageEpoch(*(*rows[0][:7], tuple(EpochTurn(*t) for t in json.loads(rows[0][7])))) if rows else None

    async def audit(
        self, wanted: AuditFilter = _ALL, *, limit: int = 100, after: str | None = None, oldest_first: bool = False
    ) -> AuditPage:
        """Return audit rows by time, newest first unless told otherwise."""
        place = place_of(after) if after is not None else None
        where, parameters = conditions(wanted, place, oldest_first=oldest_first)
        rows = await self._audit_rows(f"{where} LIMIT %(limit)s", {**parameters, "limit": limit})
        return AuditPage(rows, cursor_of(rows[-1]) if len(rows) == limit else None)

    async def audit_log(self, partition: int, position: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:
        """Return one partition's rows in the order of the log."""
        parameters = {"partition": partition, "position": position, "limit": limit}
        return await self._audit_rows(" " + _SQL["audit_log"], parameters)

    async def due_deletions(self, now: str, limit: int = 100) -> tuple[DueDeletion, ...]:
        """Return keys whose waiting period is over, the longest due first."""
        rows = await self._fetch(_SQL["due_deletions"], {"now": now, "limit": limit})
        return tuple(DueDeletion(*row) for row in rows)

    async def due_rotations(self, now: str, limit: int = 100) -> tuple[DueRotation, ...]:
        """Return keys whose current version is to be replaced, the most urgent first."""
        rows = await self._fetch(_SQL["due_rotations"], {"now": now, "limit": limit})
        return tuple(DueRotation(*row) for row in rows)

    async def due_material_expiries(self, now: str, limit: int = 100) -> tuple[DueExpiry, ...]:
        """Return versions whose imported material is over, the longest due first."""
        rows = await self._fetch(_SQL["due_material_expiries"], {"now": now, "limit": limit})
        return tuple(DueExpiry(*row) for row in rows)

    async def progress(self) -> tuple[Progress, ...]:
        """Return how far each partition is folded."""
        return tuple(Progress(*row) for row in await self._fetch(_SQL["progress"]))

    async def reports(self, limit: int = 100) -> tuple[Report, ...]:
        """Return records that could not be believed, newest first."""
        return tuple(Report(*row) for row in await self._fetch(_SQL["reports"], {"limit": limit}))

    async def status(self) -> SchemaStatus:
        """Return which schema is live, and whether another one is being filled."""
        return status_row((await self._fetch(_STATUS))[0])

    async def close(self) -> None:
        """Release the connection."""
        await self._session.close()

    async def _fetch(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        try:
            return await self._session.run(lambda tx: tx.fetch(statement, parameters))
        except StoreUnavailable:
            await asyncio.sleep(0.05)
            return await self._session.run(lambda tx: tx.fetch(statement, parameters))

    async def _entities(self, model: type[Model], statement: str, **parameters: Any) -> list[Model]:
        rows = await self._fetch(_SQL[statement], parameters or None)
        try:
            return [model.model_validate_json(document) for (document,) in rows]
        except ValidationError:
            raise StoreUnavailable(
                "the live projections have the layout of another release; the projector rebuilds them"
            ) from None

    async def _audit_rows(self, rest: str, parameters: Mapping[str, Any]) -> tuple[AuditRow, ...]:
        return tuple(_audit_row(row) for row in await self._fetch(_SQL["audit"] + rest, parameters))


def _audit_row(row: Row) -> AuditRow:
    policies = None if row[_POLICIES] is None else tuple(row[_POLICIES])
    values = (*row[:_POLICIES], policies, *row[_POLICIES + 1 :])
    return AuditRow(*values)


def _first(found: list[Model]) -> Model | None:
    return found[0] if found else None
