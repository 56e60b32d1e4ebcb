"""The state machine of keys and versions as two tables: which verbs are allowed in which state. Pure.

The state itself follows from the key and the time (`keyfold.events.key_states`). An old version opens and verifies,
never protects. Whether a principal may is Cedar's question, not this module's.
"""

from typing import Final

from keyfold.deciding.rules import NotYet
from keyfold.events import errors
from keyfold.events.entities import Key, KeyVersion, VersionStatus
from keyfold.events.key_states import KeyState, state_of

_PROTECTS: Final = frozenset[KeyState]({"Enabled"})
_OPENS: Final = frozenset[KeyState]({"Enabled", "Expired", "Compromised"})
_ROTATES: Final = frozenset[KeyState]({"Enabled", "Compromised"})
_AWAITED: Final = frozenset[KeyState]({"PendingImport"})
_FAILED: Final = frozenset[KeyState]({"Failed"})
_DESTROYED: Final = frozenset[KeyState]({"Destroyed"})
_MATERIAL: Final = frozenset[KeyState]({"PreActive", "Enabled", "Expired", "Compromised"})
_LIVE: Final = _MATERIAL | _AWAITED | frozenset[KeyState]({"Disabled"})
_PENDING: Final = frozenset[KeyState]({"PendingDeletion"})
_GOVERNED: Final = _LIVE | _PENDING

ALLOWED: Final[dict[str, frozenset[KeyState]]] = {
    **dict.fromkeys(
        ("Encrypt", "ReEncrypt", "ReEncryptTo", "Sign", "GenerateMac", "Encapsulate", "GenerateDataKey",
         "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
        _PROTECTS,
    ),
    **dict.fromkeys(
        ("Decrypt", "ReEncryptFrom", "Verify", "VerifyMac", "DeriveSharedSecret", "Decapsulate"),
        _OPENS,
    ),
    "GetPublicKey": _GOVERNED - _AWAITED,
    "RotateKey": _ROTATES,
    **dict.fromkeys(
        ("EnableKey", "DisableKey", "ScheduleKeyDeletion", "TagResource", "UntagResource", "UpdateUsageBudget",
         "UpdateKeyValidity", "EnableKeyRotation", "DisableKeyRotation", "DisableKeyVersion", "EnableKeyVersion",
         "DestroyKeyVersion", "GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial",
         "CreateGrant"),
        _LIVE,
    ),
    "CancelKeyDeletion": _PENDING,
    "DestroyKey": _PENDING,
    "DestroyKeyNow": _GOVERNED | _FAILED,
    "MarkKeyCompromised": _GOVERNED | _DESTROYED,
    "PutPolicy": _GOVERNED,
    "DeletePolicy": _GOVERNED,
}  # fmt: skip
"""Key states in which a verb on a key is allowed. Verbs that are not here ask no state."""

VERSION_ALLOWED: Final[dict[str, frozenset[VersionStatus]]] = {
    "DisableKeyVersion": frozenset({"Active"}),
    "EnableKeyVersion": frozenset({"Disabled"}),
    "DestroyKeyVersion": frozenset({"Active", "Disabled"}),
    "MarkKeyCompromised": frozenset({"Active", "Disabled", "Destroyed"}),
    "GetParametersForImport": frozenset({"Active", "Disabled"}),
    "ImportKeyMaterial": frozenset({"Active", "Disabled"}),
    "DeleteImportedKeyMaterial": frozenset({"Active", "Disabled"}),
}
"""Statuses of a version in which a verb on it is allowed."""

_WHY: Final[dict[KeyState, type[errors.InvalidState]]] = {
    "PendingImport": errors.KeyPendingImport,
    "PreActive": errors.KeyNotYetValid,
    "Enabled": errors.InvalidState,
    "Disabled": errors.KeyDisabled,
    "Expired": errors.KeyExpired,
    "Compromised": errors.KeyCompromised,
    "PendingDeletion": errors.KeyPendingDeletion,
    "Destroyed": errors.KeyDestroyed,
    "Failed": errors.InvalidState,
}


def check_state(verb: str, key: Key, now_ms: int) -> None:
    """Raise the state's own refusal unless the verb is allowed in it; `NotYet` where an import under way allows it."""
    state = state_of(key, now_ms)
    if state in ALLOWED[verb]:
        return
    if state == "PendingImport" and ALLOWED[verb] & _MATERIAL:
        await_import(key)
    raise _WHY[state]


def await_import(key: Key) -> None:
    """Raise `NotYet` while an import is under way: what needs its material is neither allowed nor denied."""
    if key.importing is not None:
        raise NotYet


def version_for(verb: str, key: Key, number: int) -> KeyVersion:
    """Return the version that a verb is about. Raises `NotFound`, and `KeyVersionUnusable` for its status."""
    try:
        version = key.version(number)
    except KeyError:
        raise errors.NotFound("the key has no such version") from None
    if version.status not in VERSION_ALLOWED[verb]:
        raise errors.KeyVersionUnusable
    return version
