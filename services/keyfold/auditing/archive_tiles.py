"""A partition's Merkle tree as files: C2SP tlog-tiles (c2sp.org/tlog-tiles), which grow with the archive.

Level `l` holds the hashes of perfect subtrees of height 8·l, 256 to a tile; the last tile of a level may be partial
(`<N>.p/<W>`). Entry bundles (`tile/entries`) are not written: an entry there has at most 65,535 bytes, and a record may
be larger; records are in the archive's segments.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from keyfold.auditing.archive_errors import ArchiveDamaged
from keyfold.auditing.archive_files import remove_stale, write_whole
from keyfold.events.merkle import root_of
from keyfold.events.tree import TILE_HEIGHT, CompactRange

TILE_WIDTH: Final = 1 << TILE_HEIGHT
_HASH_BYTES: Final = 32
_REMEMBERED: Final = 64


def tile_name(level: int, number: int, width: int = TILE_WIDTH) -> str:
    """Return a tile's path below the log's prefix: `tile/<L>/<N>`, and `.p/<W>` of a partial one."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    whole = f"tile/{level}/{'/'.join(groups)}"
    return whole if width == TILE_WIDTH else f"{whole}.p/{width}"


def partial_tiles(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (level, number, width) of the partial tiles of a tree of this size."""
    level = 0
    while (count := size >> (TILE_HEIGHT * level)) > 0:
        if count % TILE_WIDTH:
            yield level, count // TILE_WIDTH, count % TILE_WIDTH
        level += 1


class TileReader:
    """Reads the tree of `size` leaves from its tiles; a few are kept in memory."""

    def __init__(self, prefix: Path, size: int) -> None:
        self._prefix, self._size = prefix, size
        self._tile = lru_cache(maxsize=_REMEMBERED)(self._read)

    def node(self, height: int, index: int) -> bytes:
        """Return MTH(D[i * 2^h : (i + 1) * 2^h]); see `keyfold.events.tree.Node`. Raises `ArchiveDamaged`."""
        level, above = divmod(height, TILE_HEIGHT)
        first = index << above
        number, place = divmod(first, TILE_WIDTH)
        return root_of(self._tile(level, number)[place : place + (1 << above)])

    def pending(self, level: int) -> list[bytes]:
        """Return the hashes of a level's partial tile; of none, an empty list."""
        number, width = divmod(self._size >> (TILE_HEIGHT * level), TILE_WIDTH)
        return list(self._tile(level, number)) if width else []

    def _read(self, level: int, number: int) -> tuple[bytes, ...]:
        count = self._size >> (TILE_HEIGHT * level)
        width = min(TILE_WIDTH, count - number * TILE_WIDTH)
        path = self._prefix / tile_name(level, number, width)
        if not path.exists():  # a partial tile may have been completed since
            path = self._prefix / tile_name(level, number)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ArchiveDamaged(f"{path} is missing; export the log into another directory") from None
        if width <= 0 or len(content) < width * _HASH_BYTES or len(content) % _HASH_BYTES:
            raise ArchiveDamaged(f"{path} has not the {width} hashes of a tile; export the log into another directory")
        return tuple(content[at : at + _HASH_BYTES] for at in range(0, width * _HASH_BYTES, _HASH_BYTES))


class TileWriter:
    """Makes a tree grow. Whole tiles are written as they fill, partial ones by `flush`; none is ever changed."""

    def __init__(self, prefix: Path, size: int) -> None:
        self._prefix = prefix
        reader = TileReader(prefix, size)
        self._range = CompactRange(size, _peaks(size, reader))
        self._pending = [reader.pending(level) for level in range(_levels(size))]

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._range.size

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        return self._range.root()

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        index = self._range.size
        self._add(0, index, leaf)
        for height, at, node in self._range.append(leaf):
            if height % TILE_HEIGHT == 0:
                self._add(height // TILE_HEIGHT, at, node)

    def flush(self) -> None:
        """Write the partial tiles of the present size, beside those of smaller ones."""
        for level, number, width in partial_tiles(self.size):
            write_whole(self._prefix / tile_name(level, number, width), b"".join(self._pending[level]))

    def forget(self, since: int) -> None:
        """Remove the partial tiles of trees of `since` leaves and more, but for this one's."""
        kept = {self._prefix / tile_name(*tile) for tile in partial_tiles(self.size)}
        for level in range(_levels(self.size)):
            above = TILE_HEIGHT * (level + 1)
            for number in range(since >> above, (self.size >> above) + 1):
                for path in list((self._prefix / f"{tile_name(level, number)}.p").glob("*")):
                    if path not in kept:
                        remove_stale(path)

    def _add(self, level: int, index: int, node: bytes) -> None:
        if level == len(self._pending):
            self._pending.append([])
        hashes = self._pending[level]
        hashes.append(node)
        if len(hashes) == TILE_WIDTH:
            write_whole(self._prefix / tile_name(level, index // TILE_WIDTH), b"".join(hashes))
            hashes.clear()


def _levels(size: int) -> int:
    return (size.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT


def _peaks(size: int, reader: TileReader) -> list[bytes]:
    found: list[bytes] = []
    start = 0
    for height in reversed(range(size.bit_length())):
        if size >> height & 1:
            found.append(reader.node(height, start >> height))
            start += 1 << height
    return found
