"""`keyfold database …`: the roles and their rights in Postgres, and migrations.

Each command connects as `postgres_dsn` of the settings says: `grants --apply` takes a superuser's, `migrate` the
owner's. Passwords are made here, written to 0600 password files, and only their SCRAM verifiers reach the server.
"""

import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

from keyfold.cli.exits import UsageError
from keyfold.cli.output import table
from keyfold.cli.session import Session, of
from keyfold.config import load_config, read_private, write_private
from keyfold.projections.access import DATABASE_GRANTS, ROLES, SCHEMA_GRANTS, VIEW_GRANTS, Grant
from keyfold.projections.store.access import PostgresAccess, scram_verifier, statements
from keyfold.projections.store.migrating import PostgresMigrations

app = typer.Typer(name="database", help="Roles, rights and migrations in Postgres.", no_args_is_help=True)

_SALT_BYTES: Final = 16


@app.command()
def grants(
    context: typer.Context,
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Set them; it takes a superuser of the server.")] = False,
    commands: Annotated[
        str | None, typer.Option("--commands", metavar="DATABASE", help="Print the SQL for this database, for psql.")
    ] = None,
    passwords: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With --apply: make a password file ROLE.pgpass here for each role."),
    ] = None,
) -> None:
    """Show what each role may do in the database, or make the roles and their rights: one for each service.

    Without --passwords the roles have none, and log in by certificate. A password file that is there stays, and its
    password is set. What one role had made alone is handed over to the new owners.

    Example: keyfold database grants --apply --passwords /etc/keyfold/postgres
    """
    session = of(context)
    if passwords is not None and not apply:
        raise UsageError("--passwords goes with --apply")
    if commands is not None:
        lines = [f"{each};" for each in statements(commands)]
        session.show(lines, "\n".join(lines))
        return
    if apply:
        verifiers = _verifiers(passwords) if passwords is not None else {}
        count = session.run(_apply(session, verifiers))
        session.say(f"{len(ROLES)} roles have {count} rights")
    rights = (*DATABASE_GRANTS, *SCHEMA_GRANTS, *VIEW_GRANTS)
    session.show(rights, table(("ROLE", "MAY", "ON"), map(_row, rights)))


@app.command()
def migrate(
    context: typer.Context,
    *,
    post: Annotated[
        bool, typer.Option("--post", help="Also those that older releases do not bear: when none is at work any more.")
    ] = False,
) -> None:
    """Run the migrations that are missing, as the owner of the schema, and set the rights in it.

    Example: keyfold database migrate
    """
    session = of(context)
    names = session.run(_migrate(session, post=post))
    session.show({"migrated": names}, f"ran {', '.join(names)}" if names else "nothing is missing")


async def _apply(session: Session, verifiers: dict[str, str]) -> int:
    access = PostgresAccess(load_config(session.settings_file).postgres_dsn)
    try:
        return await access.apply(verifiers)
    finally:
        await access.close()


async def _migrate(session: Session, *, post: bool) -> list[str]:
    migrations = PostgresMigrations(load_config(session.settings_file).postgres_dsn)
    try:
        return await migrations.run(post=post)
    finally:
        await migrations.close()


def _verifiers(directory: Path) -> dict[str, str]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {role: scram_verifier(_password(directory, role), secrets.token_bytes(_SALT_BYTES)) for role in ROLES}


def _password(directory: Path, role: str) -> str:
    file = directory / f"{role}.pgpass"
    if not file.exists():
        write_private(file, f"*:*:*:{role}:{secrets.token_hex(32)}\n")
    words = read_private(file).split(":")
    if len(words) != 5 or words[3] != role or not words[4].isascii() or not words[4].isalnum():
        raise UsageError(f"{file} is no password file of {role} with one line *:*:*:{role}:PASSWORD; move it away")
    return words[4]


def _row(grant: Grant) -> tuple[str, ...]:
    columns = f" ({', '.join(grant.columns)})" if grant.columns else ""
    name = grant.name.replace("keyfold.*", "every view of keyfold")
    return grant.role, ", ".join(grant.privileges) + columns, f"{grant.kind.lower()} {name}".strip()
