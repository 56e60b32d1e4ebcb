"""The journal of a campaign: how far it is, in a file beside its output, one line of JSON for each batch.

The first line says which campaign it is; the last whole line counts. A line that was cut off by a crash was never
noted: it is cut away, and its batch is done again.
"""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from keyfold.cli.exits import UsageError


class Journal:
    """An open journal. `state` is what was noted last, None at the beginning."""

    def __init__(self, path: Path, file: BinaryIO, state: dict[str, Any] | None) -> None:
        self.path, self._file, self.state = path, file, state

    @classmethod
    def open(cls, path: Path, about: dict[str, Any]) -> "Journal":
        """Begin a journal, or go on with the one that is there.

        Raises `UsageError` for a file that is another campaign's journal, or none; that stays as it is.
        """
        file = path.open("a+b")
        try:
            file.seek(0)
            content = file.read()
            lines, end = _whole_lines(content)
            begun = lines[:1] == [about]
            if begun or _line(about).startswith(content):
                file.truncate(end)
                journal = cls(path, file, lines[-1] if len(lines) > 1 else None)
                if not begun:
                    journal._append(about)
                return journal
        except BaseException:
            file.close()
            raise
        file.close()
        raise UsageError(f"{path} is no journal, or another campaign's; finish that one, or name another file")

    def note(self, state: dict[str, Any]) -> None:
        """Write down how far it is, durably. If we crash before, the last batch is done again."""
        self._append(state)
        self.state = state

    def close(self) -> None:
        """Leave the journal for another time."""
        self._file.close()

    def remove(self) -> None:
        """The campaign is over."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _append(self, document: dict[str, Any]) -> None:
        self._file.write(_line(document))
        flush(self._file)


def open_at(path: Path, end: int) -> BinaryIO:
    """Open a file for writing behind what was noted of it; what stands there was never noted. Raises `UsageError`."""
    path.touch(mode=0o600)
    file = path.open("r+b")
    if os.fstat(file.fileno()).st_size < end:
        file.close()
        raise UsageError(f"{path} is shorter than the journal says; begin the campaign anew")
    file.truncate(end)
    file.seek(end)
    return file


def flush(file: BinaryIO) -> None:
    """See that what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _whole_lines(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the documents of all whole lines, and where the last of them ends."""
    found: list[dict[str, Any]] = []
    end = 0
    for line in content.splitlines(keepends=True):
        try:
            document = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(document, dict):
            break
        found.append(document)
        end += len(line)
    return found, end
