"""Why a key is to be rotated, and how urgently, as stores answer it. Pure.

In Postgres the query `due_rotations` says it; the contract suite of the stores holds both to each other.
"""

from typing import Final

from keyfold.events.arguments import RotationCause
from keyfold.events.entities import Key
from keyfold.events.key_states import budget_used, period_over_at, state_of
from keyfold.events.times import to_milliseconds

Urgency = tuple[int, int]

_ROTATED: Final = frozenset({"Enabled", "Compromised"})


def rotation_due(key: Key, now_ms: int) -> tuple[Urgency, RotationCause] | None:
    """Return why a key is to be rotated, and how urgently (the least first); None where it is not.

    Compromised keys come first, by when that was said; then those that have used their share of the budget, by what is
    left of it; then those whose rotation period is over, by since when.
    """
    version = key.current
    if key.origin != "KEYFOLD" or version.status != "Active" or state_of(key, now_ms) not in _ROTATED:
        return None
    if version.compromised_at is not None:
        return (0, to_milliseconds(version.compromised_at)), "compromise"
    if budget_used(key):
        return (1, key.usage_budget - version.protected_items), "usage-budget"
    period_ms = period_over_at(key)
    return ((2, period_ms), "period") if period_ms is not None and period_ms <= now_ms else None
