"""What follows from a key and the time: its state, and when rotation is due. Pure; policy and projections ask the same.

States are those of NIST SP 800-57 part 1, section 7, and KMIP, in the order in which one hides another. They follow
from what was decided and from time, and are never stored. Which verbs each allows is `keyfold.deciding.lifecycle`'s.
"""

from typing import Literal

from keyfold.events.entities import Key
from keyfold.events.times import SECOND_MS, to_milliseconds

KeyState = Literal[
    "PendingImport", "PreActive", "Enabled", "Disabled", "Expired", "Compromised", "PendingDeletion", "Destroyed",
    "Failed",
]  # fmt: skip


def state_of(key: Key, now_ms: int) -> KeyState:
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


def budget_used(key: Key) -> bool:
    """Tell whether the current version has used the part of its budget at which it is to be replaced."""
    if key.rotate_at_percent is None:
        return False
    return key.current.protected_items * 100 >= key.usage_budget * key.rotate_at_percent


def period_over_at(key: Key) -> int | None:
    """Return when the current version, and the wish to rotate by period, are as old as the period; None without one."""
    if key.rotation_period_seconds is None or key.rotation_enabled_at is None:
        return None
    since = max(to_milliseconds(key.current.created_at), to_milliseconds(key.rotation_enabled_at))
    return since + key.rotation_period_seconds * SECOND_MS
