"""The manifest of a backup, written last: a directory without one is no backup. Says what each file must be.

Secrets are in the directory beside it, never in it. It is not signed: whether a log that was restored is authentic is
said by the log itself (`keyfold audit verify`, from the deployment's fingerprint).
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from keyfold.cli.backup.errors import BackupDamaged, BackupRefused
from keyfold.config import write_private

NAME: Final = "manifest.json"
_READ_BYTES: Final = 1024 * 1024


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CopiedPartition(_Model):
    """The records from offset `first` up to `end` (the high watermark) of one partition."""

    partition: int = Field(ge=0)
    first: int = Field(ge=0)
    end: int = Field(ge=0)
    records: int = Field(ge=0)
    file: str
    sha256: str


class CopiedFile(_Model):
    """A file beside the log: `place` says of which directory of the settings, `name` where in it."""

    place: Literal["pins", "identities", "tokens", "data"]
    name: str
    sha256: str


class CopiedRows(_Model):
    """The rows of one table of alerts, as JSON lines."""

    table: str
    rows: int = Field(ge=0)
    file: str
    sha256: str


class Settings(_Model):
    """What the deployment's settings must say after a restore, whatever the places are."""

    partitions: int
    development: bool
    session_pool_size: int


class Manifest(_Model):
    """All that is in a backup."""

    format: Literal["keyfold-backup-1"] = "keyfold-backup-1"
    deployment: str
    created_at: str
    settings: Settings
    topics: dict[str, list[CopiedPartition]]
    rows: list[CopiedRows]
    files: list[CopiedFile]


def save(directory: Path, manifest: Manifest) -> None:
    """Write it. If we crash before, the directory is no backup yet."""
    write_private(directory / NAME, json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n")


def load(directory: Path) -> Manifest:
    """Read it. Raises `BackupRefused` where there is none, `BackupDamaged` where it is not whole."""
    try:
        text = (directory / NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BackupRefused(f"{directory} holds no whole backup: it has no {NAME}") from None
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BackupDamaged(
            f"{directory / NAME} is damaged, or of another release: {error.error_count()} errors"
        ) from None


def check(directory: Path, manifest: Manifest) -> int:
    """Compare every file with its digest and return how many there are. Raises `BackupDamaged`."""
    wanted = [(each.file, each.sha256) for parts in manifest.topics.values() for each in parts]
    wanted += [(each.file, each.sha256) for each in manifest.rows]
    wanted += [(stored(each), each.sha256) for each in manifest.files]
    for name, digest in wanted:
        path = directory / name
        if not path.resolve().is_relative_to(directory.resolve()):
            raise BackupDamaged(f"the manifest names {name}, which is not in the backup")
        if not path.is_file() or digest_of(path) != digest:
            raise BackupDamaged(f"{path} is missing, or is not what the manifest says; take it from another copy")
    return len(wanted)


def stored(file: CopiedFile) -> str:
    """Return where a file lies in the backup."""
    return f"files/{file.place}/{file.name}"


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
