"""The embedded stack for real: Kafka, Postgres and SoftHSM's place in one data directory."""

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from keyfold.embedded import DataDirectoryError, PartFailed, PortInUse, Stack

pytestmark = pytest.mark.stack


def test_the_session_broker_answers(kafka) -> None:
    """The `kafka` fixture hands out a broker whose port is open."""
    host, port = kafka.bootstrap_servers.split(":")
    socket.create_connection((host, int(port)), timeout=5).close()


def test_a_fresh_database_belongs_to_its_owner_and_is_closed_to_the_reader(postgres_database) -> None:
    """The owner makes tables; the auditor's role connects but reads nothing until it is granted."""
    with psycopg.connect(postgres_database.dsn) as owner:
        owner.execute("CREATE TABLE facts AS SELECT 1 AS n")
    with psycopg.connect(postgres_database.reader_dsn) as reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("SELECT n FROM facts")


def test_softhsm_has_its_own_empty_token_directory(softhsm) -> None:
    """SOFTHSM2_CONF names a settings file whose token directory exists and is empty."""
    assert Path(os.environ["SOFTHSM2_CONF"]) == softhsm.conf
    assert list((softhsm.conf.parent / "tokens").iterdir()) == []
    assert softhsm.module.is_file()
