"""What follows from a key and the time, as stores answer it: its effective state, and why it is to be rotated. Pure.

States are those of NIST SP 800-57 part 1, section 7, in the order in which one hides another; policy decides by the
same order. In Postgres they are said by `keyfold.key_state` and the query `due_rotations`; the contract suite of the
stores holds both to each other.
"""

from typing import Final

from keyfold.events.arguments import RotationCause
from keyfold.events.entities import Key
from keyfold.events.times import SECOND_MS, to_milliseconds

Urgency = tuple[int, int]

_ROTATED: Final = frozenset({"Enabled", "Compromised"})


def state_of(key: Key, now_ms: int) -> str:
    """Return the state that a key is in at this time."""
    if key.status != "Enabled":
        return key.status
    if not key.current.has_material(now_ms):
        return "PendingImport"
    if key.current.compromised:
        return "Compromised"
    if key.not_before is not None and now_ms < to_milliseconds(key.not_before):
        return "PreActive"
    if key.not_after is not None and now_ms >= to_milliseconds(key.not_after):
        return "Expired"
    return "Enabled"


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
    if key.rotate_at_percent is not None and version.protected_items * 100 >= key.usage_budget * key.rotate_at_percent:
        return (1, key.usage_budget - version.protected_items), "usage-budget"
    period_ms = _period_over_at(key)
    return ((2, period_ms), "period") if period_ms is not None and period_ms <= now_ms else None


def _period_over_at(key: Key) -> int | None:
    if key.rotation_period_seconds is None or key.rotation_enabled_at is None:
        return None
    since = max(to_milliseconds(key.current.created_at), to_milliseconds(key.rotation_enabled_at))
    return since + key.rotation_period_seconds * SECOND_MS
