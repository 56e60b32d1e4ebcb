"""A record of the log by itself: what its leaf hash is made of, and the path by which its author is believed. Pure.

It is the extra data of proofs (`.tlog-proof`) and what a receipt holds, so that both are checked without the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from keyfold.events import facts, topics
from keyfold.events.chains import single_header
from keyfold.events.errors import InvalidCommand, RecordError, UnsupportedVersion
from keyfold.events.log_leaves import entry_of
from keyfold.events.statements import (
    PATH_HEADER,
    SIGNATURE_HEADER,
    SIGNER_HEADER,
    STATEMENT_HEADER,
    Entry,
    Header,
    Statement,
    UntrustedRecord,
    parse_statement,
    verify_entry,
)
from keyfold.events.times import to_milliseconds
from keyfold.events.trust import Trust, check_author

VERSION: Final = 1
_LENGTH_BYTES: Final = 4
_ABSENT: Final = b"\xff\xff\xff\xff"
_HEADERS: Final = (SIGNER_HEADER, STATEMENT_HEADER, SIGNATURE_HEADER, PATH_HEADER)
_PARTS: Final = 2 + len(_HEADERS)


class LogRecordInvalid(RecordError):
    """These bytes are not a record of the log in the form that proofs and receipts have."""

    code = "LogRecordInvalid"


@dataclass(frozen=True, slots=True)
class LogRecord:
    """Key, value and headers of a record, as a reader of the log was given them; None is what is null or absent."""

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

    @property
    def leaf(self) -> bytes:
        """The leaf hash; see `log_leaves`."""
        return sha256(b"\x00" + entry_of(self.key, self.value, self.headers)).digest()

    def to_bytes(self) -> bytes:
        """Return version u8, the entry of the leaf hash, and the path after its length (u32; 0xFFFFFFFF: absent)."""
        path = single_header(self.headers, PATH_HEADER)
        tail = _ABSENT if path is None else len(path).to_bytes(_LENGTH_BYTES, "big") + path
        return bytes([VERSION]) + entry_of(self.key, self.value, self.headers) + tail

    @property
    def event(self) -> facts.Event | None:
        """What the record says, whoever wrote it; None where it is no event that is known here."""
        try:
            return facts.parse_event(self.value or b"")
        except (InvalidCommand, UnsupportedVersion):
            return None

    @property
    def statement(self) -> Statement:
        """The author's statement, not verified. Raises `UntrustedRecord` where there is none."""
        return parse_statement(single_header(self.headers, STATEMENT_HEADER) or b"")

    def verify_author(self, trust: Trust) -> facts.Event:
        """Return the event of a record that an author who root certified has signed for events. `UntrustedRecord`.

        Its place in the author's chain is not looked at; the certificate must be valid at the event's own time.
        """
        event = self.event
        if event is None or self.key is None or self.value is None:
            raise UntrustedRecord("the record is no known event")
        document = single_header(self.headers, STATEMENT_HEADER) or b""
        statement = self.statement
        if statement.topic != topics.EVENTS or event.subject.encode() != self.key:
            raise UntrustedRecord("the statement or the record key is not the event's")
        signer = (single_header(self.headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
        signature = single_header(self.headers, SIGNATURE_HEADER) or b""
        trust.verify_statement(statement, document, signature, signer, to_milliseconds(event.time))
        verify_entry(statement, Entry(self.key, self.value), single_header(self.headers, PATH_HEADER) or b"")
        check_author(event, statement.role, topics.EVENTS)
        return event


def record_of(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> LogRecord:
    """Take what belongs to the log from a record as it was read."""
    found = [(name, single_header(headers, name)) for name in _HEADERS]
    return LogRecord(key, value, tuple((name, content) for name, content in found if content is not None))


def parse_record(document: bytes) -> LogRecord:
    """Read what `LogRecord.to_bytes` wrote. Raises `LogRecordInvalid`."""
    if document[:1] != bytes([VERSION]):
        raise LogRecordInvalid("the record is of another version than is known here")
    parts: list[bytes | None] = []
    at = 1
    while at < len(document):
        length, at = document[at : at + _LENGTH_BYTES], at + _LENGTH_BYTES
        if length == _ABSENT:
            parts.append(None)
            continue
        part = document[at : at + int.from_bytes(length, "big")]
        at += int.from_bytes(length, "big")
        parts.append(part)
    if at != len(document) or len(parts) != _PARTS:
        raise LogRecordInvalid("the record ends too early or too late")
    headers = zip(_HEADERS, parts[2:], strict=True)
    return LogRecord(parts[0], parts[1], tuple((name, content) for name, content in headers if content is not None))
