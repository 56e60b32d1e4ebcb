"""Fixtures shared by all tests: a real Kafka, a real Postgres and SoftHSM, started once and only when a test asks.

A test that needs one and cannot have it fails with the one line that says what to install; nothing is ever skipped,
except what needs Docker Engine where none can be had. `--backend=containers` runs Kafka and Postgres in containers.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from tests.support import engine
from tests.support.containers import Containers

from keyfold.embedded import Stack
from keyfold.embedded.softhsm import prepare_softhsm, softhsm_module
from keyfold.events.errors import KeyfoldError

T = TypeVar("T")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--backend` chooses what Kafka and Postgres of the tests run in."""
    parser.addoption("--backend", choices=("local", "containers"), default="local", help="processes, or containers")


def pytest_configure(config: pytest.Config) -> None:
    """Put containers in the place of processes, where asked for."""
    if config.getoption("--backend") == "containers":
        config.pluginmanager.register(Containers())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what was left out: nobody is to take it for passed."""
    if reason := engine.missing():
        terminalreporter.write_line(f"NOT RUN, since no Docker Engine can be had here: {reason}", yellow=True)


@dataclass(frozen=True, slots=True)
class Kafka:
    """A running broker, without any topic of Keyfold's."""

    bootstrap_servers: str


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server. `dsn` is its superuser's; `database` makes a fresh database for one test."""

    dsn: str
    database: Callable[[], "PostgresDatabase"]


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """A fresh, empty database: `dsn` as its owner (role keyfold), `reader_dsn` as keyfold_auditor (no rights yet)."""

    dsn: str
    reader_dsn: str
    admin_dsn: str


@dataclass(frozen=True, slots=True)
class SoftHSM:
    """A PKCS#11 module and a settings file whose token directory is empty. SOFTHSM2_CONF is set meanwhile."""

    module: Path
    conf: Path


@pytest.fixture(scope="session")
def infrastructure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One data directory for `kafka` and `postgres`; each is started by its own fixture, all is stopped at the end."""
    made = Stack(tmp_path_factory.mktemp("infrastructure") / "data", development=True)
    try:
        yield made
    finally:
        made.reset()


@pytest.fixture(scope="session")
def kafka(infrastructure: Stack) -> Kafka:
    """A broker for the whole session: tests use topic names of their own."""
    return Kafka(_or_fail(lambda: infrastructure.start_infrastructure(["kafka"])).bootstrap_servers)


@pytest.fixture(scope="session")
def postgres(infrastructure: Stack) -> Postgres:
    """A Postgres server for the whole session."""
    config = _or_fail(lambda: infrastructure.start_infrastructure(["postgres"]))
    embedded = "KEYFOLD_POSTGRES_DSN" not in os.environ
    admin = infrastructure.postgres_admin_dsn if embedded else config.postgres_dsn

    def database() -> PostgresDatabase:
        name = f"test_{secrets.token_hex(6)}"
        owner = psycopg.conninfo.conninfo_to_dict(config.postgres_dsn)["user"]
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE {name} OWNER "{owner}"'.encode())
        of = psycopg.conninfo.make_conninfo
        return PostgresDatabase(
            *(of(dsn, dbname=name) for dsn in (config.postgres_dsn, config.postgres_reader_dsn, admin))
        )

    return Postgres(admin, database)


@pytest.fixture
def postgres_database(postgres: Postgres) -> Iterator[PostgresDatabase]:
    """A fresh database for one test, removed after it: there are many, and each has hundreds of files."""
    database = postgres.database()
    yield database
    name = psycopg.sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(database.dsn)["dbname"]))
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture(scope="module")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHSM]:
    """SoftHSM2 with an empty token directory for one test module.

    A process that has loaded the PKCS#11 module keeps the directory it had then: tests that need another one run the
    token in a process of its own or finalize the module first.
    """
    module = _or_fail(softhsm_module)
    conf = prepare_softhsm(tmp_path_factory.mktemp("softhsm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(conf))
        yield SoftHSM(module, conf)


def _or_fail(make: Callable[[], T]) -> T:
    """What is missing is a failure with its one line, not an error page and never a skip."""
    try:
        return make()
    except KeyfoldError as error:
        pytest.fail(str(error), pytrace=False)
