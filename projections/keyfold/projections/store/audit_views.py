"""Reading the auditors' views in Postgres: rows as they stand there, with the names of their columns.

They are for people and spreadsheets. What programs decide by is in the port `Queries`, which knows each column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyfold.projections import sqlfiles
from keyfold.projections.store.session import Session, Statements

_SQL: Final = sqlfiles.statements("audit_views")
_SETTINGS: Final = {"search_path": "pg_catalog", "default_transaction_read_only": "on"}

VIEWS: Final = tuple(_SQL)
"""The names of the views, and of the function `keys_not_rotated`."""


@dataclass(frozen=True, slots=True)
class ViewRows:
    """The rows of a view under the names of its columns; instants and ids are text, contexts and arguments JSON."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class ViewFilter:
    """Which rows are wanted; None means any. `days` is the least age of keys that were not rotated."""

    key_id: str | None = None
    principal: str | None = None
    since: str | None = None
    until: str | None = None
    days: int | None = None


class PostgresAuditViews:
    """One connection that reads the views of the schema `keyfold`; it needs no right but SELECT there."""

    def __init__(self, dsn: str, *, deadline_s: float = 30.0) -> None:
        self._session = Session(dsn, settings=_SETTINGS, deadline_s=deadline_s)

    async def rows(self, view: str, wanted: ViewFilter, *, limit: int) -> ViewRows:
        """Return rows of one of `VIEWS`, at most `limit`. Raises `StoreUnavailable`."""
        parameters: Mapping[str, Any] = {
            "key_id": wanted.key_id,
            "principal": wanted.principal,
            "since": wanted.since,
            "until": wanted.until,
            "days": wanted.days,
            "limit": limit,
        }

        async def work(tx: Statements) -> ViewRows:
            columns, rows = await tx.fetch_named(_SQL[view], parameters)
            return ViewRows(tuple(columns), tuple(rows))

        return await self._session.run(work)

    async def close(self) -> None:
        """Release the connection."""
        await self._session.close()
