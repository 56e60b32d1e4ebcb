"""Looking for plaintext in files: distinctive pieces of documents, and a scan that finds any of them in any bytes.

A piece is looked for as it is, in hexadecimal and in base64 at each alignment. The scan compares the first eight bytes
at every offset with those of all pieces at once (numpy), then the whole piece. It reads files, and changes nothing.
"""

import base64
import mmap
from collections.abc import Iterable, Sequence
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
    """Return a piece as it is, in hexadecimal, and the part of its base64 that does not depend on what stands beside."""
    encoded = []
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + piece)
        start = (4 * shift + 2) // 3 if shift else 0
        encoded.append(text[start + (1 if shift else 0) : len(text) - 4])
    return [piece, piece.hex().encode(), *encoded]


def scan(paths: Iterable[Path], needles: Sequence[bytes]) -> Scan:
    """Look for every needle in every file. Raises ValueError for a needle shorter than eight bytes."""
    by_prefix: dict[int, list[bytes]] = {}
    for needle in needles:
        if len(needle) < _PREFIX:
            raise ValueError("a needle has at least eight bytes")
        by_prefix.setdefault(int.from_bytes(needle[:_PREFIX], "little"), []).append(needle)
    prefixes = np.array(sorted(by_prefix), dtype="<u8")
    overlap = max((len(needle) for needle in needles), default=_PREFIX)
    seen = Scan()
    for path in paths:
        size = path.stat().st_size
        seen.files += 1
        seen.bytes += size
        if size >= _PREFIX and len(prefixes):
            seen.found += [Found(needle, path) for needle in _in_file(path, size, prefixes, by_prefix, overlap)]
    return seen


def _in_file(
    path: Path, size: int, prefixes: "np.ndarray[tuple[int], np.dtype[np.uint64]]", by_prefix: dict[int, list[bytes]],
    overlap: int,
) -> set[bytes]:  # fmt: skip
    found: set[bytes] = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
        for start in range(0, size, _BLOCK):
            block = content[start : start + _BLOCK + overlap]
            for at, prefix in _candidates(block, prefixes):
                found.update(needle for needle in by_prefix[prefix] if block.startswith(needle, at))
    return found


def _candidates(block: bytes, prefixes: "np.ndarray[tuple[int], np.dtype[np.uint64]]") -> Iterable[tuple[int, int]]:
    """Yield offsets whose next eight bytes begin some needle."""
    for shift in range(_PREFIX):
        count = (len(block) - shift) // _PREFIX
        if count <= 0:
            return
        words = np.frombuffer(block, dtype="<u8", count=count, offset=shift)
        for index in np.flatnonzero(np.isin(words, prefixes)):
            yield int(index) * _PREFIX + shift, int(words[index])


def _is_distinctive(piece: bytes) -> bool:
    return len(piece) >= MIN_BYTES and len(set(piece)) >= _MIN_DISTINCT
