"""From entity names to what a statement looks for: values by kind, only such as can exist. Pure."""

import re
from collections.abc import Iterable
from typing import Final

from keyfold.events.entities import DEPLOYMENT
from keyfold.events.streams import UUID_PATTERN

KINDS: Final = ("key", "principal", "signing_key", "alias", "policy", "sealing_key", "deployment")
_UUID: Final = re.compile(UUID_PATTERN)
_UUID_KINDS: Final = frozenset({"key", "sealing_key"})


def arguments_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Sort entity names into one list per kind; an alias and the deployment keep their whole name."""
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name in names:
        prefix, _, rest = name.partition("/")
        kind = prefix.replace("-", "_")
        if name == DEPLOYMENT or kind == "alias":
            found[kind].append(name)
        elif kind in found and (kind not in _UUID_KINDS or _UUID.fullmatch(rest)):
            found[kind].append(rest)
    return found
