"""Rows in the binary form of `COPY … FROM STDIN`; audit rows are most of what a projection writes.

Each field is its length and its bytes in network order, -1 for NULL (PostgreSQL documentation, COPY, "Binary Format");
what the bytes of a type are is said by the type's `recv` function: `timestamptz` counts microseconds since 2000,
`jsonb` is a version and its text. The columns of the audit stand in the order of `AuditRow`. All values have been
checked: this module refuses nothing, Postgres does.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from struct import Struct
from typing import Final

from keyfold.events.times import to_milliseconds
from keyfold.projections.rows import AuditRow
from keyfold.projections.tables import Staged
from keyfold.projections.uses import REMEMBERED

BLOCK: Final = 1 << 18
"""Bytes after which a part is sent; others go on in between."""

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_TRUE: Final = b"\x00\x00\x00\x01\x01"
_FALSE: Final = b"\x00\x00\x00\x01\x00"
_TEXT_OID: Final = 25
_TO_2000_MS: Final = to_milliseconds("2000-01-01T00:00:00.000Z")

_length: Final = Struct("!i").pack
_integer: Final[Callable[[int, int], bytes]] = Struct("!ii").pack
_bigint: Final[Callable[[int, int], bytes]] = Struct("!iq").pack
_head: Final = Struct("!hiiiqiq").pack
_COLUMNS: Final = len(AuditRow.__slots__)


def audit(rows: Iterable[AuditRow]) -> Iterator[bytes]:
    """Yield a whole copy of audit rows in parts of about `BLOCK` bytes."""
    return _blocks(map(_audit, rows))


def staged(rows: Iterable[Staged]) -> Iterator[bytes]:
    """Yield a whole copy of rows to merge: their table, whether they are removed, and their document."""
    return _blocks(map(_staged, rows))


def _blocks(encoded: Iterable[bytes]) -> Iterator[bytes]:
    parts = [_SIGNATURE]
    size = 0
    for row in encoded:
        parts.append(row)
        size += len(row)
        if size >= BLOCK:
            yield b"".join(parts)
            parts, size = [], 0
    parts.append(_TRAILER)
    yield b"".join(parts)


def _staged(row: Staged) -> bytes:
    document = _json(json.dumps(row.document))
    return b"\x00\x03" + _word(row.table) + (_TRUE if row.removed else _FALSE) + document


def _audit(row: AuditRow) -> bytes:
    value, dry_run, administrative = row.value, row.dry_run, row.administrative
    return b"".join(
        (
            _head(_COLUMNS, 4, row.partition, 8, row.position, 8, row.kafka_offset),
            _text(row.event_id),
            _word(row.event_type),
            _time(row.time),
            _word(row.stream),
            _word(row.outcome),
            _word(row.code),
            _word(row.principal),
            _word(row.verb),
            _uuid(row.key_id),
            _number(row.key_version),
            _json(row.contexts),
            _number(row.items),
            _number(row.payload_bytes),
            _words(row.policies),
            _number(row.registry_revision),
            _uuid(row.command_id),
            _text(row.command_digest),
            _number(row.command_offset),
            _length(len(value)),
            value,
            _word(row.role),
            _word(row.signer),
            _bigint(8, row.statement_n),
            _integer(4, row.statement_leaf),
            _text(row.reason),
            _text(row.source),
            _TRUE if dry_run else _FALSE,
            _uuid(row.grant_id),
            _uuid(row.proposal_id),
            _word(row.algorithm),
            _TRUE if administrative else _FALSE,
        )
    )


def _text(text: str | None) -> bytes:
    if text is None:
        return _NULL
    encoded = text.encode()
    return _length(len(encoded)) + encoded


_short_text: Final = lru_cache(maxsize=16_384)(_text)


def _word(text: str | None) -> bytes:
    """Encode what few words are said in again and again."""
    return _short_text(text) if text is None or len(text) <= REMEMBERED else _text(text)


def _number(number: int | None) -> bytes:
    return _NULL if number is None else _bigint(8, number)


def _uuid(text: str | None) -> bytes:
    return _NULL if text is None else b"\x00\x00\x00\x10" + bytes.fromhex(text.replace("-", ""))


def _json(text: str | None) -> bytes:
    if text is None:
        return _NULL
    encoded = text.encode()
    return _length(len(encoded) + 1) + b"\x01" + encoded


def _words(words: tuple[str, ...] | None) -> bytes:
    if words is None:
        return _NULL
    return _few_words(words) if sum(map(len, words), len(words)) <= REMEMBERED else _array(words)


def _array(words: tuple[str, ...]) -> bytes:
    """Encode `text[]`: dimensions, whether any is null, the type; then the length and first index of the dimension."""
    head = Struct("!iii").pack(1 if words else 0, 0, _TEXT_OID)
    if words:
        head += _integer(len(words), 1)
    encoded = head + b"".join(map(_text, words))
    return _length(len(encoded)) + encoded


_few_words: Final = lru_cache(maxsize=4_096)(_array)


def _time(text: str) -> bytes:
    milliseconds = _minute(text[:16]) + int(text[17:19]) * 1_000 + int(text[20:23])
    return _bigint(8, milliseconds * 1_000)


@lru_cache(maxsize=4_096)
def _minute(text: str) -> int:
    """Return the milliseconds from 2000 to a minute, by its first sixteen characters."""
    return to_milliseconds(f"{text}:00.000Z") - _TO_2000_MS
