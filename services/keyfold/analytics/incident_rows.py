"""What is remembered of incidents, as rows of a table that is written row by row: a batch is there whole or not. Pure.

All that one batch changes stands first in rows of its own, the parts of a journal, and then in the row of each
document. A crash leaves the first rows of what was written:

- a part of the journal: it says that it is not whole, and the documents are those of the batch before;
- the journal, and some documents: the journal has the others. They are to be written before the next journal is, as
  that takes its place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

MAX_PART: Final = 512 * 1024
JOURNAL: Final = b"\x00batch"

Rows = dict[bytes, bytes | None]
"""What to write, in this order; None deletes."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The documents that rows hold, and those rows that a crash left unwritten."""

    documents: dict[str, Any] = field(default_factory=dict)
    unwritten: Rows = field(default_factory=dict)


def batch_rows(documents: Mapping[str, Any]) -> Rows:
    """Return the rows of the documents that a batch changed: the journal, then each. None stands for one that went."""
    rows: Rows = {name.encode(): _dumped(document) for name, document in documents.items()}
    digest = sha256(b"".join(name + b"\x00" + (row or b"") for name, row in rows.items())).hexdigest()
    parts = _parts(rows)
    journal: Rows = {
        _part_name(number): _whole([digest, number, len(parts)], part) for number, part in enumerate(parts)
    }
    return journal | rows


def remembered(rows: Mapping[bytes, bytes]) -> Remembered:
    """Return what rows say. Raises `ValueError` for what are none."""
    documents = {name.decode(): json.loads(row) for name, row in rows.items() if not name.startswith(JOURNAL)}
    journal = _journal(rows)
    unwritten = {name: document for name, document in journal.items() if documents.get(name) != document}
    documents |= journal
    return Remembered(
        {name: document for name, document in documents.items() if document is not None},
        {name.encode(): _dumped(document) for name, document in unwritten.items()},
    )


def _journal(rows: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return the documents of the journal, if all parts of it are there."""
    first = rows.get(JOURNAL)
    if first is None:
        return {}
    head, found = _part(first)
    if head is None:
        return found
    digest, _, number = _head(head)
    for each in range(1, number):
        head, more = _part(rows.get(_part_name(each), b"{}"))
        if head != [digest, each, number]:
            return {}
        found |= more
    return found


def _part(row: bytes) -> tuple[Any, dict[str, Any]]:
    """Return a part's head and documents; older releases wrote one part, without a head."""
    document = json.loads(row)
    if not isinstance(document, dict):
        raise ValueError("no part of a journal")  # noqa: TRY004 - whoever reads such rows begins anew
    head = document.pop("", None)
    return head, document


def _head(head: Any) -> tuple[str, int, int]:
    match head:
        case [str(digest), int(place), int(number)]:
            return digest, place, number
        case _:
            raise ValueError("no head of a part of a journal")


def _parts(rows: Rows) -> list[list[bytes]]:
    """Divide rows, as members of a JSON document, into parts of bounded size."""
    parts: list[list[bytes]] = [[]]
    size = 0
    for name, row in rows.items():
        member = json.dumps(name.decode()).encode() + b":" + (b"null" if row is None else row)
        if parts[-1] and size + len(member) > MAX_PART:
            parts.append([])
            size = 0
        parts[-1].append(member)
        size += len(member) + 1
    return parts


def _whole(head: list[Any], members: list[bytes]) -> bytes:
    return b"{" + b",".join([b'"":' + json.dumps(head, separators=(",", ":")).encode(), *members]) + b"}"


def _part_name(number: int) -> bytes:
    return JOURNAL + (b"/%d" % number if number else b"")


def _dumped(document: Any) -> bytes | None:
    return None if document is None else json.dumps(document, separators=(",", ":")).encode()
