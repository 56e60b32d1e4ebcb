"""Sets the rights of `keyfold.projections.access` in Postgres, each as whoever may.

An administrator makes the roles and says what they may do in the database, the owner of schemas grants rights in them,
whoever shows views those on views. A role that does not exist is passed over: a deployment that has one role for
everything needs no others. Rights that are there and not in the table are left alone.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from keyfold.projections import sqlfiles
from keyfold.projections.access import DATABASE_GRANTS, ROLES, SCHEMA_GRANTS, VIEW_GRANTS, VIEWS, Grant
from keyfold.projections.store.session import Session, Statements

ITERATIONS: Final = 4096
_SQL: Final = sqlfiles.statements("access")


class PostgresAccess:
    """The roles of one database. The role of the connection is a superuser of the server."""

    def __init__(self, dsn: str, *, deadline_s: float = 30.0) -> None:
        self._session = Session(dsn, settings={"search_path": "pg_catalog"}, deadline_s=deadline_s)

    async def apply(self, verifiers: Mapping[str, str]) -> int:
        """Make the roles, with these password verifiers; set all rights and return how many there are.

        What another role owns of Keyfold's schemas is handed over. Repeating it changes nothing.
        """
        return await self._session.run(lambda tx: _apply(tx, verifiers))

    async def close(self) -> None:
        """Release the connection."""
        await self._session.close()


def statements(database: str) -> list[str]:
    """Return what `PostgresAccess.apply` runs on a database that is migrated, for an administrator's own tools."""
    made = [sqlfiles.with_names(_SQL["make_role"], role=role) for role in ROLES]
    closed = _SQL["nobody_else"].replace(":database", database)
    rows = (*DATABASE_GRANTS, *SCHEMA_GRANTS)
    return [*made, closed, _SQL["hand_over"], *(grant.statement(database) for grant in rows)]


def scram_verifier(password: str, salt: bytes) -> str:
    """Return what Postgres keeps of a password (RFC 5802, section 3; ASCII only, so SASLprep changes nothing)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored, server = hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${ITERATIONS}:{_text(salt)}${_text(stored)}:{_text(server)}"


async def grant_schemas(tx: Statements) -> int:
    """Grant what the table says of schemas and their tables, to the roles that exist."""
    return await _grant(tx, SCHEMA_GRANTS)


async def grant_views(tx: Statements) -> int:
    """Grant what the table says of views, to the roles that exist; before the first projections there are none."""
    views = [f"keyfold.{name}" for (name,) in await tx.fetch(_SQL["views"])]
    every = [replace(row, name=view) for row in VIEW_GRANTS if row.name == VIEWS for view in views]
    return await _grant(tx, [*every, *(row for row in VIEW_GRANTS if row.name in views)])


async def _apply(tx: Statements, verifiers: Mapping[str, str]) -> int:
    for role in ROLES:
        await tx.execute(sqlfiles.with_names(_SQL["make_role"], role=role))
        if role in verifiers:
            statement = sqlfiles.with_names(_SQL["set_password"], role=role)
            await tx.execute(statement.replace(":verifier", verifiers[role]))
    database = (await tx.fetch(_SQL["database"]))[0][0]
    await tx.execute(_SQL["nobody_else"].replace(":database", database))
    count = await _grant(tx, DATABASE_GRANTS, database)
    if (await tx.fetch(_SQL["migrated"]))[0][0]:
        await tx.execute(_SQL["hand_over"])
        count += await grant_schemas(tx) + await grant_views(tx)
    return count


async def _grant(tx: Statements, grants: Iterable[Grant], database: str = "") -> int:
    known = {name for (name,) in await tx.fetch(_SQL["roles"], {"names": list(ROLES)})}
    wanted = [grant for grant in grants if grant.role in known]
    for grant in wanted:
        await tx.execute(grant.statement(database))
    return len(wanted)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
