"""Signing identities as files: one JSON document, readable by its owner only.

A principal's file holds its name, the deployment it belongs to and its Ed25519 private key. It never prints the key,
and refuses a file that others may read.
"""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from keyfold.events.errors import KeyfoldError
from keyfold.events.signatures import Signer


class IdentityUnusable(KeyfoldError):
    """An identity file is missing, malformed, readable by others, or would be overwritten."""

    code = "IdentityUnusable"


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A named signer of one deployment (`deployment` is the root identity's fingerprint)."""

    name: str
    deployment: str
    signer: Signer


def create_identity(path: Path, name: str, deployment: str = "") -> Identity:
    """Make a key and write it with mode 0600, durably. Raises `IdentityUnusable` where the file exists."""
    private_key = secrets.token_bytes(32)
    write_identity(path, name, deployment, private_key)
    return Identity(name, deployment, Signer(private_key))


def write_identity(path: Path, name: str, deployment: str, private_key: bytes) -> None:
    """Write an identity file. Raises `IdentityUnusable` where the file exists."""
    document = json.dumps({"name": name, "deployment": deployment, "ed25519": private_key.hex()})
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
    try:
        if path.stat().st_mode & 0o077:
            raise IdentityUnusable(f"{path} may be read by others; run chmod 600 on it")
        document = json.loads(path.read_text())
        return Identity(document["name"], document["deployment"], Signer(bytes.fromhex(document["ed25519"])))
    except FileNotFoundError:
        raise IdentityUnusable(f"no identity file {path}; create or copy it there") from None
    except (ValueError, KeyError, TypeError):
        raise IdentityUnusable(f"{path} is no identity file") from None
