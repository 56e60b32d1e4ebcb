"""Files of an archive on disk: whole or not there, durable, and with their digest.

Nothing here knows what is in a file.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from keyfold.auditing.archive_errors import ArchiveUnusable

TEMPORARY: Final = ".part"
_READ_BYTES: Final = 1024 * 1024


class DigestedFile:
    """A file that is written once from its start, under a temporary name; `seal` gives it its own.

    If we crash before `seal`, a file whose name ends with `.part` remains, which the next run writes over.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._temporary = path, path.with_name(path.name + TEMPORARY)
        self.file: BinaryIO = self._temporary.open("w+b")

    def seal(self) -> tuple[int, str]:
        """Make the file durable under its name. Returns its size in bytes and its SHA-256."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.seek(0)
        size, digest = digest_of(self.file)
        self.file.close()
        self._temporary.replace(self.path)
        fsync_directory(self.path.parent)
        return size, digest

    def discard(self) -> None:
        """Leave nothing behind. May be called after `seal`, too."""
        self.file.close()
        self._temporary.unlink(missing_ok=True)


def digest_of(file: BinaryIO) -> tuple[int, str]:
    """Read a file to its end, in constant memory. Returns the bytes read and their SHA-256."""
    digest, size = sha256(), 0
    while piece := file.read(_READ_BYTES):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file. If we crash, the old content or the new one is there, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TEMPORARY)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_directory(path.parent)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_stale(path: Path) -> None:
    """Remove a file that nothing names any more, and its directory if it was the last one."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other runs out of an archive; its directory is made. Raises `ArchiveUnusable` where one is at work."""
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ArchiveUnusable(f"another export writes to {directory}; wait until it has ended") from None
    try:
        yield
    finally:
        os.close(handle)
