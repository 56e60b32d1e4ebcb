"""The files of a deployment beside its log: PINs, identities, software tokens, and what people put beside them.

They are secrets, and so is the copy: every file is readable by its owner only. Hardware tokens have their own tools.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from keyfold.cli.backup.errors import BackupRefused
from keyfold.cli.backup.manifest import CopiedFile, digest_of, stored
from keyfold.config import Config, ConfigError

_TOKENS: Final = re.compile(r"^\s*directories\.tokendir\s*=\s*(.+?)\s*$", re.MULTILINE)
# Of the data directory, what is made by people; everything else is written anew or is in the other places.
_DATA: Final = ("acting.json", "issuers")


def copy_files(config: Config, directory: Path) -> list[CopiedFile]:
    """Copy all files into a backup; return what was copied."""
    found = []
    for place, name, path in _present(config):
        digest = digest_of(path)
        file = CopiedFile(place=place, name=name, sha256=digest)
        _write(directory / stored(file), path.read_bytes())
        found.append(file)
    return found


def require_room(config: Config, files: list[CopiedFile]) -> None:
    """Raise `BackupRefused` where a file of the backup, or another token, is there already."""
    places = places_of(config)
    for file in files:
        if file.place not in places:
            raise BackupRefused("the backup has software tokens, and the settings name no softhsm2_conf for them")
        if _target(places, file).exists():
            raise BackupRefused(f"{_target(places, file)} is there already; nothing is written over: move it away")


def restore_files(config: Config, directory: Path, files: list[CopiedFile]) -> None:
    """Put files where the settings say; to be called after `require_room`."""
    places = places_of(config)
    for file in files:
        _write(_target(places, file), (directory / stored(file)).read_bytes())


def places_of(config: Config) -> Mapping[str, Path]:
    """Return the directories that files are in, by the name that a manifest has for them."""
    places = {"pins": config.pins_directory, "identities": config.identities_directory, "data": config.data_directory}
    if config.softhsm2_conf is not None:
        places["tokens"] = _tokens(config.softhsm2_conf)
    return places


def _present(config: Config) -> Iterator[tuple[str, str, Path]]:
    for place, root in places_of(config).items():
        tops = [root / name for name in _DATA] if place == "data" else [root]
        for top in tops:
            for path in sorted([top] if top.is_file() else top.rglob("*")):
                if path.is_file():
                    yield place, path.relative_to(root).as_posix(), path


def _tokens(conf: Path) -> Path:
    found = _TOKENS.search(conf.read_text(encoding="utf-8"))
    if found is None:
        raise ConfigError(f"{conf} names no directories.tokendir")
    return Path(found[1])


def _target(places: Mapping[str, Path], file: CopiedFile) -> Path:
    root = places[file.place].resolve()
    target = (root / file.name).resolve()
    if not target.is_relative_to(root):
        raise BackupRefused(f"the manifest names {file.name}, which leads out of {root}")
    return target


def private_directory(path: Path) -> None:
    """Make a directory and those above it, for their owner only."""
    if not path.is_dir():
        private_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _write(path: Path, content: bytes) -> None:
    private_directory(path.parent)
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)
