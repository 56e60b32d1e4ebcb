"""A campaign over a file of lines, with an output file of as many lines: what was moved, and all else as it was.

A batch is done in this order; if we crash, it is done again from what the journal says:
 1. its lines are appended to `OUTPUT.part`, its failures to `OUTPUT.failed`, both flushed to disk;
 2. the journal notes how far input, output and failures are;
 3. at the end `OUTPUT.part` takes the name of the output.
Whatever stands behind the noted ends was never noted: it is cut off before the work goes on.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from keyfold.cli.exits import UsageError
from keyfold.cli.rewrap.items import Item, Result, Tally, item_of_line, line_with
from keyfold.cli.rewrap.journal import Journal, flush, open_at

BATCH_BYTES: Final = 600_000
_LONGEST_LINE: Final = 2_000_000
_HEAD_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Some lines, the items that they hold, and where the input goes on after them."""

    lines: list[bytes]
    items: list[Item]
    line_number: int
    end: int


class Lines:
    """The lines of a file, batch by batch, from a place on."""

    def __init__(self, path: Path, context: Mapping[str, str], batch_items: int) -> None:
        self._path, self._context, self._most = path, context, batch_items

    def read(self, at: int = 0, line_number: int = 0) -> Iterator[Batch]:
        """Yield batches from a byte on; empty lines are passed over. Raises `UsageError` for an endless line."""
        with self._path.open("rb") as file:
            file.seek(at)
            while True:
                batch = self._next(file, line_number)
                if batch is None:
                    return
                yield batch
                line_number = batch.line_number

    def _next(self, file: BinaryIO, number: int) -> Batch | None:
        lines: list[bytes] = []
        items: list[Item] = []
        size = 0
        while len(items) < self._most and size < BATCH_BYTES and (line := file.readline(_LONGEST_LINE)):
            number += 1
            if len(line) == _LONGEST_LINE:
                raise UsageError(f"line {number} of {self._path} is no ciphertext: it is too long")
            if line.strip():
                lines.append(line)
                items.append(item_of_line(f"line {number}", line, self._context))
                size += len(items[-1].ciphertext)
        return Batch(lines, items, number, file.tell()) if lines else None

    def identity(self) -> dict[str, Any]:
        """Return what tells this input from another."""
        with self._path.open("rb") as file:
            head = sha256(file.read(_HEAD_BYTES)).hexdigest()
        return {"bytes": self._path.stat().st_size, "head": head}


class ListOutput:
    """The output of a campaign over a file, its failures and its journal."""

    def __init__(self, output: Path, journal: Journal) -> None:
        self._output, self._journal = output, journal
        self.failures = output.with_name(f"{output.name}.failed")
        self._part = output.with_name(f"{output.name}.part")
        state = journal.state or {"input": 0, "line": 0, "output": 0, "failures": 0, "over": False}
        self.tally = Tally.from_data(state["tally"]) if "tally" in state else Tally()
        self.at, self.line_number, self.over = int(state["input"]), int(state["line"]), bool(state["over"])
        places = [] if self.over else [(self._part, state["output"]), (self.failures, state["failures"])]
        self._files: list[BinaryIO] = []
        try:
            for path, end in places:
                self._files.append(open_at(path, int(end)))
        except BaseException:
            self.close()
            raise

    def keep(self, batch: Batch, results: list[Result]) -> None:
        """Write a batch; afterwards it is never done again."""
        part, failures = self._files
        for line, item, result in zip(batch.lines, batch.items, results, strict=True):
            moved = result.outcome == "moved"
            part.write(line_with(line, result.ciphertext) if moved else line.rstrip(b"\r\n") + b"\n")
            self.tally.count(item, result)
            if result.outcome == "failed":
                failures.write(json.dumps({"place": item.place, "code": result.code}).encode() + b"\n")
        self._flush()
        self.at, self.line_number = batch.end, batch.line_number
        self._note(over=False)

    def finish(self) -> None:
        """Give the output its name. If we crash in between, the next run does only this."""
        if not self.over:
            self._flush()
            self._note(over=True)
            self.close()
        if self._part.exists():
            os.replace(self._part, self._output)
        if self.failures.exists() and not self.failures.stat().st_size:
            self.failures.unlink()
        self._journal.remove()

    def close(self) -> None:
        """Leave everything for another time."""
        for file in self._files:
            file.close()
        self._journal.close()

    def _flush(self) -> None:
        for file in self._files:
            flush(file)

    def _note(self, *, over: bool) -> None:
        part, failures = self._files
        ends = {"input": self.at, "line": self.line_number, "output": part.tell(), "failures": failures.tell()}
        self._journal.note({**ends, "over": over, "tally": self.tally.as_data()})
