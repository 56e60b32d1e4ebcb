"""The session's Kafka, Postgres and SoftHSM, as every other test gets them."""

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from keyfold.embedded import Stack

if TYPE_CHECKING:
    from tests.conftest import Kafka, PostgresDatabase, SoftHSM

pytestmark = pytest.mark.stack


def test_the_session_broker_answers(kafka: "Kafka") -> None:
    """The `kafka` fixture hands out a broker whose port is open."""
    host, port = kafka.bootstrap_servers.split(":")
    socket.create_connection((host, int(port)), timeout=5).close()


def test_a_fresh_database_belongs_to_its_owner_and_is_closed_to_the_reader(
    postgres_database: "PostgresDatabase",
) -> None:
    """The owner makes tables; the auditor's role connects but reads nothing until it is granted."""
    with psycopg.connect(postgres_database.dsn) as owner:
        owner.execute("CREATE TABLE facts AS SELECT 1 AS n")
    with psycopg.connect(postgres_database.reader_dsn) as reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("SELECT n FROM facts")


def test_the_server_takes_no_connection_without_the_password(postgres_database: "PostgresDatabase") -> None:
    """Another user of this machine, who cannot read the password file, stays outside."""
    parsed = psycopg.conninfo.conninfo_to_dict(postgres_database.dsn)
    without = psycopg.conninfo.make_conninfo(postgres_database.dsn, passfile="/dev/null", password="guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(without)
    assert Path(str(parsed["passfile"])).stat().st_mode & 0o077 == 0


def test_softhsm_has_its_own_empty_token_directory(softhsm: "SoftHSM") -> None:
    """SOFTHSM2_CONF names a settings file whose token directory exists and is empty."""
    assert Path(os.environ["SOFTHSM2_CONF"]) == softhsm.conf
    assert list((softhsm.conf.parent / "tokens").iterdir()) == []
    assert softhsm.module.is_file()


def test_an_existing_server_is_used_by_setting(
    tmp_path: Path, postgres_database: "PostgresDatabase", monkeypatch: pytest.MonkeyPatch
) -> None:
    """With KEYFOLD_POSTGRES_DSN no server is started; the choice is kept when the setting is not given again."""
    monkeypatch.setenv("KEYFOLD_POSTGRES_DSN", postgres_database.dsn)
    monkeypatch.setenv("KEYFOLD_POSTGRES_READER_DSN", postgres_database.reader_dsn)
    stack = Stack(tmp_path / "data")
    first = stack.start_infrastructure(["postgres"])
    monkeypatch.delenv("KEYFOLD_POSTGRES_DSN")
    monkeypatch.delenv("KEYFOLD_POSTGRES_READER_DSN")
    assert (first.postgres_dsn, first.postgres_reader_dsn) == (postgres_database.dsn, postgres_database.reader_dsn)
    assert stack.start_infrastructure(["postgres"]) == first
    assert {part.state for part in stack.status()} == {"stopped"}
