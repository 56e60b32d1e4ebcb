"""One connection to Postgres: opened when it is needed, dropped on any trouble, and a deadline on everything.

`run` is one transaction. After an error nothing of it is half done, but a commit that was under way may have happened;
the caller reads what is stored before it goes on. It knows no tables, retries nothing and keeps no state.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import psycopg

from keyfold.events.errors import KeyfoldError
from keyfold.projections.errors import ProjectionsAbsent, StoreRefused, StoreUnavailable

T = TypeVar("T")
Row = tuple[Any, ...]
Parameters = Mapping[str, Any]

CONNECT_TIMEOUT_S: Final = 5.0
_ABANDON_S: Final = 1.0
_NOT_THERE: Final = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedFunction,
)
# What libpq says when a connection does not come about, and what of it may be told: it quotes names and files.
_NO_CONNECTION: Final[Mapping[str, str]] = {
    "certificate verify failed": "its certificate is not by the authority of sslrootcert",
    "does not match host name": "its certificate is for another host",
    "root certificate file": "the file that sslrootcert names cannot be read",
    "certificate file": "the file that sslcert names cannot be read",
    "private key file": "the file that sslkey names is missing, or readable by others",
    "does not support SSL": "it offers no TLS",
    "requires a valid client certificate": "it wants a certificate: sslcert and sslkey",
    "certificate required": "it wants a certificate: sslcert and sslkey",
    "SSL error": "TLS does not come about: one side does not accept the other's certificate; look at sslrootcert",
    "no password supplied": "it wants a password, and no passfile (0600) has one",
    "password authentication failed": "it refuses the password",
    "no pg_hba.conf entry": "it lets this role in only otherwise; look at its pg_hba.conf",
}
_REFUSED: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.ProgrammingError,
    psycopg.NotSupportedError,
    psycopg.errors.RaiseException,
)


class Statements:
    """What may be done inside a transaction."""

    def __init__(self, connection: psycopg.AsyncConnection[Row]) -> None:
        self._connection = connection

    async def fetch(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """Run a query and return all rows."""
        cursor = await self._connection.execute(statement.encode(), parameters)
        return await cursor.fetchall()

    async def fetch_named(self, statement: str, parameters: Parameters | None = None) -> tuple[list[str], list[Row]]:
        """Run a query and return the names of its columns and all rows."""
        cursor = await self._connection.execute(statement.encode(), parameters)
        return [column.name for column in cursor.description or ()], await cursor.fetchall()

    async def execute(self, statement: str, parameters: Parameters | None = None) -> int:
        """Run a statement (or a script, without parameters) and return how many rows it touched."""
        prepare = None if parameters else False  # a script of several statements cannot be prepared
        cursor = await self._connection.execute(statement.encode(), parameters, prepare=prepare)
        return cursor.rowcount

    async def copy(self, statement: str, blocks: Iterable[bytes]) -> None:
        """Stream what was encoded before into `COPY … FROM STDIN`; others have their turn between the blocks."""
        cursor = self._connection.cursor()
        async with cursor.copy(statement.encode()) as copy:
            for block in blocks:
                await copy.write(block)
                await asyncio.sleep(0)


class Session:
    """A connection and the settings that it is opened with. One transaction at a time; others wait for it."""

    def __init__(
        self, dsn: str, *, settings: Mapping[str, str], deadline_s: float, prepare: tuple[str, ...] = ()
    ) -> None:
        self._dsn = dsn
        self._deadline_s = deadline_s
        milliseconds = str(int(deadline_s * 1000))
        self._settings = {
            "application_name": "keyfold",
            "timezone": "UTC",
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            **settings,
        }
        self._prepare = prepare
        self._connection: psycopg.AsyncConnection[Row] | None = None
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[[Statements], Awaitable[T]], deadline_s: float | None = None) -> T:
        """Run one transaction. Raises `StoreUnavailable` or `StoreRefused`, and what `work` raises."""
        limit = deadline_s or self._deadline_s
        async with self._lock:
            task = asyncio.create_task(self._transact(work))
            try:
                done, _ = await asyncio.wait({task}, timeout=limit)
            except asyncio.CancelledError:
                await self._abandon(task)
                raise
            if not done:
                await self._abandon(task)
                raise StoreUnavailable(f"Postgres did not answer within {limit:.0f} s; nothing is half done")
            return task.result()

    async def close(self) -> None:
        """Release the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _transact(self, work: Callable[[Statements], Awaitable[T]]) -> T:
        try:
            connection = await self._connected()
        except psycopg.Error as error:
            raise _translated(error) from None
        try:
            async with connection.transaction():
                return await work(Statements(connection))
        except KeyfoldError:
            raise
        except BaseException as error:  # also a cancellation: the connection is in the middle of something
            await connection.close()
            if isinstance(error, psycopg.Error):
                raise _translated(error) from None
            raise

    async def _connected(self) -> psycopg.AsyncConnection[Row]:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        # psycopg may leave a connection behind when it is cancelled while connecting: it is let finish instead.
        opening = asyncio.create_task(self._open())
        try:
            self._connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_discard)
            await asyncio.wait({opening}, timeout=_ABANDON_S)
            raise
        return self._connection

    async def _open(self) -> psycopg.AsyncConnection[Row]:
        connection = await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=int(CONNECT_TIMEOUT_S)
        )
        try:
            names, values = list(self._settings), list(self._settings.values())
            await connection.execute(
                "SELECT set_config(s.name, s.value, false) FROM unnest(%s::text[], %s::text[]) AS s (name, value)",
                (names, values),
            )
            for statement in self._prepare:
                await connection.execute(statement.encode())
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _abandon(self, task: asyncio.Task[Any]) -> None:
        """Give a transaction up: cutting the socket ends at once what a cancellation alone might wait for."""
        connection, self._connection = self._connection, None
        task.add_done_callback(partial(_forget, connection))
        if connection is None:
            task.cancel()
        else:
            with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)
        await asyncio.wait({task}, timeout=_ABANDON_S)
        task.cancel()


def _discard(opening: asyncio.Task[psycopg.AsyncConnection[Row]]) -> None:
    """Close a connection that came too late."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().pgconn.finish()


def _forget(connection: psycopg.AsyncConnection[Row] | None, task: asyncio.Task[Any]) -> None:
    """Take the outcome of an abandoned transaction, which nobody waits for, and close what it used."""
    if connection is not None:
        connection.pgconn.finish()
    if not task.cancelled():
        task.exception()


def _translated(error: psycopg.Error) -> KeyfoldError:
    """Name what went wrong by its SQL state and primary message: details may quote rows."""
    state, message = error.sqlstate, error.diag.message_primary or type(error).__name__
    if isinstance(error, _NOT_THERE):
        return ProjectionsAbsent(
            f"the projections are not there yet or were replaced ({message}); the projector makes them"
        )
    if state is None or not isinstance(error, _REFUSED):
        reason = next((reason for phrase, reason in _NO_CONNECTION.items() if phrase in str(error)), message)
        return StoreUnavailable(
            f"Postgres is not available ({state or 'no connection'}: {reason}); start it or look at it"
        )
    return StoreRefused(f"Postgres refuses a statement ({state}: {message}); the same one will fail again")
