"""PIN files: one per token and role, random, readable by their owner only.

A PIN is never an argument, an environment variable, part of a message, or printed.
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from keyfold.token.errors import PinUnusable, TokenExists

PIN_BYTES: Final = 24
"""192 random bits, written as 48 hexadecimal digits."""


def write_pin(path: Path) -> bytes:
    """Draw a PIN, write it durably to a new 0600 file and return it. Raises `TokenExists` where the file exists."""
    pin = secrets.token_hex(PIN_BYTES).encode()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise TokenExists(f"the PIN file {path} exists; it is never overwritten: move it away first") from None
    with os.fdopen(handle, "wb") as file:
        file.write(pin + b"\n")
        file.flush()
        os.fsync(file.fileno())
    _sync_directory(path.parent)
    return pin


def read_pin(path: Path) -> bytes:
    """Return the PIN in a file. Raises `PinUnusable` where it is missing, empty or readable by anybody else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise PinUnusable(f"the PIN file {path} cannot be read ({error.strerror}); restore it") from None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid not in {0, os.geteuid()}:
            raise PinUnusable(f"the PIN file {path} must be a file of this user with mode 0600; correct it")
        pin = file.read(256).strip()
    if not pin:
        raise PinUnusable(f"the PIN file {path} is empty; restore it")
    return pin


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
