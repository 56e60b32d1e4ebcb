"""The record of responses in memory. See `keyfold.projections.responses`; Postgres passes the same suite."""

from keyfold.projections.responses import ResponseRow


class MemoryResponses:
    """Writes and reads."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], ResponseRow] = {}

    async def record(self, response: ResponseRow) -> None:
        """Write one, unless it is there and tells what became of it."""
        name = response.incident, response.verb, response.target
        if name not in self._rows or self._rows[name].outcome == "sending":
            self._rows[name] = response

    async def of_incident(self, incident: str) -> tuple[ResponseRow, ...]:
        """Return those of an incident, the first first."""
        found = [row for row in self._rows.values() if row.incident == incident]
        return tuple(sorted(found, key=lambda row: (row.at, row.verb, row.target)))

    async def sent_since(self, since: str) -> int:
        """Count those since a time that were not withheld."""
        return sum(row.at >= since and row.outcome != "withheld" for row in self._rows.values())

    async def close(self) -> None:
        """Nothing is held open."""
