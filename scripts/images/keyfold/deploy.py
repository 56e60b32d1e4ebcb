"""The steps that bring up the deployment of docker-compose.yml, each of which does nothing that is done already.

password     make the password of Postgres' superuser, before Postgres starts
ceremony     make the database's roles, run migrations, hold the root ceremony, and give each service its settings and
             its secrets, and no others
first-user   let admin-1 register the principal `demo` and make the key `alias/demo`, which it may use

Secrets go from file to file: into no variable, command line or log. The volume of the ceremony keeps everything, and
should be taken away from the machine when the deployment is to be kept.
"""

import os
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyfold.cli.session import Session
from keyfold.config import Config, Telemetry, load_config, read_private, save_config, write_private
from keyfold.embedded.softhsm import softhsm_module
from keyfold.events.errors import KeyfoldError
from keyfold.projections import access

HOME: Final = Path("/etc/keyfold")
DATA: Final = Path("/var/lib/keyfold")
TOKENS: Final = Path("/var/lib/keyfold-tokens")
SUPERUSER_PASSWORD: Final = Path("/var/lib/keyfold-password/postgres")
SHARES: Final = Path("/srv")
SETTINGS: Final = "keyfold.json"
TELEMETRY: Final = Telemetry(host="0.0.0.0", port=9464)  # noqa: S104 - on the deployment's closed network


@dataclass(frozen=True, slots=True)
class Share:
    """What a service is given: names of identity files and PINs, and its database role, if it meets the database."""

    identities: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    role: str | None = None
    reader: str | None = None


SHARED: Final = {
    "policy": Share(identities=("policy",)),
    "hsm": Share(identities=("hsm",), pins=("kms", "seal")),
    "notary": Share(pins=("notary",)),
    "projector": Share(identities=("projector",), role=access.PROJECTOR),
    "scheduler": Share(identities=("scheduler",), role=access.SCHEDULER),
    "analytics": Share(identities=("analytics", "analytics-principal"), role=access.ANALYTICS),
    "cli": Share(identities=("admin-1", "admin-2"), role=access.OPERATOR, reader=access.AUDITOR),
}


def password() -> None:
    """Make a 0600 file; the one that is there stays."""
    if not SUPERUSER_PASSWORD.exists():
        write_private(SUPERUSER_PASSWORD, secrets.token_hex(32))


def ceremony() -> None:
    """If we crash anywhere here, the next run goes on: what exists is used again."""
    known = load_config(HOME / SETTINGS) if (HOME / SETTINGS).exists() else None
    partitions = known.partitions if known else int(os.environ["KEYFOLD_PARTITIONS"])
    deployment = known.deployment if known else None
    _prepare_database(partitions)
    _write_settings(HOME, deployment, partitions, role=access.OWNER, reader=access.AUDITOR)
    _keyfold(HOME, "database", "migrate", "--post")
    _keyfold(HOME, "init", "--existing")
    deployment = load_config(HOME / SETTINGS).deployment
    for service, share in SHARED.items():
        _give(SHARES / service, share)
        role = share.role or access.AUDITOR
        _write_settings(SHARES / service, deployment, partitions, role=role, reader=share.reader or role)


def first_user() -> None:
    """Make what the first file is encrypted with."""
    import uvloop

    uvloop.run(_first_user(Session(HOME)))


async def _first_user(session: Session) -> None:
    from keyfold.cli.demo import acts

    config = session.config
    async with session.queries(config) as queries, session.client(config) as admin:
        identity, _ = await acts.ensure_principal(session, config, queries, admin)
        await acts.ensure_key(admin, queries, identity.name)
    session.say(f"the principal {identity.name} may encrypt and decrypt with {acts.ALIAS}")


def _prepare_database(partitions: int) -> None:
    """As the superuser: roles, with passwords in the ceremony's directory. His own settings are not kept."""
    as_superuser = DATA / "superuser"
    as_superuser.mkdir(exist_ok=True)
    superuser = "postgres"
    passfile = as_superuser / _passfile(superuser)
    write_private(passfile, f"*:*:*:{superuser}:{read_private(SUPERUSER_PASSWORD)}\n")
    _write_settings(as_superuser, None, partitions, role=superuser, reader=superuser, passfile=passfile)
    _keyfold(as_superuser, "database", "grants", "--apply", "--passwords", str(HOME))
    shutil.rmtree(as_superuser)


def _write_settings(
    home: Path, deployment: str | None, partitions: int, *, role: str, reader: str, passfile: Path | None = None
) -> None:
    for directory in (home / "pins", home / "identities"):
        directory.mkdir(mode=0o700, exist_ok=True)
    write_private(home / "softhsm2.conf", f"directories.tokendir = {TOKENS}\nlog.level = ERROR\n")
    config = Config(
        data_directory=DATA,
        bootstrap_servers=os.environ["KEYFOLD_BOOTSTRAP_SERVERS"],
        deployment=deployment,
        partitions=partitions,
        replication_factor=3,
        postgres_dsn=_dsn(role, passfile or HOME / _passfile(role)),
        postgres_reader_dsn=_dsn(reader, passfile or HOME / _passfile(reader)),
        pkcs11_module=softhsm_module(),
        softhsm2_conf=HOME / "softhsm2.conf",
        pins_directory=HOME / "pins",
        identities_directory=HOME / "identities",
        telemetry=TELEMETRY,
    )
    save_config(config, home / SETTINGS)


def _give(home: Path, share: Share) -> None:
    """Copy secrets that are not there yet: what their owner has exchanged since stays."""
    files = [f"identities/{name}.json" for name in share.identities]
    files += [f"pins/{name}" for name in share.pins]
    files += [_passfile(role) for role in (share.role, share.reader) if role is not None]
    for target in (home / name for name in files if not (home / name).exists()):
        target.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        shutil.copy2(HOME / target.relative_to(home), fresh)  # 0600, as the source is
        fresh.replace(target)


def _passfile(role: str) -> str:
    return f"{role}.pgpass"


def _dsn(role: str, passfile: Path) -> str:
    return f"host=postgres dbname=keyfold user={role} passfile={passfile} connect_timeout=10"


def _keyfold(home: Path, *words: str) -> None:
    subprocess.run(["keyfold", "--data", str(home), *words], check=True, stdout=sys.stderr)


def main() -> int:
    """Carry out the step that is named; what is wrong is told in one line."""
    steps = {"password": password, "ceremony": ceremony, "first-user": first_user}
    try:
        steps[sys.argv[1]]()
    except (KeyfoldError, OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"deploy {sys.argv[1]}: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
