"""Exact use of keys and random bytes, counted from the worker's outcomes. Pure.

`KeyUsed` says how many items each version served, and how many bytes and failures the command had in all. So items are
counted by version; commands, bytes and failures stand under the version if there was one, and under version 0 if the
command used several or none: every sum over versions is exact, and nothing is attributed by guessing.
"""

from collections.abc import Iterator
from typing import Final

from keyfold.events import commands, facts
from keyfold.projections.rows import Usage

SHARED: Final = 0
_DATA_PLANE: Final = frozenset(verb for verb, model in commands.BY_VERB.items() if model.data_plane)

UsageKey = tuple[str, int, str, str]


def usage_of(event: facts.Event) -> Iterator[Usage]:
    """Yield what one event adds."""
    if isinstance(event, facts.KeyUsed):
        yield from _key_used(event)
    elif isinstance(event, facts.CommandCompleted) and event.data.verb in _DATA_PLANE:
        data = event.data
        yield Usage(event.subject, SHARED, data.principal, data.verb, 1, data.items, data.bytes, 0, event.time)


def add(totals: dict[UsageKey, Usage], more: Usage) -> None:
    """Add to running totals."""
    key = (more.stream, more.version, more.principal, more.verb)
    known = totals.get(key)
    if known is None:
        totals[key] = more
        return
    totals[key] = Usage(
        *key,
        known.commands + more.commands,
        known.items + more.items,
        known.bytes + more.bytes,
        known.failed_items + more.failed_items,
        max(known.last_used_at, more.last_used_at),
    )


def version_number(text: str) -> int | None:
    """Return the number of a version as `KeyUsed` names it; None where it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else None


def _key_used(event: facts.KeyUsed) -> Iterator[Usage]:
    data = event.data
    failed = sum(len(indexes) for indexes in data.failures.values())
    served = {version_number(version) or SHARED: count for version, count in data.versions.items()}
    only = next(iter(served)) if len(served) == 1 else SHARED
    for version in sorted({*served, only}):
        command = version == only
        yield Usage(
            event.subject,
            version,
            data.principal,
            data.verb,
            int(command),
            served.get(version, 0),
            data.bytes if command else 0,
            failed if command else 0,
            event.time,
        )
