"""Alerts in Postgres, in the schema `keyfold_alerts`. See `keyfold.projections.alerts`.

Writing is one transaction of upserts by id: if we crash before its commit, the same alerts come again, and if we crash
after it, they change nothing. Reading needs no right but SELECT.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from keyfold.events.alerts import Alert, Evidence, FindingDetected, IncidentData
from keyfold.projections import sqlfiles
from keyfold.projections.alerts import (
    STATES,
    ActRow,
    AlertFilter,
    FindingRow,
    IncidentDetails,
    IncidentRow,
    written,
)
from keyfold.projections.store.session import Row, Session, Statements

_SQL: Final = sqlfiles.statements("alerts")
_ALL: Final = AlertFilter()
_MOST: Final = 1_000


class PostgresAlertStore:
    """See `AlertStore`. The projector makes the schema when it starts; before that, `StoreUnavailable`."""

    def __init__(self, dsn: str, *, deadline_s: float = 10.0) -> None:
        self._session = Session(dsn, settings={"search_path": "pg_catalog"}, deadline_s=deadline_s)

    async def write(self, alerts: Sequence[Alert], acts: Sequence[ActRow] = ()) -> None:
        """Write alerts, then acts."""
        told = written(alerts)
        rows: dict[str, list[dict[str, Any]]] = {
            "write_findings": [_finding_document(entity, data) for entity, data in told.findings.values()],
            "write_incidents": [_incident_document(data) for data in told.incidents.values()],
            "write_links": [{"incident": incident, "finding": finding} for incident, finding in told.links],
            "write_acts": [_act_document(act) for act in {each.event_id: each for each in acts}.values()],
        }

        async def work(tx: Statements) -> None:
            for name, documents in rows.items():
                if documents:
                    await tx.execute(_SQL[name], {"rows": json.dumps(documents, ensure_ascii=False)})
            for act in acts:
                state = STATES.get(act.kind)
                if state is not None:
                    await tx.execute(_SQL["act"], {**_act_document(act), "state": state})

        if any(rows.values()):
            await self._session.run(work)

    async def close(self) -> None:
        """Release the connection."""
        await self._session.close()


class PostgresAlertQueries:
    """See `AlertQueries`."""

    def __init__(self, dsn: str, *, deadline_s: float = 10.0) -> None:
        settings = {"search_path": "pg_catalog", "default_transaction_read_only": "on"}
        self._session = Session(dsn, settings=settings, deadline_s=deadline_s)

    async def incidents(self, wanted: AlertFilter = _ALL, *, limit: int = 100) -> tuple[IncidentRow, ...]:
        """Return incidents, the latest first."""
        return tuple(map(_incident_row, await self._fetch("incidents", wanted, limit=limit)))

    async def findings(self, wanted: AlertFilter = _ALL, *, limit: int = 100) -> tuple[FindingRow, ...]:
        """Return findings, the latest first."""
        return tuple(map(_finding_row, await self._fetch("findings", wanted, limit=limit)))

    async def incident(self, incident: str) -> IncidentDetails | None:
        """Return an incident with its findings and acts."""
        given = _parameters(_ALL, limit=_MOST, incident=incident)

        async def work(tx: Statements) -> tuple[list[Row], list[Row], list[Row]]:
            rows = await tx.fetch(_SQL["incidents"], given)
            return rows, await tx.fetch(_SQL["findings"], given), await tx.fetch(_SQL["acts"], given)

        rows, findings, acts = await self._session.run(work)
        if not rows:
            return None
        return IncidentDetails(
            _incident_row(rows[0]), tuple(map(_finding_row, findings)), tuple(ActRow(*act) for act in acts)
        )

    async def finding(self, finding: str) -> FindingRow | None:
        """Return a finding."""
        rows = await self._fetch("findings", _ALL, limit=1, finding=finding)
        return _finding_row(rows[0]) if rows else None

    async def close(self) -> None:
        """Release the connection."""
        await self._session.close()

    async def _fetch(self, name: str, wanted: AlertFilter, **more: Any) -> list[Row]:
        given = _parameters(wanted, **more)
        return await self._session.run(lambda tx: tx.fetch(_SQL[name], given))


def _parameters(wanted: AlertFilter, **more: Any) -> Mapping[str, Any]:
    given = {name: getattr(wanted, name) for name in AlertFilter.__slots__}
    return {"finding": None, "incident": None, **given, **more}


def _finding_document(entity: str, data: FindingDetected.Data) -> dict[str, Any]:
    document = data.model_dump(mode="json")
    return {
        **document,
        "entity": entity,
        "window_at": data.window,
        "since_at": data.since,
        "until_at": data.until,
    }


def _incident_document(data: IncidentData) -> dict[str, Any]:
    document = data.model_dump(mode="json")
    times = {"opened_at": data.opened, "since_at": data.since, "until_at": data.until}
    return {**document, **times, "acted_by": data.by}


def _act_document(act: ActRow) -> dict[str, Any]:
    document = {name: getattr(act, name) for name in ActRow.__slots__}
    return {**document, "acted_at": act.time, "acted_by": act.by, "until_at": act.until}


def _finding_row(row: Row) -> FindingRow:
    evidence = tuple(Evidence.model_validate(each) for each in json.loads(row[12]))
    values = (*row[:12], evidence, *row[13:])
    return FindingRow(*values)


def _incident_row(row: Row) -> IncidentRow:
    values = (*row[:7], tuple(row[7]), tuple(row[8]), *row[9:])
    return IncidentRow(*values)
