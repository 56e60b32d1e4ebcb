"""From entity names to what a statement looks for: values by kind, only such as can exist. Pure."""

import re
from collections.abc import Iterable
from typing import Final

from keyfold.events.entities import CAPABILITIES, DEPLOYMENT
from keyfold.events.streams import NAME_PATTERN, UUID_PATTERN

KINDS: Final = (
    "key", "principal", "signing_key", "alias", "policy", "issuer", "limit", "grant", "grants", "proposal",
    "incident", "suppression", "sealing_key", "deployment", "capabilities",
)  # fmt: skip
_WHOLE: Final = frozenset({DEPLOYMENT, CAPABILITIES})
_FORMS: Final = {
    **dict.fromkeys(("key", "grant", "proposal", "incident", "sealing_key"), re.compile(UUID_PATTERN)),
    "grants": re.compile(f"{UUID_PATTERN}/{NAME_PATTERN}"),
}
_BUCKET: Final = re.compile(
    rf"bucket/(?P<limit_kind>[a-z]+)/(?P<limit_name>{NAME_PATTERN})/(?P<principal>{NAME_PATTERN})"
    rf"(?:/(?P<key_id>{UUID_PATTERN}))?"
)


def arguments_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Sort entity names into one list per kind; what has no prefix, and an alias, keeps its whole name.

    Levels of limits are of no kind here: each partition has its own under the same name, and no fold asks for one.
    """
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name in names:
        prefix, _, rest = name.partition("/")
        kind = prefix.replace("-", "_")
        if name in _WHOLE or kind == "alias":
            found[kind].append(name)
        elif kind in found and (kind not in _FORMS or _FORMS[kind].fullmatch(rest)):
            found[kind].append(rest)
    return found


def bucket_columns(name: str) -> dict[str, str | None]:
    """Read the name of a limit's level (`entities.bucket_name`); one of another form says nothing."""
    found = _BUCKET.fullmatch(name)
    return found.groupdict() if found else dict.fromkeys(_BUCKET.groupindex)
