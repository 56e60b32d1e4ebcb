"""Runs of tree hashes, as records of the tiles topic hold them; and which of them are kept in memory. No I/O.

A run is a stretch of one level of tiles (C2SP tlog-tiles): key `<level>/<index of the first hash>`, value the hashes,
32 bytes each. Level-0 runs also say at which Kafka offset of the events topic each leaf lies. Nothing here is signed:
what is computed from runs counts only where it leads to a signed root.
"""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from keyfold.bus import Inbound
from keyfold.events.errors import RecordError
from keyfold.events.log_leaves import OFFSETS_HEADER

HASH_BYTES: Final = 32
OFFSET_BYTES: Final = 8
MAX_RUN: Final = 8192
_MAX_KEPT_BYTES: Final = 32 * 1024 * 1024


class TilesInvalid(RecordError):
    """The tiles topic does not hold what a notary writes; no proof can be made from it."""

    code = "TilesInvalid"


@dataclass(frozen=True, slots=True)
class Run:
    """One record of the tiles topic. `at` is its own Kafka offset, `offsets` those of its leaves (level 0 only)."""

    at: int
    timestamp_ms: int
    level: int
    first: int
    hashes: bytes
    offsets: bytes = b""

    @property
    def end(self) -> int:
        """The index behind the last hash."""
        return self.first + len(self.hashes) // HASH_BYTES

    def hash_at(self, index: int) -> bytes:
        """Return the hash of an index that lies in the run."""
        place = (index - self.first) * HASH_BYTES
        return self.hashes[place : place + HASH_BYTES]

    def offset_at(self, index: int) -> int:
        """Return the Kafka offset of the record whose leaf lies at an index (level 0)."""
        place = (index - self.first) * OFFSET_BYTES
        return int.from_bytes(self.offsets[place : place + OFFSET_BYTES], "big")

    def index_of(self, leaf: bytes) -> int | None:
        """Return the index of a hash that stands in the run."""
        place = self.hashes.find(leaf)
        while place % HASH_BYTES and place >= 0:
            place = self.hashes.find(leaf, place + 1)
        return None if place < 0 else self.first + place // HASH_BYTES


def parse_run(record: Inbound) -> Run:
    """Read one record. Raises `TilesInvalid`."""
    level, slash, first = (record.key or b"").decode("ascii", "replace").partition("/")
    hashes = record.value or b""
    count, remainder = divmod(len(hashes), HASH_BYTES)
    if not (slash and _is_number(level) and _is_number(first)) or remainder or not 1 <= count <= MAX_RUN:
        raise TilesInvalid(f"{record.topic}/{record.partition} offset {record.offset} is no run of hashes")
    offsets = b""
    if int(level) == 0:
        offsets = record.header(OFFSETS_HEADER) or b""
        if len(offsets) != count * OFFSET_BYTES:
            raise TilesInvalid(f"{record.topic}/{record.partition} offset {record.offset} lacks its leaves' offsets")
    return Run(record.offset, record.timestamp_ms, int(level), int(first), hashes, offsets)


class KeptRuns:
    """Runs that were read, by level and first index; all are let go when they become too many."""

    def __init__(self, max_bytes: int = _MAX_KEPT_BYTES) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._firsts: dict[int, list[int]] = {}
        self._runs: dict[tuple[int, int], Run] = {}

    def add(self, run: Run) -> None:
        """Keep a run."""
        if (run.level, run.first) in self._runs:
            return
        if self._bytes > self._max_bytes:
            self.clear()
        self._bytes += len(run.hashes) + len(run.offsets)
        self._runs[run.level, run.first] = run
        firsts = self._firsts.setdefault(run.level, [])
        firsts.insert(bisect_right(firsts, run.first), run.first)

    def clear(self) -> None:
        """Let all go."""
        self._bytes = 0
        self._firsts.clear()
        self._runs.clear()

    def of(self, level: int, index: int) -> Run | None:
        """Return the run that holds this hash, if it is kept."""
        run = self.before(level, index)
        return run if run is not None and index < run.end else None

    def before(self, level: int, index: int) -> Run | None:
        """Return the last kept run of a level that does not begin behind an index."""
        firsts = self._firsts.get(level, [])
        place = bisect_right(firsts, index)
        return self._runs[level, firsts[place - 1]] if place else None

    def after(self, level: int, index: int) -> Run | None:
        """Return the first kept run of a level that begins behind an index."""
        firsts = self._firsts.get(level, [])
        place = bisect_right(firsts, index)
        return self._runs[level, firsts[place]] if place < len(firsts) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19
