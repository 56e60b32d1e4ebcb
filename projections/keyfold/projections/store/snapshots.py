"""A snapshot of the live schema in Postgres: one REPEATABLE READ transaction. See `keyfold.projections.snapshots`.

It reads through the views, with no right but SELECT, by server-side cursors; each statement and each fetch has a
deadline, the transaction as a whole has none.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from keyfold.projections import sqlfiles
from keyfold.projections.errors import StoreUnavailable
from keyfold.projections.positions import Offsets, load_places
from keyfold.projections.rows import AuditRow
from keyfold.projections.snapshots import Document
from keyfold.projections.store.session import Row

_SQL: Final = sqlfiles.statements("snapshot")
_AUDIT: Final = sqlfiles.statements("queries")["audit"]
_POLICIES: Final = AuditRow.__slots__.index("policies")
_PAGE: Final = 1000
_CONNECT_S: Final = 5
_SHOWN: Final[Mapping[str, LiteralString]] = {
    "timestamptz": "keyfold.instant({})",
    "uuid": "{}::text",
    "jsonb": "{}::text",
}


class PostgresSnapshot:
    """One open transaction."""

    def __init__(
        self, connection: psycopg.AsyncConnection[Row], offsets: Mapping[int, Offsets], deadline_s: float
    ) -> None:
        self.offsets = offsets
        self._connection, self._deadline_s = connection, deadline_s

    async def audit(self, partition: int) -> AsyncIterator[Sequence[AuditRow]]:
        """Yield the audit rows of a partition by position."""
        statement = f"{_AUDIT} {_SQL['audit_of']}".encode()
        async for page in self._pages(statement, {"partition": partition}):
            yield [_audit_row(row) for row in page]

    async def rows(self, table: str) -> AsyncIterator[Sequence[Document]]:
        """Yield the rows of a table."""
        columns = await self._fetch(_SQL["columns"], {"table": table})
        shown = [sql.SQL(_SHOWN.get(kind, "{}")).format(sql.Identifier(name)) for name, kind in columns]
        statement = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(shown), sql.Identifier("keyfold", table))
        async for page in self._pages(statement, {}):
            yield [
                {name: _plain(kind, value) for (name, kind), value in zip(columns, row, strict=True)} for row in page
            ]

    async def audit_partitions(self) -> frozenset[int]:
        """Return the partitions of the audit rows."""
        return frozenset(partition for (partition,) in await self._fetch(_SQL["audit_partitions"], {}))

    async def _pages(self, statement: bytes | sql.Composed, parameters: Mapping[str, Any]) -> AsyncIterator[list[Row]]:
        with _told():
            async with self._connection.cursor(name="snapshot") as cursor:
                async with asyncio.timeout(self._deadline_s):
                    await cursor.execute(statement, parameters)
                while True:
                    async with asyncio.timeout(self._deadline_s):
                        page = await cursor.fetchmany(_PAGE)
                    if not page:
                        return
                    yield page

    async def _fetch(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        with _told():
            async with asyncio.timeout(self._deadline_s):
                return await (await self._connection.execute(statement.encode(), parameters)).fetchall()


class PostgresSnapshots:
    """See `keyfold.projections.snapshots.Snapshots`."""

    def __init__(self, dsn: str, *, deadline_s: float = 60.0) -> None:
        self._dsn, self._deadline_s = dsn, deadline_s

    @asynccontextmanager
    async def open(self) -> AsyncIterator[PostgresSnapshot]:
        """Open a transaction that sees the database as it is now."""
        with _told():
            connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, connect_timeout=_CONNECT_S)
        try:
            with _told():
                milliseconds = {"statement_ms": str(int(self._deadline_s * 1000))}
                await connection.execute(_SQL["settings"].encode(), milliseconds)
            async with connection.transaction():
                with _told():
                    await connection.execute(_SQL["isolation"].encode())
                    rows = await (await connection.execute(_SQL["offsets"].encode())).fetchall()
                yield PostgresSnapshot(connection, {row[0]: _offsets(row) for row in rows}, self._deadline_s)
        finally:
            await connection.close()


def _offsets(row: Row) -> Offsets:
    partition, next_offset, position, published, places, signers, last_time = row
    known = MappingProxyType(json.loads(signers))
    return Offsets(partition, next_offset, position, published, load_places(places), known, last_time)


def _audit_row(row: Row) -> AuditRow:
    policies = None if row[_POLICIES] is None else tuple(row[_POLICIES])
    values = (*row[:_POLICIES], policies, *row[_POLICIES + 1 :])
    return AuditRow(*values)


def _plain(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "jsonb":
        return json.loads(value)
    return "\\x" + bytes(value).hex() if kind == "bytea" else value


@contextmanager
def _told() -> Iterator[None]:
    """Name what went wrong by SQL state and primary message only: details may quote rows."""
    try:
        yield
    except TimeoutError:
        raise StoreUnavailable("Postgres did not answer in time; look at it, and verify again") from None
    except psycopg.Error as error:
        message = error.diag.message_primary or type(error).__name__
        told = f"{error.sqlstate or 'no connection'}: {message}"
        raise StoreUnavailable(f"the projections cannot be read ({told}); look at Postgres and the projector") from None
