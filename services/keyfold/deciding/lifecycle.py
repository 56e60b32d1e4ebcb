"""The key state machine as one table: which verbs are allowed in which state (NIST SP 800-57 part 1, section 7).

An old version decrypts, never protects; a key that is being deleted does neither. Whether a principal may is Cedar's
question, not this module's.
"""

from typing import Final

from keyfold.events import errors
from keyfold.events.entities import Key, KeyStatus

_ENABLED: Final = frozenset[KeyStatus]({"Enabled"})
_LIVE: Final = frozenset[KeyStatus]({"Enabled", "Disabled"})
_PENDING: Final = frozenset[KeyStatus]({"PendingDeletion"})
_DESTROYABLE: Final = frozenset[KeyStatus]({"Enabled", "Disabled", "PendingDeletion", "Failed"})
_GOVERNED: Final = frozenset[KeyStatus]({"Enabled", "Disabled", "PendingDeletion"})

ALLOWED: Final[dict[str, frozenset[KeyStatus]]] = {
    "Encrypt": _ENABLED,
    "Decrypt": _ENABLED,
    "ReEncrypt": _ENABLED,
    "GenerateDataKey": _ENABLED,
    "GenerateDataKeyWithoutPlaintext": _ENABLED,
    "RotateKey": _ENABLED,
    "EnableKey": _LIVE,
    "DisableKey": _LIVE,
    "ScheduleKeyDeletion": _LIVE,
    "CancelKeyDeletion": _PENDING,
    "DestroyKey": _PENDING,
    "DestroyKeyNow": _DESTROYABLE,
    "TagResource": _LIVE,
    "UntagResource": _LIVE,
    "UpdateUsageBudget": _LIVE,
    "CreateGrant": _LIVE,
    "PutPolicy": _GOVERNED,
    "DeletePolicy": _GOVERNED,
}

_WHY: Final[dict[KeyStatus, type[errors.InvalidState]]] = {
    "Enabled": errors.InvalidState,
    "Disabled": errors.KeyDisabled,
    "PendingDeletion": errors.KeyPendingDeletion,
    "Destroyed": errors.KeyDestroyed,
    "Failed": errors.InvalidState,
}


def check_state(verb: str, key: Key) -> None:
    """Raise the state's own refusal unless the verb is allowed in it."""
    if key.status not in ALLOWED[verb]:
        raise _WHY[key.status]
