"""Schemas of the past in Postgres: made, filled and listed beside the live one, which they never touch.

Each has the tables and views of the live schema, as of one moment, and a row in `keyfold.past_schemas`. The steps are
`begin` (the schema and its row), filling (by its `partition_store`s), `finish` (indexes, rights, closed for writing).
If we crash between them, `begin` with the same name and moment goes on from the offsets that are stored.
"""

import re
from dataclasses import dataclass
from typing import Final

from keyfold.events.errors import AlreadyExists, InvalidCommand, NotFound
from keyfold.events.times import to_milliseconds
from keyfold.projections import sqlfiles
from keyfold.projections.store.partition import PostgresPartitionStore
from keyfold.projections.store.schemas import INDEXING, LAYOUT, index, make
from keyfold.projections.store.session import Session, Statements

_SQL: Final = sqlfiles.statements("past")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN: Final = re.compile(r"keyfold|keyfold_blue|keyfold_green|public|information_schema|pg_.*")
_DEADLINE_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class PastSchema:
    """A schema of the past; `completed_at` is None while it is being filled, `current` False in an old layout."""

    name: str
    as_of: str
    created_at: str
    completed_at: str | None
    current: bool


class PostgresPast:
    """Makes and drops schemas of the past. The role of the connection owns the projections."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        settings = {"search_path": "pg_catalog", "lock_timeout": "5000", **INDEXING}
        self._session = Session(dsn, settings=settings, deadline_s=_DEADLINE_S)

    async def begin(self, name: str, as_of: str, partitions: int) -> None:
        """Make an empty schema, or find the one that was begun with this name and moment.

        Raises `InvalidCommand` for a name that no such schema may have, `AlreadyExists` where it is another's.
        """
        _check_name(name)
        await self._session.run(lambda tx: _begin(tx, name, as_of, partitions))

    def partition_store(self, name: str) -> PostgresPartitionStore:
        """Return a writer of one schema, with a connection of its own."""
        return PostgresPartitionStore(self._dsn, name)

    async def finish(self, name: str) -> None:
        """Make the indexes, close the schema for writing and let auditors read it."""
        await self._session.run(lambda tx: _finish(tx, name))

    async def all(self) -> tuple[PastSchema, ...]:
        """Return all schemas of the past, by name."""
        rows = await self._session.run(lambda tx: tx.fetch(_SQL["all"]))
        return tuple(PastSchema(row[0], row[1], row[2], row[3], row[4] == LAYOUT) for row in rows)

    async def drop(self, name: str) -> None:
        """Remove a schema of the past. Raises `NotFound` for any other one."""
        await self._session.run(lambda tx: _drop(tx, name))

    async def close(self) -> None:
        """Release the connection."""
        await self._session.close()


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None or _TAKEN.fullmatch(name) is not None:
        raise InvalidCommand(
            f"{name!r} cannot name a schema of the past: up to 40 lower-case letters, digits and underscores, "
            "and none of the names that Postgres and the projections have"
        )


async def _begin(tx: Statements, name: str, as_of: str, partitions: int) -> None:
    await tx.fetch(_SQL["wait"])
    known = await tx.fetch(_SQL["one"], {"name": name})
    if known:
        if known[0] != (as_of, LAYOUT, False):
            raise AlreadyExists(
                f"the schema {name} is there, complete or as of another moment ({known[0][0]}); "
                f"`keyfold projections drop {name}` removes it"
            )
        return
    if await tx.fetch(_SQL["exists"], {"name": name}):
        raise AlreadyExists(f"the schema {name} is there and is none of the past; choose another name")
    await make(tx, name, partitions)
    await tx.execute(sqlfiles.with_names(_SQL["moment"], schema=name, milliseconds=str(to_milliseconds(as_of))))
    await tx.execute(_SQL["note"], {"name": name, "as_of": as_of, "layout": LAYOUT})


async def _finish(tx: Statements, name: str) -> None:
    await index(tx, name)
    await tx.execute(sqlfiles.with_names(_SQL["publish"], schema=name))
    await tx.execute(_SQL["complete"], {"name": name})


async def _drop(tx: Statements, name: str) -> None:
    await tx.fetch(_SQL["wait"])
    if not await tx.fetch(_SQL["one"], {"name": name}):
        raise NotFound(f"there is no schema {name} of the past; `keyfold projections list` shows which there are")
    await tx.execute(sqlfiles.with_names(_SQL["remove"], schema=name))
    await tx.execute(_SQL["forget"], {"name": name})
