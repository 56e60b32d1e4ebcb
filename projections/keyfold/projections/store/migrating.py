"""Migrations of what stays when projections are rebuilt: the schema `keyfold` and `keyfold_alerts`.

A script named `NNNN_what.sql` only adds, so that the release before goes on working beside the new one: it is run
before the new release, or when that starts. One named `NNNN_what.post.sql` takes away what only older releases need:
it is run by `keyfold database migrate --post`, when none of them is at work any more. A release refuses a database in
which a post migration was run that it does not know. The tables of the projections themselves are never migrated, but
built anew (see `schemas`).
"""

from typing import Final

from keyfold.projections import sqlfiles
from keyfold.projections.errors import MigrationsNeeded, SchemaNewer
from keyfold.projections.store import access
from keyfold.projections.store.session import Session, Statements

_SQL: Final = sqlfiles.statements("schemas")
_POST: Final = ".post"


class PostgresMigrations:
    """Runs migrations, as the role that owns the schema `keyfold` or will own it."""

    def __init__(self, dsn: str, *, deadline_s: float = 60.0) -> None:
        self._session = Session(dsn, settings={"search_path": "pg_catalog"}, deadline_s=deadline_s)

    async def run(self, *, post: bool = False) -> list[str]:
        """Run what is missing, with `post` also what older releases do not bear; return the names.

        Raises `MigrationsNeeded` for another role than the owner's, and `SchemaNewer`.
        """
        return await self._session.run(lambda tx: run(tx, post=post, granting=True))

    async def close(self) -> None:
        """Release the connection."""
        await self._session.close()


async def run(tx: Statements, *, post: bool, granting: bool = False) -> list[str]:
    """Run migrations in this transaction, one process at a time; see `PostgresMigrations.run`.

    Rights are granted after migrations that were run, or where it is asked for.
    """
    await tx.execute(_SQL["be_patient"])
    await tx.fetch(_SQL["wait_for_migrations"])  # released at the end of the transaction
    owner = await tx.fetch(_SQL["control_schema"])
    applied = {name for (name,) in await tx.fetch(_SQL["applied"])} if owner else set()
    known = dict(sqlfiles.scripts("migrations"))
    _refuse_newer(applied - known.keys())
    missing = [name for name in known if name not in applied and (post or not name.endswith(_POST))]
    if missing or granting:
        await _require_owner(tx, missing)
        await tx.execute(_SQL["migrations_table"])
        for name in missing:
            await tx.execute(known[name])
            await tx.execute(_SQL["note_migration"], {"name": name})
        await access.grant_schemas(tx)
    return missing


def _refuse_newer(unknown: set[str]) -> None:
    later = sorted(name for name in unknown if name.endswith(_POST))
    if later:
        raise SchemaNewer(
            f"the database was migrated by a newer release ({', '.join(later)}), which took away what this one needs; "
            "stop this one, or update it"
        )


async def _require_owner(tx: Statements, missing: list[str]) -> None:
    owner = await tx.fetch(_SQL["control_schema"])
    ours = owner[0][1] if owner else not (await tx.fetch(_SQL["owner_apart"]))[0][0]
    if not ours:
        name = owner[0][0] if owner else "keyfold_owner"
        raise MigrationsNeeded(
            f"the migrations {', '.join(missing) or 'and rights'} are the business of the role {name}; "
            "run `keyfold database migrate` with its settings"
        )
