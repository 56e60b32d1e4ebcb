"""Rows of an archive: a record as it lies in the log, and beside it what its event says, for people who query. Pure.

`parts_of` and `record_of` are inverse, whatever the record: the headers are kept in their order, and those of a
statement have columns of their own. What is shown of the event (`EVENT_COLUMNS`) is filled where the record is signed
by whom root certified; it is a convenience, and no reader of archives believes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyfold.bus import Inbound
from keyfold.events import topics
from keyfold.events.chains import Accepted, Place, read_event, single_header
from keyfold.events.errors import RecordError
from keyfold.events.statements import (
    PATH_HEADER,
    SEALED_HEADER,
    SIGNATURE_HEADER,
    SIGNER_HEADER,
    STATEMENT_HEADER,
    ChainHead,
    Entry,
    Statement,
    UntrustedRecord,
    parse_statement,
    verify_entry,
)
from keyfold.events.trust import Trust
from keyfold.projections.audit import audit_row

HEADER_COLUMNS: Final = {
    SIGNER_HEADER: "signer",
    STATEMENT_HEADER: "statement",
    SIGNATURE_HEADER: "signature",
    PATH_HEADER: "path",
}
EVENT_COLUMNS: Final[Mapping[str, type]] = {
    "event_id": str,
    "event_type": str,
    "time": str,
    "stream": str,
    "outcome": str,
    "code": str,
    "principal": str,
    "verb": str,
    "key_id": str,
    "key_version": int,
    "contexts": str,
    "items": int,
    "payload_bytes": int,
    "registry_revision": int,
    "command_id": str,
    "role": str,
    "statement_n": int,
    "reason": str,
    "source": str,
    "dry_run": bool,
    "grant_id": str,
    "proposal_id": str,
    "algorithm": str,
}
"""What `keyfold.projections.rows.AuditRow` calls them too."""

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A record at its leaf index. `columns` has the statement's headers, `headers` all of them, as `parts_of` says."""

    partition: int
    leaf: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    columns: Mapping[str, bytes | None]
    headers: Headers
    event: Mapping[str, Any]


class Rows:
    """Makes rows; remembers the statement that was verified last, since a transaction's records follow each other."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._verified: tuple[tuple[str, bytes, bytes], Statement] | None = None

    def of(self, record: Inbound, leaf: int) -> Row:
        """Return the row of a record, with what its event says if it is signed by whom root certified."""
        columns, headers = parts_of(record)
        place = (record.partition, leaf, record.offset, record.timestamp_ms)
        return Row(*place, record.key, record.value, columns, headers, self._event_columns(record, leaf))

    def _event_columns(self, record: Inbound, leaf: int) -> dict[str, Any]:
        """Return what the audit trail shows of an event; nothing of a record that its author's key does not vouch for.

        Order (gaps, repeats) is not looked at: that is what verifying an archive is for.
        """
        try:
            accepted = self._accepted(record)
            event = read_event(accepted, topics.EVENTS)
        except RecordError:
            return {}
        row = audit_row(record.partition, leaf, record.offset, accepted, event)
        return {name: getattr(row, name) for name in EVENT_COLUMNS}

    def _accepted(self, record: Inbound) -> Accepted:
        signer = (single_header(record.headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
        statement = self._statement(record, signer)
        sealed = single_header(record.headers, SEALED_HEADER) or b""
        entry = Entry(record.key or b"", record.value or b"", sealed)
        leaf = verify_entry(statement, entry, single_header(record.headers, PATH_HEADER) or b"")
        return Accepted(statement.role, signer, Place(ChainHead(statement.n), leaf, statement.leaves), entry)

    def _statement(self, record: Inbound, signer: str) -> Statement:
        document = single_header(record.headers, STATEMENT_HEADER) or b""
        signature = single_header(record.headers, SIGNATURE_HEADER) or b""
        memo = (signer, signature, document)
        if self._verified is not None and self._verified[0] == memo:
            statement = self._verified[1]
        else:
            statement = parse_statement(document)
            self._trust.verify_statement(statement, document, signature, signer, record.timestamp_ms)
            self._verified = (memo, statement)
        if (statement.topic, statement.partition) != (topics.EVENTS, record.partition):
            raise UntrustedRecord("the statement belongs to another topic or partition")
        return statement


def parts_of(record: Inbound) -> tuple[dict[str, bytes | None], Headers]:
    """Return the statement's headers by column, and all headers in order: null where the value is in a column."""
    columns = {column: single_header(record.headers, name) for name, column in HEADER_COLUMNS.items()}
    headers = tuple(
        (name, None if columns.get(HEADER_COLUMNS.get(name, "")) is not None else value)
        for name, value in record.headers
    )
    return columns, headers


def record_of(row: Row) -> Inbound:
    """Return the record as a committed reader was given it."""
    headers = tuple((name, _header(row, name, value)) for name, value in row.headers)
    return Inbound(topics.EVENTS, row.partition, row.offset, row.timestamp_ms, row.key, row.value, headers)


def _header(row: Row, name: str, value: bytes | None) -> bytes | None:
    column = row.columns.get(HEADER_COLUMNS.get(name, ""))
    return value if column is None else column
