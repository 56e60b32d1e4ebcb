"""Projections in Postgres. This package, and in it `session`, is the only place that meets psycopg."""

from keyfold.projections.store.alerts import PostgresAlertQueries, PostgresAlertStore
from keyfold.projections.store.audit_views import VIEWS, PostgresAuditViews, ViewFilter, ViewRows
from keyfold.projections.store.partition import PostgresPartitionStore
from keyfold.projections.store.queries import PostgresQueries
from keyfold.projections.store.schemas import PostgresSchemas
from keyfold.projections.store.snapshots import PostgresSnapshots

__all__ = [
    "VIEWS",
    "PostgresAlertQueries",
    "PostgresAlertStore",
    "PostgresAuditViews",
    "PostgresPartitionStore",
    "PostgresQueries",
    "PostgresSchemas",
    "PostgresSnapshots",
    "ViewFilter",
    "ViewRows",
]
