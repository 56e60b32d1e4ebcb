"""Projections in Postgres. This package, and in it `session`, is the only place that meets psycopg."""

from keyfold.projections.store.partition import PostgresPartitionStore
from keyfold.projections.store.queries import PostgresQueries
from keyfold.projections.store.schemas import PostgresSchemas

__all__ = ["PostgresPartitionStore", "PostgresQueries", "PostgresSchemas"]
