"""Secrets where they must not be: everything that brokers, Postgres and logs keep is searched, in every spelling.

What is looked for are markers with which all plaintexts begin, secrets that the service made, and PINs. A spelling is
raw bytes, hexadecimal, base64 or base64url; base64 has three forms, by where in a longer text the secret begins.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CHUNK: Final = 16 * 1024 * 1024
MINIMUM_BYTES: Final = 6
"""Shorter secrets are found everywhere by chance."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A secret in a file; which one is said by its name, never by its content."""

    name: str
    spelling: str
    path: Path
    offset: int

    def __str__(self) -> str:
        return f"{self.name} stands in {self.path} at byte {self.offset} ({self.spelling})"


def spellings(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the ways to write a secret. Raises ValueError for one that is too short to be told from chance."""
    if len(secret) < MINIMUM_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes cannot be looked for")
    yield "raw", secret
    yield "hexadecimal", secret.hex().encode()
    yield "hexadecimal, capitals", secret.hex().upper().encode()
    for shift in range(3):
        # The characters at both ends depend on neighbours, so only those that the secret alone decides are compared.
        text = base64.b64encode(bytes(shift) + secret)
        start, end = -(-8 * shift // 6), 8 * (shift + len(secret)) // 6
        yield f"base64 at {shift}", text[start:end]
        yield f"base64url at {shift}", text[start:end].translate(bytes.maketrans(b"+/", b"-_"))


def search(secrets: Mapping[str, bytes], places: Iterable[Path]) -> list[Leak]:
    """Search files, and all files below directories; each secret, spelling and file is told at most once."""
    wanted = {text: (name, spelling) for name, secret in secrets.items() for spelling, text in spellings(secret)}
    found: list[Leak] = []
    for path in _files(places):
        with suppress(FileNotFoundError):  # whoever writes there may have deleted it
            found += _search_file(wanted, path)
    return found


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            yield from (path for path in sorted(place.rglob("*")) if path.is_file() and not path.is_symlink())
        elif place.is_file():
            yield place


def _search_file(wanted: Mapping[bytes, tuple[str, str]], path: Path) -> Iterator[Leak]:
    left = dict(wanted)
    overlap = max(map(len, wanted), default=1) - 1
    before, offset = b"", 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            text = before + chunk
            if text.count(0) < len(text):  # preallocated files are full of zeros
                for secret in [secret for secret in left if secret in text]:
                    name, spelling = left.pop(secret)
                    yield Leak(name, spelling, path, offset - len(before) + text.index(secret))
            before, offset = text[-overlap:], offset + len(chunk)
