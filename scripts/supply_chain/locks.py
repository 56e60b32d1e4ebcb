"""Lock files as values: what is pinned, the digests of its files, and who asked for it. Nothing is installed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final = "keyfold"

_PIN: Final = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+) \\$")
_HASH: Final = re.compile(r"^    --hash=sha256:([0-9a-f]{64})(?: \\)?$")
_VIA: Final = re.compile(r"^    #(?: via |   )([A-Za-z0-9][A-Za-z0-9._-]*)(?: \(.*\))?$")


class LockUnreadable(Exception):
    """A lock file has a line that is not understood; run scripts/lock."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One package: the SHA-256 of each file that may be installed as this version, and the packages that need it."""

    name: str
    version: str
    sha256: tuple[str, ...]
    needed_by: tuple[str, ...]


def lock_file(name: str) -> Path:
    """The lock of this name."""
    return ROOT / "requirements" / f"{name}.txt"


def read_lock(text: str) -> list[Pin]:
    """Return what a lock file pins, in its order. Raises `LockUnreadable` for a package without a digest."""
    found: list[Pin] = []
    for block in re.split(r"\n(?=[^\s#])", "\n" + text)[1:]:
        first, *lines = block.splitlines()
        pin = _PIN.match(first)
        digests = tuple(match[1] for match in map(_HASH.match, lines) if match)
        if pin is None or not digests:
            raise LockUnreadable(f"{first.split()[0]} is not pinned with a hash; run scripts/lock")
        needed_by = tuple(match[1] for match in map(_VIA.match, lines) if match)
        found.append(Pin(pin[1], pin[2], digests, needed_by))
    return found
