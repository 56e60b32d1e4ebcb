"""What a backup has of Postgres: the rows of alerts and of responses. Projections are folded anew from the log.

A database that a deployment has used already may be kept, if its projections know nothing that the backup does not:
they go on where they are, and would pass over what takes the place of records that are lost.
"""

from hashlib import sha256
from pathlib import Path

from keyfold.cli.backup.errors import BackupRefused
from keyfold.cli.backup.files import private_directory
from keyfold.cli.backup.manifest import CopiedRows, Manifest
from keyfold.config import Config
from keyfold.events import topics
from keyfold.events.signatures import fingerprint
from keyfold.projections.errors import StoreUnavailable
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


async def prepare_database(config: Config, found: Manifest) -> None:
    """Run migrations, before anything else is made: so who may not, or cannot reach Postgres, is told at once.

    Raises `BackupRefused` where there are projections of another deployment, or of records that the backup has not.
    """
    migrations, queries = PostgresMigrations(config.postgres_dsn), PostgresQueries(config.postgres_reader_dsn)
    try:
        await migrations.run()
        folded = await _folded(queries)
        deployment = await queries.deployment() if folded else None
    finally:
        await migrations.close()
        await queries.close()
    owner = found.deployment if deployment is None else fingerprint(bytes.fromhex(deployment.root_public_key))
    if owner != found.deployment:
        raise BackupRefused(f"the database is of the deployment {owner}; name an empty one in the settings")
    ends = {part.partition: part.end for part in found.topics[topics.EVENTS]}
    for row in folded:
        if row.next > ends.get(row.partition, 0):
            raise BackupRefused(
                f"the database has folded {topics.EVENTS}-{row.partition} up to {row.next}, and the backup ends at "
                f"{ends.get(row.partition, 0)}: name an empty database in the settings"
            )


async def _folded(queries: PostgresQueries) -> tuple[Progress, ...]:
    await queries.status()
    try:
        return await queries.progress()
    except StoreUnavailable:
        return ()  # it has just answered, so nothing was folded yet: views are made with the first projections


async def fill_rows(config: Config, directory: Path, found: Manifest) -> None:
    """Add the rows of a backup; those that are there stay as they are."""
    copies = PostgresAlertCopies(config.postgres_dsn)
    try:
        for each in found.rows:
            if each.table in TABLES:
                await copies.write(each.table, (directory / each.file).read_text("utf-8").splitlines())
    finally:
        await copies.close()
