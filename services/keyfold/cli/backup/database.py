"""What a backup has of Postgres: the rows of alerts and of responses. Projections are folded anew from the log.

So a restore wants a database without any. Those of before would go on from their own marks: they would take the new
cluster's directory for published, which is empty, and pass over whatever takes the place of records that are lost.
"""

from hashlib import sha256
from pathlib import Path

from keyfold.cli.backup.errors import BackupRefused
from keyfold.cli.backup.files import private_directory
from keyfold.cli.backup.manifest import CopiedRows, Manifest
from keyfold.config import Config
from keyfold.projections.errors import ProjectionsAbsent
from keyfold.projections.rows import Progress
from keyfold.projections.store import PostgresQueries
from keyfold.projections.store.alert_copies import TABLES, PostgresAlertCopies
from keyfold.projections.store.migrating import PostgresMigrations


async def copy_rows(config: Config, directory: Path) -> list[CopiedRows]:
    """Copy all rows into files, one for each table; return what was copied."""
    copies, found = PostgresAlertCopies(config.postgres_reader_dsn), []
    try:
        for table in TABLES:
            documents = await copies.read(table)
            content = "".join(f"{each}\n" for each in documents).encode()
            name = f"alerts/{table}.jsonl"
            private_directory((directory / name).parent)
            (directory / name).touch(mode=0o600, exist_ok=False)
            (directory / name).write_bytes(content)
            found.append(CopiedRows(table=table, rows=len(documents), file=name, sha256=sha256(content).hexdigest()))
    finally:
        await copies.close()
    return found


async def prepare_database(config: Config) -> None:
    """Run migrations, before anything else is made: so who may not, or cannot reach Postgres, is told at once.

    Raises `BackupRefused` where anything was folded.
    """
    migrations, queries = PostgresMigrations(config.postgres_dsn), PostgresQueries(config.postgres_reader_dsn)
    try:
        await migrations.run()
        if any(row.next for row in await _folded(queries)):
            raise BackupRefused("the database has projections already; name an empty one in the settings")
    finally:
        await migrations.close()
        await queries.close()


async def _folded(queries: PostgresQueries) -> tuple[Progress, ...]:
    try:
        return await queries.progress()
    except ProjectionsAbsent:
        return ()  # views are made with the first projections


async def fill_rows(config: Config, directory: Path, found: Manifest) -> None:
    """Add the rows of a backup; those that are there stay as they are."""
    copies = PostgresAlertCopies(config.postgres_dsn)
    try:
        for each in found.rows:
            if each.table in TABLES:
                await copies.write(each.table, (directory / each.file).read_text("utf-8").splitlines())
    finally:
        await copies.close()
