"""The rows of `keyfold_alerts` as JSON documents, for backups: they do not follow from the log.

Alerts are on their topic for 90 days only, and what analytics did about incidents is nowhere else.
"""

from collections.abc import Sequence
from typing import Final

from keyfold.projections import sqlfiles
from keyfold.projections.store.session import Session

TABLES: Final = ("findings", "incidents", "incident_findings", "acts", "responses")
_SQL: Final = sqlfiles.statements("alert_copies")
_AT_ONCE: Final = 1_000


class PostgresAlertCopies:
    """Reads all rows, which an auditor may, or fills empty tables, as whoever may write alerts."""

    def __init__(self, dsn: str, *, deadline_s: float = 600.0) -> None:
        self._session = Session(dsn, settings={"search_path": "pg_catalog"}, deadline_s=deadline_s)

    async def read(self, table: str) -> list[str]:
        """Return the rows of one of `TABLES`, each as a JSON object by column."""
        statement = sqlfiles.with_names(_SQL["read"], table=table)
        return [document for (document,) in await self._session.run(lambda tx: tx.fetch(statement))]

    async def write(self, table: str, documents: Sequence[str]) -> None:
        """Add rows; those that are there stay as they are."""
        statement = sqlfiles.with_names(_SQL["write"], table=table)
        for at in range(0, len(documents), _AT_ONCE):
            some = {"rows": "[" + ",".join(documents[at : at + _AT_ONCE]) + "]"}
            await self._session.run(lambda tx, some=some: tx.execute(statement, some))  # type: ignore[misc]

    async def close(self) -> None:
        """Release the connection."""
        await self._session.close()
