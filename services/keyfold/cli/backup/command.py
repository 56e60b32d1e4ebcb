"""`keyfold backup …`: a copy of everything that cannot be derived, and an empty cluster filled from it.

What is copied: all topics but replies and directory, the rows of alerts, and (unless left out) PINs, identities and
software tokens. Postgres' projections are folded anew from the log.
"""

from pathlib import Path
from typing import Annotated, Final

import typer

from keyfold.bus import BusSettings, KafkaBus
from keyfold.bus.refilling import Refilling
from keyfold.cli import parts, system
from keyfold.cli.backup import database, files, manifest
from keyfold.cli.backup.copying import copy_log
from keyfold.cli.backup.errors import BackupMoved, BackupRefused
from keyfold.cli.backup.filling import fill_log
from keyfold.cli.backup.manifest import Manifest, Settings
from keyfold.cli.session import Session, now_ms, of
from keyfold.config import Config, load_config, save_config
from keyfold.events.times import to_text

app = typer.Typer(name="backup", help="Copies of what cannot be derived, and restoring them.", no_args_is_help=True)

_INFRASTRUCTURE: Final = ("kafka", "postgres")
_CLIENT: Final = "keyfold-backup"
_SLOW: Final = {"commit_timeout_s": 30.0, "send_timeout_s": 30.0, "query_timeout_s": 30.0, "start_timeout_s": 30.0}


@app.command()
def create(
    context: typer.Context,
    *,
    directory: Annotated[Path, typer.Argument(help="A directory that is not there yet.")],
    without_secrets: Annotated[
        bool, typer.Option("--without-secrets", help="Leave out PINs, identities and software tokens.")
    ] = False,
) -> None:
    """Copy the log, alerts and secrets of a deployment whose services are stopped.

    With secrets, the copy is worth what the keys are worth: guard it like them.

    Example: keyfold down && keyfold backup create /backups/2026-01-31
    """
    session = of(context)
    config, stack = session.config, session.stack()
    if directory.exists():
        raise BackupRefused(f"{directory} is there already; name another, nothing is written over")
    before = parts.running(stack)
    if parts.is_embedded(stack) and before - {*_INFRASTRUCTURE, "supervisor"}:
        raise BackupMoved("services are running; run `keyfold down` first")
    try:
        if parts.is_embedded(stack):
            config = stack.start_infrastructure(_INFRASTRUCTURE)
        files.private_directory(directory)
        made = session.run(_copied(session, config, directory, secrets=not without_secrets))
    finally:
        if parts.is_embedded(stack):
            system.stop_what_was_started(stack, before)
    session.show(_told(made), f"{_count(made)} records, {len(made.files)} files of secrets are in {directory}")


@app.command()
def check(context: typer.Context, *, directory: Annotated[Path, typer.Argument(help="The backup.")]) -> None:
    """Compare every file of a backup with its manifest.

    Example: keyfold backup check /backups/2026-01-31
    """
    session = of(context)
    found = manifest.load(directory)
    count = manifest.check(directory, found)
    session.show(_told(found), f"all {count} files are whole; the deployment is {found.deployment}")


@app.command()
def restore(
    context: typer.Context,
    *,
    directory: Annotated[Path, typer.Argument(help="The backup.")],
    existing: Annotated[
        bool, typer.Option("--existing", help="The settings file names an empty cluster that runs already.")
    ] = False,
) -> None:
    """Fill an empty data directory, or with --existing an empty cluster, from a backup; start the services afterwards.

    Nothing is written over. If it fails, remove what was made, and begin anew.

    Example: keyfold --data /srv/restored backup restore /backups/2026-01-31
    """
    session = of(context)
    found = manifest.load(directory)
    manifest.check(directory, found)
    count = _into_existing(session, directory, found) if existing else _into_embedded(session, directory, found)
    session.show(
        {**_told(found), "restored": count},
        f"{count} records are where they were; start the services, then run `keyfold audit verify`",
    )


def _into_embedded(session: Session, directory: Path, found: Manifest) -> int:
    stack = session.stack(development=found.settings.development)
    if stack.directory.exists():
        raise BackupRefused(f"{session.data} is a data directory already; name an empty one with --data")
    try:
        config = stack.start_infrastructure(_INFRASTRUCTURE)
        save_config(config.model_copy(update=found.settings.model_dump()))
        count = session.run(_filled(session, stack.config, directory, found))
        # If we crash before this, the settings name no deployment and nothing can be started by mistake.
        stack.set_deployment(found.deployment)
    finally:
        stack.stop()
    return count


def _into_existing(session: Session, directory: Path, found: Manifest) -> int:
    config = load_config(session.settings_file)
    if config.deployment not in {None, found.deployment}:
        raise BackupRefused(f"the settings are of the deployment {config.deployment}, the backup of {found.deployment}")
    if config.partitions != found.settings.partitions:
        raise BackupRefused(f"the settings say {config.partitions} partitions; it must be {found.settings.partitions}")
    count = session.run(_filled(session, config, directory, found))
    save_config(config.model_copy(update={"deployment": found.deployment}), session.settings_file)
    return count


async def _copied(session: Session, config: Config, directory: Path, *, secrets: bool) -> Manifest:
    bus = KafkaBus(BusSettings.of(config, _CLIENT))
    made = Manifest(
        deployment=config.deployment or "",
        created_at=to_text(now_ms()),
        settings=Settings.model_validate({name: getattr(config, name) for name in Settings.model_fields}),
        topics=await copy_log(bus, config.partitions, directory, session.say),
        rows=await database.copy_rows(config, directory),
        files=files.copy_files(config, directory) if secrets else [],
    )
    manifest.save(directory, made)
    return made


async def _filled(session: Session, config: Config, directory: Path, found: Manifest) -> int:
    files.require_room(config, found.files)
    await database.prepare_database(config)
    settings = BusSettings.of(config, _CLIENT).model_copy(update=_SLOW)
    topics = Refilling(settings, config.partitions, replication_factor=config.replication_factor)
    await topics.make()
    files.restore_files(config, directory, found.files)
    count = await fill_log(KafkaBus(settings), directory, found, session.say)
    await topics.settle()
    await database.fill_rows(config, directory, found)
    return count


def _told(found: Manifest) -> dict[str, object]:
    return {
        "deployment": found.deployment,
        "created_at": found.created_at,
        "records": {name: sum(each.records for each in parts) for name, parts in found.topics.items()},
        "rows": {each.table: each.rows for each in found.rows},
        "files": len(found.files),
    }


def _count(found: Manifest) -> int:
    return sum(each.records for parts in found.topics.values() for each in parts)
