"""Audit filters and cursors: as conditions of a statement, and as a predicate over rows. Pure.

Both say the same; the contract suite of the stores holds them to it. A cursor is the place of the last row that was
given: time, partition, position.
"""

import json
from typing import Any, Final

from keyfold.events.errors import InvalidCommand
from keyfold.events.times import to_milliseconds
from keyfold.projections.ports import AuditFilter
from keyfold.projections.rows import AuditRow

Place = tuple[str, int, int]

_EQUAL: Final = {
    "key_id": "key_id = %(key_id)s::uuid",
    "principal": "principal = %(principal)s",
    "verb": "verb = %(verb)s",
    "event_type": "event_type = %(event_type)s",
    "stream": "stream = %(stream)s",
    "command_id": "command_id = %(command_id)s::uuid",
    "grant_id": "grant_id = %(grant_id)s::uuid",
    "proposal_id": "proposal_id = %(proposal_id)s::uuid",
    "algorithm": "algorithm = %(algorithm)s",
    "outcome": "outcome = %(outcome)s",
    "code": "code = %(code)s",
}


class InvalidCursor(InvalidCommand):
    """A cursor is not one that was given out."""

    code = "InvalidCursor"
    hint = "pass `next` of the page before, unchanged"


def cursor_of(row: AuditRow) -> str:
    """Return the cursor that continues after a row."""
    return f"{row.time}_{row.partition}_{row.position}"


def place_of(cursor: str) -> Place:
    """Read a cursor. Raises `InvalidCursor`."""
    parts = cursor.split("_")
    try:
        time, partition, position = parts[0], int(parts[1]), int(parts[2])
        to_milliseconds(time)
    except (IndexError, ValueError, InvalidCommand):
        raise InvalidCursor from None
    return time, partition, position


def conditions(wanted: AuditFilter, after: Place | None, *, oldest_first: bool) -> tuple[str, dict[str, object]]:
    """Return what follows `SELECT … FROM audit`, without the limit, and its parameters."""
    parts = [condition for name, condition in _EQUAL.items() if getattr(wanted, name) is not None]
    parameters: dict[str, object] = {name: getattr(wanted, name) for name in _EQUAL}
    if wanted.since is not None:
        parts.append("time >= %(since)s::timestamptz")
    if wanted.until is not None:
        parts.append("time < %(until)s::timestamptz")
    if wanted.contexts:
        parts.append("contexts @> %(contexts)s::jsonb")
        parameters["contexts"] = json.dumps([dict(wanted.contexts)])
    if wanted.denied_only:
        parts.append("outcome = 'denied'")
    if wanted.administrators:
        parts.append("administrative")
    if after is not None:
        comparison = ">" if oldest_first else "<"
        parts.append(f"(time, partition, position) {comparison} (%(time)s::timestamptz, %(partition)s, %(position)s)")
        parameters |= dict(zip(("time", "partition", "position"), after, strict=True))
    direction = "ASC" if oldest_first else "DESC"
    order = f" ORDER BY time {direction}, partition {direction}, position {direction}"
    where = f" WHERE {' AND '.join(parts)}" if parts else ""
    return where + order, parameters | {"since": wanted.since, "until": wanted.until}


def matches(wanted: AuditFilter, row: AuditRow) -> bool:
    """Say whether a row passes the filter."""
    if any(getattr(wanted, name) not in {None, getattr(row, name)} for name in _EQUAL):
        return False
    if wanted.since is not None and row.time < wanted.since:
        return False
    if wanted.until is not None and row.time >= wanted.until:
        return False
    if wanted.contexts and not _has_context(row, dict(wanted.contexts)):
        return False
    if wanted.administrators and not row.administrative:
        return False
    return row.outcome == "denied" or not wanted.denied_only


def _has_context(row: AuditRow, pairs: dict[str, str]) -> bool:
    contexts: list[dict[str, Any]] = json.loads(row.contexts or "[]")
    return any(context.items() >= pairs.items() for context in contexts)


def beyond(row: AuditRow, after: Place | None, *, oldest_first: bool) -> bool:
    """Say whether a row comes after the cursor's place."""
    if after is None:
        return True
    place = (row.time, row.partition, row.position)
    return place > after if oldest_first else place < after
