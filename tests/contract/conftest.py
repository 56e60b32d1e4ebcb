"""Databases of contract tests go when their test ends: there are many, and each has hundreds of files."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.conftest import Postgres, PostgresDatabase


@pytest.fixture
def postgres_database(postgres: "Postgres") -> Iterator["PostgresDatabase"]:
    """A fresh database for one test, removed after it."""
    database = postgres.database()
    yield database
    name = psycopg.sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(database.dsn)["dbname"]))
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
