"""The two schemas in Postgres: migrations, and the steps of a rebuild. See `keyfold.projections.ports.Schemas`.

Every step is one transaction that locks the one control row first. If we crash between two steps, the control row says
which was the last, and whoever comes next goes on from there.
"""

from typing import Final

from keyfold.projections import sqlfiles
from keyfold.projections.errors import SchemaNewer, StoreRefused
from keyfold.projections.ports import Colour, Layout, SchemaStatus
from keyfold.projections.store import access, migrating
from keyfold.projections.store.partition import PostgresPartitionStore
from keyfold.projections.store.session import Row, Session, Statements

LAYOUT: Final = 4
_INDEXING_S: Final = 3600.0
INDEXING: Final = {"maintenance_work_mem": "128MB", "synchronous_commit": "off"}
_SQL: Final = sqlfiles.statements("schemas")
_OTHER: Final[dict[Colour, Colour]] = {"blue": "green", "green": "blue"}


class PostgresSchemas:
    """See `keyfold.projections.ports.Schemas`. The role of the connection owns the two schemas and the views.

    Where it owns the schema `keyfold` too, it runs migrations; else their owner has to (`PostgresMigrations`).
    """

    def __init__(self, dsn: str, *, deadline_s: float = 10.0) -> None:
        self.dsn, self._deadline_s = dsn, deadline_s
        # Readers may hold a view for as long as they like; a swap gives way and is tried again.
        settings = {"search_path": "pg_catalog", "lock_timeout": "500"}
        self._session = Session(dsn, settings=settings, deadline_s=deadline_s)

    async def prepare(self, partitions: int) -> SchemaStatus:
        """Create or migrate what is missing."""
        return await self._session.run(lambda tx: _prepare(tx, partitions), deadline_s=6 * self._deadline_s)

    async def status(self) -> SchemaStatus:
        """Return the control row."""
        return _ours((await self._session.run(lambda tx: tx.fetch(_SQL["status"])))[0])

    async def request_rebuild(self) -> None:
        """Ask for a rebuild."""
        await self._session.run(lambda tx: tx.execute(_SQL["request"]))

    async def begin_rebuild(self) -> SchemaStatus:
        """Make the idle schema anew and open it."""
        return await self._session.run(_begin)

    async def remaining(self) -> int | None:
        """Return how far the building schema is behind the live one."""

        async def work(tx: Statements) -> int | None:
            status = status_row((await tx.fetch(_SQL["status"]))[0])
            return await _remaining(tx, status) if status.building else None

        return await self._session.run(work)

    async def complete_building(self) -> None:
        """Make the indexes of the building schema, on a connection of its own: others go on meanwhile."""
        session = Session(self.dsn, settings={"lock_timeout": "5000", **INDEXING}, deadline_s=_INDEXING_S)
        try:
            await session.run(_complete)
        finally:
            await session.close()

    async def close_live(self) -> SchemaStatus:
        """Close the live schema for writing, from `building` on to `swapping`."""
        return await self._session.run(lambda tx: _set_live_open(tx, is_open=False))

    async def reopen_live(self) -> SchemaStatus:
        """Open the live schema again, from `swapping` back to `building`."""
        return await self._session.run(lambda tx: _set_live_open(tx, is_open=True))

    async def swap(self) -> bool:
        """Let readers see the building schema."""
        return await self._session.run(_swap)

    async def cancel_rebuild(self) -> SchemaStatus:
        """Forget the building schema; it is removed when the next rebuild begins."""
        return await self._session.run(_cancel)

    async def drop_idle(self) -> None:
        """Remove the schema that is neither live nor building."""
        await self._session.run(_drop_idle)

    def partition_store(self, colour: Colour) -> PostgresPartitionStore:
        """Return a writer of one schema."""
        return PostgresPartitionStore(self.dsn, schema_of(colour), deadline_s=self._deadline_s)

    async def close(self) -> None:
        """Release the connection."""
        await self._session.close()


async def _prepare(tx: Statements, partitions: int) -> SchemaStatus:
    await migrating.run(tx, post=False)
    status = await _locked(tx)
    if (await tx.fetch(_SQL["live_layout"]))[0][0] == 0:
        await make(tx, schema_of(status.live), partitions)
        await index(tx, schema_of(status.live))
        await _show(tx, status.live)
        await tx.execute(_SQL["first_layout"], {"layout": LAYOUT, "partitions": partitions})
    known = (await tx.fetch(_SQL["partitions"]))[0][0]
    if known != partitions:
        raise StoreRefused(
            f"the projections were made for {known} partitions, the settings say {partitions}; "
            "the number is fixed for ever: correct the settings"
        )
    return await _locked(tx)


