"""A directory of policies as `keyfold policy simulate` takes it: read, validated, and nothing else in it.

`DIR/<policy>.cedar` is the registry's, `DIR/keys/<key id or alias>/<policy>.cedar` a key's.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keyfold.cli.exits import UsageError
from keyfold.deciding.cedar import validate_policy
from keyfold.events.errors import InvalidPolicy
from keyfold.events.streams import NAME_PATTERN

SUFFIX: Final = ".cedar"
KEYS: Final = "keys"
_NAME: Final = re.compile(NAME_PATTERN)

Texts = dict[str, str]


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """Texts by name: the registry's, and keys' by the key's id or alias."""

    registry: Texts = field(default_factory=dict)
    keys: dict[str, Texts] = field(default_factory=dict)


def read_policies(directory: Path) -> PolicyFiles:
    """Read all policies below a directory. Raises `UsageError`, and `InvalidPolicy` with the file's name."""
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory; policies stand in it as <name>{SUFFIX}")
    found = PolicyFiles()
    for path in sorted(directory.rglob(f"*{SUFFIX}")):
        place = path.relative_to(directory).parts
        texts = _texts(found, path, place[:-1])
        name = path.name.removesuffix(SUFFIX)
        if _NAME.fullmatch(name) is None:
            raise UsageError(f"{path}: a policy's name has 1 to 64 of a-z, 0-9, '.', '_' and '-'")
        texts[name] = _valid(path)
    if not found.registry and not found.keys:
        raise UsageError(f"{directory} holds no policies (<name>{SUFFIX}, {KEYS}/<key>/<name>{SUFFIX})")
    return found


def _texts(found: PolicyFiles, path: Path, place: Iterable[str]) -> Texts:
    match tuple(place):
        case ():
            return found.registry
        case (folder, *key) if folder == KEYS and key:
            return found.keys.setdefault("/".join(key), {})
        case _:
            raise UsageError(f"{path}: policies stand in the directory itself or in {KEYS}/<key id or alias>")


def _valid(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
        validate_policy(text)
    except UnicodeDecodeError:
        raise InvalidPolicy(f"{path}: it is not UTF-8 text") from None
    except InvalidPolicy as error:
        raise InvalidPolicy(f"{path}: {error}") from None
    return text
