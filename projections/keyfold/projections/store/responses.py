"""The record of responses in Postgres, in the schema `keyfold_alerts`. See `keyfold.projections.responses`."""

from dataclasses import asdict
from typing import Final

from keyfold.projections import sqlfiles
from keyfold.projections.responses import ResponseRow
from keyfold.projections.store.session import Session

_SQL: Final = sqlfiles.statements("responses")


class PostgresResponses:
    """See `Responses`. The projector makes the schema when it starts; before that, `StoreUnavailable`."""

    def __init__(self, dsn: str, *, deadline_s: float = 10.0) -> None:
        self._session = Session(dsn, settings={"search_path": "pg_catalog"}, deadline_s=deadline_s)

    async def record(self, response: ResponseRow) -> None:
        """Write one, unless it is there and tells what became of it."""
        await self._session.run(lambda tx: tx.execute(_SQL["record"], asdict(response)))

    async def of_incident(self, incident: str) -> tuple[ResponseRow, ...]:
        """Return those of an incident, the first first."""
        rows = await self._session.run(lambda tx: tx.fetch(_SQL["of_incident"], {"incident": incident}))
        return tuple(ResponseRow(*row) for row in rows)

    async def sent_since(self, since: str) -> int:
        """Count those since a time that were not withheld."""
        rows = await self._session.run(lambda tx: tx.fetch(_SQL["sent_since"], {"since": since}))
        return int(rows[0][0])

    async def close(self) -> None:
        """Release the connection."""
        await self._session.close()
