"""Signing identities as files: one JSON document, readable by its owner only.

A principal's file holds its name, the deployment it belongs to and the 32 bytes of its private key: an Ed25519 key, or
the seed of an ML-DSA-65 key. It never prints the key, and refuses a file that others may read. A file is never
overwritten, except by a successor: a new key for the same name, written beside it and swapped in atomically.
"""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keyfold.events.errors import KeyfoldError
from keyfold.events.signatures import SignatureAlgorithm, Signer

_SEED_FIELDS: Final[dict[SignatureAlgorithm, str]] = {"Ed25519": "ed25519", "ML-DSA-65": "ml-dsa-65"}

SERVICES: Final = frozenset({"policy", "hsm", "projector", "notary", "analytics"})
"""Whose names identity files of services have; a principal that is called like one has its key elsewhere."""


class IdentityUnusable(KeyfoldError):
    """An identity file is missing, malformed, readable by others, or would be overwritten."""

    code = "IdentityUnusable"


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A named signer of one deployment (`deployment` is the root identity's fingerprint)."""

    name: str
    deployment: str
    signer: Signer


def principal_path(directory: Path, name: str) -> Path:
    """Where the identity file of a principal lies, unless it is named: never where a service's does."""
    return directory / f"{name}-principal.json" if name in SERVICES else directory / f"{name}.json"


def create_identity(
    path: Path, name: str, deployment: str = "", *, algorithm: SignatureAlgorithm = "Ed25519"
) -> Identity:
    """Make a key and write it with mode 0600, durably. Raises `IdentityUnusable` where the file exists."""
    private_key = secrets.token_bytes(32)
    write_identity(path, name, deployment, private_key, algorithm=algorithm)
    return Identity(name, deployment, Signer(private_key, algorithm))


def write_identity(
    path: Path, name: str, deployment: str, private_key: bytes, *, algorithm: SignatureAlgorithm = "Ed25519"
) -> None:
    """Write an identity file. Raises `IdentityUnusable` where the file exists."""
    facts = {"name": name, "deployment": deployment, "algorithm": algorithm}
    document = json.dumps({**facts, _SEED_FIELDS[algorithm]: private_key.hex()})
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise IdentityUnusable(f"{path} exists; an identity is never overwritten") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(document + "\n")
        file.flush()
        os.fsync(file.fileno())


def load_identity(path: Path) -> Identity:
    """Read an identity file. Raises `IdentityUnusable`."""
    identity, _ = _read(path)
    return identity


def copy_identity(source: Path, path: Path, name: str, deployment: str) -> Identity:
    """Write the key of one file under another name: for a key that was made before its principal's name was known.

    Raises `IdentityUnusable`, also where `path` exists.
    """
    known, private_key = _read(source)
    write_identity(path, name, deployment, private_key, algorithm=known.signer.algorithm)
    return Identity(name, deployment, known.signer)


def successor_path(path: Path) -> Path:
    """Where the next key of an identity file waits until it is registered."""
    return path.with_name(f"{path.name}.next")


def prepare_successor(path: Path, *, algorithm: SignatureAlgorithm | None = None) -> Identity:
    """Make the next key of an identity beside its file, or return the one that waits there already.

    The algorithm is that of the present key unless another is asked for. Raises `IdentityUnusable`, also where the
    waiting file is of another name, deployment or algorithm than is wanted.
    """
    present, waiting = load_identity(path), successor_path(path)
    wanted = algorithm or present.signer.algorithm
    if not waiting.exists():
        return create_identity(waiting, present.name, present.deployment, algorithm=wanted)
    found = load_identity(waiting)
    if (found.name, found.deployment) != (present.name, present.deployment):
        raise IdentityUnusable(f"{waiting} is not the successor of {path}; move it away")
    if algorithm not in {None, found.signer.algorithm}:
        raise IdentityUnusable(f"{waiting} waits with an {found.signer.algorithm} key; move it away, or use that one")
    return found


def swap_in_successor(path: Path) -> Identity:
    """Let the next key take the place of the present one, in one step, and return it.

    If we crash before the rename, both files are there and the old one has the name; after it, only the new one is.
    """
    os.replace(successor_path(path), path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return load_identity(path)


def _read(path: Path) -> tuple[Identity, bytes]:
    try:
        if path.stat().st_mode & 0o077:
            raise IdentityUnusable(f"{path} may be read by others; run chmod 600 on it")
        document: dict[str, Any] = json.loads(path.read_text())
        algorithm: SignatureAlgorithm = document.get("algorithm", "Ed25519")
        private_key = bytes.fromhex(document[_SEED_FIELDS[algorithm]])
        return Identity(document["name"], document["deployment"], Signer(private_key, algorithm)), private_key
    except FileNotFoundError:
        raise IdentityUnusable(f"no identity file {path}; create or copy it there") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IdentityUnusable(f"{path} is no identity file") from None
