"""Segments as JSON lines: one record a line, readable with `jq` and without any library.

Keys, values, signers and statements are text where they are UTF-8, else `{"base64": …}`; signatures, paths and the
values in `headers` are base64. Null is null.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from keyfold.auditing.archive_errors import ArchiveDamaged
from keyfold.auditing.archive_rows import EVENT_COLUMNS, HEADER_COLUMNS, Row

_TEXTS: Final = ("key", "value", "signer", "statement")


class JsonLinesWriter:
    """Writes rows to a file that it does not close."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, row: Row) -> None:
        """Write a row."""
        self._file.write(json.dumps(_document(row), ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Nothing is held back."""


def read_json_lines(file: BinaryIO, name: str) -> Iterator[Row]:
    """Yield the rows of a file. Raises `ArchiveDamaged`."""
    for number, line in enumerate(file, 1):
        try:
            yield _row(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ArchiveDamaged(f"{name}: line {number} is no record of an archive; get the file anew") from None


def _document(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "partition": row.partition,
        "leaf": row.leaf,
        "offset": row.offset,
        "timestamp_ms": row.timestamp_ms,
    }
    found |= {name: row.event.get(name) for name in EVENT_COLUMNS}
    parts = {"key": row.key, "value": row.value, **row.columns}
    found |= {name: _text(part) if name in _TEXTS else _base64(part) for name, part in parts.items()}
    found["headers"] = [[name, _base64(value)] for name, value in row.headers]
    return found


def _row(found: dict[str, Any]) -> Row:
    columns = {
        name: _of_text(found[name]) if name in _TEXTS else _of_base64(found[name]) for name in HEADER_COLUMNS.values()
    }
    headers = tuple((str(name), _of_base64(value)) for name, value in found["headers"])
    place = (int(found["partition"]), int(found["leaf"]), int(found["offset"]), int(found["timestamp_ms"]))
    event = {name: found[name] for name in EVENT_COLUMNS}
    return Row(*place, _of_text(found["key"]), _of_text(found["value"]), columns, headers, event)


def _text(part: bytes | None) -> str | dict[str, str] | None:
    if part is None:
        return None
    try:
        return part.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(part).decode()}


def _of_text(part: str | dict[str, str] | None) -> bytes | None:
    if isinstance(part, dict):
        return _of_base64(part["base64"])
    return None if part is None else part.encode()


def _base64(part: bytes | None) -> str | None:
    return None if part is None else base64.b64encode(part).decode()


def _of_base64(part: str | None) -> bytes | None:
    return None if part is None else base64.b64decode(part, validate=True)
