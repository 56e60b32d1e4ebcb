"""Files and pipes of the data commands: where bytes come from, and how they leave only when they are right.

A result goes to a new file that takes its name at the end (0600), or into memory (a nameless file, if it is large) and
from there to standard output: whoever reads our output never sees a part of something that was cut off or forged.
"""

import base64
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from keyfold.cli.exits import UsageError
from keyfold.cli.output import size
from keyfold.cli.session import Session
from keyfold.client.envelope.files import atomic_output
from keyfold.events.errors import BatchTooLarge

if TYPE_CHECKING:
    from keyfold.client import Keyfold

STANDARD: Final = "-"
ITEM_LIMIT: Final = 900_000
"""Bytes that one command carries of one item."""
_IN_MEMORY: Final = 16 * 1024 * 1024

Work = Callable[["Keyfold", BinaryIO, BinaryIO], Awaitable[int]]


def convert(session: Session, source: str, target: str, work: Work, done: str) -> None:
    """Do `work` from a source to a target as the session's principal, and tell how much it was."""
    config = session.config

    async def connected(reading: BinaryIO, writing: BinaryIO) -> int:
        async with session.client(config) as kms:
            return await work(kms, reading, writing)

    with reading_from(source) as reading, _writing(target) as writing:
        count = session.run(connected(reading, writing))
    if target != STANDARD:
        session.show({"input": source, "output": target, "bytes": count}, f"{size(count)} {done} to {target}")


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read."""
    with atomic_output(path) as file:
        file.write(data)


def read_item(source: BinaryIO, hint: str, most: int = ITEM_LIMIT) -> bytes:
    """Read what one command carries, whole. Raises `BatchTooLarge`, with what else can be done."""
    data = bytearray()
    while len(data) <= most and (more := source.read(most + 1 - len(data))):
        data += more
    if len(data) > most:
        raise BatchTooLarge(f"more than {most} bytes; {hint}")
    return bytes(data)


def read_file(source: str, hint: str = "one command carries no more", most: int = ITEM_LIMIT) -> bytes:
    """Read a file, or standard input for `-`. Raises `BatchTooLarge`."""
    with reading_from(source) as reading:
        return read_item(reading, hint, most)


def give(session: Session, name: str, data: bytes, target: str | None, facts: dict[str, Any]) -> None:
    """Hand a result over: raw into a file (0600) or, for `-`, a pipe; without a target as base64, with the facts."""
    encoded = base64.b64encode(data).decode()
    if target is None:
        session.show({name: encoded, **facts}, encoded)
        return
    if target == STANDARD:
        require_pipe()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write_secret(checked_target(target), data)
    session.show({"output": target, "bytes": len(data), **facts}, f"{name.replace('_', ' ')} written to {target}")


def require_pipe() -> None:
    """Raise `UsageError` where bytes would go to a terminal."""
    if sys.stdout.isatty():
        raise UsageError("this is binary; say with --output where it goes, or pipe it on")


def check_target(target: str | None) -> None:
    """See, before anything is sent, that a result has somewhere to go; None prints it. Raises `UsageError`."""
    if target == STANDARD:
        require_pipe()
    elif target is not None:
        checked_target(target)


def checked_target(target: str) -> Path:
    """Return the path of a file that can be written, `~` expanded. Raises `UsageError`."""
    path = Path(target).expanduser().absolute()
    if not path.parent.is_dir():
        raise UsageError(f"there is no directory {path.parent}")
    return path


class Again:
    """A source whose first bytes were read already, to see what it is."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start, self._rest = start, rest

    def read(self, count: int) -> bytes:
        """Read up to `count` bytes."""
        start, self._start = self._start[:count], self._start[count:]
        return start + (self._rest.read(count - len(start)) if len(start) < count else b"")


@contextmanager
def reading_from(source: str) -> Iterator[BinaryIO]:
    """Open a file, or standard input for `-`, for reading bytes."""
    if source != STANDARD:
        with Path(source).expanduser().open("rb") as file:
            yield file
        return
    if sys.stdin.isatty():
        raise UsageError("name a file, or pipe something into standard input")
    yield sys.stdin.buffer


@contextmanager
def _writing(target: str) -> Iterator[BinaryIO]:
    if target != STANDARD:
        with atomic_output(checked_target(target)) as file:
            yield file
        return
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as held:
        yield cast(BinaryIO, held)
        held.seek(0)
        shutil.copyfileobj(held, sys.stdout.buffer)
        sys.stdout.buffer.flush()