async def _begin(tx: Statements) -> SchemaStatus:
    status = await _locked(tx)
    if status.building is None:
        building = _OTHER[status.live]
        await tx.execute(sqlfiles.with_names(_SQL["drop_schema"], schema=schema_of(building)))
        await make(tx, schema_of(building), (await tx.fetch(_SQL["partitions"]))[0][0])
        await tx.execute(_SQL["begin"], {"building": building, "layout": LAYOUT})
    return await _locked(tx)


async def _set_live_open(tx: Statements, *, is_open: bool) -> SchemaStatus:
    status = await _locked(tx)
    if status.phase == ("swapping" if is_open else "building"):
        # Waits for transactions under way: afterwards nobody moves the live offsets.
        await tx.execute(sqlfiles.with_names(_SQL["set_open"], schema=schema_of(status.live)), {"open": is_open})
        await tx.execute(_SQL["set_phase"], {"phase": "building" if is_open else "swapping"})
    return await _locked(tx)


async def _swap(tx: Statements) -> bool:
    status = await _locked(tx)
    if status.building is None or status.phase != "swapping" or await _remaining(tx, status):
        return False
    if not await _is_indexed(tx, schema_of(status.building)):
        await index(tx, schema_of(status.building))
    await _show(tx, status.building)
    await tx.execute(_SQL["swap"], {"layout": LAYOUT})
    return True


async def _cancel(tx: Statements) -> SchemaStatus:
    status = await _locked(tx)
    if status.building is not None:
        await tx.execute(sqlfiles.with_names(_SQL["set_open"], schema=schema_of(status.building)), {"open": False})
        await tx.execute(sqlfiles.with_names(_SQL["set_open"], schema=schema_of(status.live)), {"open": True})
        await tx.execute(_SQL["cancel"])
    return await _locked(tx)


async def _drop_idle(tx: Statements) -> None:
    status = await _locked(tx)
    if status.building is None:
        await tx.execute(sqlfiles.with_names(_SQL["drop_schema"], schema=schema_of(_OTHER[status.live])))


async def _remaining(tx: Statements, status: SchemaStatus) -> int:
    assert status.building is not None  # noqa: S101 - callers have checked; narrows the type
    names = {"live": schema_of(status.live), "building": schema_of(status.building)}
    rows = await tx.fetch(sqlfiles.with_names(_SQL["remaining"], **names))
    return int(rows[0][0])


async def _complete(tx: Statements) -> None:
    """Index the building schema. Whoever else does it at the same time waits, and then has nothing to do."""
    await tx.fetch(_SQL["wait_for_indexes"])
    status = status_row((await tx.fetch(_SQL["status"]))[0])
    if status.building is not None and not await _is_indexed(tx, schema_of(status.building)):
        await index(tx, schema_of(status.building))


def schema_of(colour: Colour) -> str:
    """Return the name of a schema."""
    return f"keyfold_{colour}"


async def make(tx: Statements, schema: str, partitions: int) -> None:
    """Make a schema, without the indexes that only readers need. Raises `StoreRefused` where there is one."""
    await tx.execute(sqlfiles.with_names(_SQL["make_schema"], schema=schema))
    await tx.execute(sqlfiles.with_names(_SQL["search_path"], schema=schema))
    for _, script in sqlfiles.scripts("layout"):
        await tx.execute(script)
    await tx.execute(_SQL["fill_offsets"], {"last": partitions - 1})


async def _is_indexed(tx: Statements, schema: str) -> bool:
    """Say whether the indexes are there: they are made in one transaction, so one of them tells of all."""
    return bool((await tx.fetch(_SQL["indexed"], {"schema": schema}))[0][0])


async def index(tx: Statements, schema: str) -> None:
    """Make the indexes that readers need."""
    await tx.execute(sqlfiles.with_names(_SQL["search_path"], schema=schema))
    for _, script in sqlfiles.scripts("indexes"):
        await tx.execute(script)


async def _show(tx: Statements, colour: Colour) -> None:
    await tx.execute(sqlfiles.with_names(sqlfiles.script("views"), schema=schema_of(colour)))
    await access.grant_views(tx)


async def _locked(tx: Statements) -> SchemaStatus:
    return _ours((await tx.fetch(_SQL["status"] + " FOR UPDATE"))[0])


def _ours(row: Row) -> SchemaStatus:
    """Read the control row. Raises `SchemaNewer` where readers see tables that this release does not know."""
    if row[5] > LAYOUT:
        raise SchemaNewer(
            f"the projections have layout {row[5]}, this release knows {LAYOUT}: a newer one has taken over; "
            "stop this one, or update it"
        )
    return status_row(row)


def status_row(row: Row) -> SchemaStatus:
    """Read the control row."""
    live, building, phase, requested, generation, layout, filled, changed_at = row
    building_is: Layout = "ours"
    if building is not None and filled is not None and filled != LAYOUT:
        building_is = "older" if filled < LAYOUT else "newer"
    return SchemaStatus(live, building, phase, requested, generation, layout == LAYOUT, changed_at, building_is)
