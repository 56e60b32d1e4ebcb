"""Looking for plaintext in files: distinctive pieces of documents, and a scan that finds any of them in any bytes.

A piece is looked for as it is, in hexadecimal and in base64 at each alignment. The scan compares the first eight bytes
at every offset with those of all pieces at once (numpy), then the whole piece. It reads files, and changes nothing.
"""

import base64
import mmap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

PIECE_BYTES: Final = 48
MIN_BYTES: Final = 24
PER_FILE: Final = 8
_MIN_DISTINCT: Final = 10
_PREFIX: Final = 8
_BLOCK: Final = 8 * 1024 * 1024
# How many characters of a piece's base64 depend on what stands before it, by its place modulo three.
_OWN_BASE64: Final = (0, 2, 3)


@dataclass(frozen=True, slots=True)
class Found:
    """A piece that was found, and where."""

    needle: bytes
    path: Path


@dataclass(slots=True)
class Scan:
    """What a scan saw."""

    files: int = 0
    bytes: int = 0
    found: list[Found] = field(default_factory=list)


def pieces(content: bytes, *, but_not_in: bytes = b"", limit: int = PER_FILE) -> list[bytes]:
    """Return distinctive pieces of a document, spread over it; none of a document that is too short or too plain.

    What stands in `but_not_in` is public anyway and proves nothing.
    """
    lines = [line.strip()[:PIECE_BYTES] for line in content.splitlines()]
    good = [line for line in dict.fromkeys(lines) if _is_distinctive(line) and line not in but_not_in]
    if not good:
        windows = (content[at : at + PIECE_BYTES] for at in range(0, max(1, len(content) - MIN_BYTES), PIECE_BYTES))
        good = [window for window in windows if _is_distinctive(window) and window not in but_not_in]
    step = max(1, len(good) // limit)
    return good[::step][:limit]


def spellings(piece: bytes) -> list[bytes]:
    """Return a piece as it is, in hexadecimal, and the part of its base64 that stands whatever is beside."""
    encoded = [base64.b64encode(bytes(shift) + piece)[start:-4] for shift, start in enumerate(_OWN_BASE64)]
    return [piece, piece.hex().encode(), *encoded]


class Needles:
    """Byte strings to look for, indexed by their first eight bytes. Raises ValueError for a shorter one."""

    def __init__(self, needles: Iterable[bytes]) -> None:
        self._by_prefix: dict[int, list[bytes]] = {}
        for needle in needles:
            if len(needle) < _PREFIX:
                raise ValueError("a needle has at least eight bytes")
            self._by_prefix.setdefault(int.from_bytes(needle[:_PREFIX], "little"), []).append(needle)
        self.longest = max((len(n) for group in self._by_prefix.values() for n in group), default=0)
        self._prefixes = np.array(sorted(self._by_prefix), dtype="<u8")
        self._sieve = np.zeros(1 << 16, dtype=np.bool_)
        self._sieve[(self._prefixes & np.uint64(0xFFFF)).astype(np.int64)] = True

    def within(self, block: bytes) -> set[bytes]:
        """Return the needles that occur in these bytes."""
        return {
            needle
            for at, prefix in self._candidates(block)
            for needle in self._by_prefix[prefix]
            if block.startswith(needle, at)
        }

    def _candidates(self, block: bytes) -> Iterable[tuple[int, int]]:
        """Yield offsets whose next eight bytes begin some needle: a sieve on two bytes, then a search among all."""
        for shift in range(_PREFIX):
            count = (len(block) - shift) // _PREFIX
            if count <= 0 or not len(self._prefixes):
                return
            words = np.frombuffer(block, dtype="<u8", count=count, offset=shift)
            likely = np.flatnonzero(self._sieve[(words & np.uint64(0xFFFF)).astype(np.int64)])
            places = np.minimum(np.searchsorted(self._prefixes, words[likely]), len(self._prefixes) - 1)
            for index in likely[self._prefixes[places] == words[likely]]:
                yield int(index) * _PREFIX + shift, int(words[index])


def scan(paths: Iterable[Path], needles: Needles) -> Scan:
    """Look for every needle in every file."""
    seen = Scan()
    for path in paths:
        size = path.stat().st_size
        seen.files += 1
        seen.bytes += size
        if size:
            seen.found += [Found(needle, path) for needle in sorted(_in_file(path, size, needles))]
    return seen


def _in_file(path: Path, size: int, needles: Needles) -> set[bytes]:
    found: set[bytes] = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
        for start in range(0, size, _BLOCK):
            found |= needles.within(content[start : start + _BLOCK + needles.longest])
    return found


def _is_distinctive(piece: bytes) -> bool:
    return len(piece) >= MIN_BYTES and len(set(piece)) >= _MIN_DISTINCT
