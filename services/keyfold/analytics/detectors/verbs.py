"""Which verbs mean the same to a detector. Pure."""

from typing import Final

from keyfold.analytics.ticks import Tick
from keyfold.projections.audit import USES

DECRYPT: Final = frozenset({"Decrypt", "ReEncrypt", "ReEncryptFrom", "Decapsulate", "DeriveSharedSecret"})
"""What gives plaintext or a shared secret away."""

SIGN: Final = frozenset({"Sign", "GenerateMac"})
ENCRYPT: Final = frozenset({"Encrypt", "ReEncryptTo", "Encapsulate"})
DATA_KEY: Final = frozenset(
    {
        "GenerateDataKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateDataKeyWithoutPlaintext",
    }
)
SENSITIVE_USE: Final = DECRYPT | SIGN
"""What an attacker uses a key for."""

POLICY_CHANGE: Final = frozenset({"PutPolicy", "DeletePolicy"})
DELETION: Final = frozenset(
    {
        "DeleteImportedKeyMaterial",
        "DestroyKey",
        "DestroyKeyNow",
        "DestroyKeyVersion",
        "DisableKey",
        "DisableKeyVersion",
        "ScheduleKeyDeletion",
    }
)
SUSPENSION: Final = frozenset({"RevokePrincipal", "RevokeSigningKey", "SuspendPrincipal"})
GRANT: Final = frozenset({"CreateGrant"})
POWER: Final = (
    POLICY_CHANGE
    | DELETION
    | SUSPENSION
    | GRANT
    | frozenset({"AddSigningKey", "PutIssuer", "PutIssuerKeys", "RegisterPrincipal", "UpdatePrincipal"})
)
"""Administrative verbs that give power away or take keys from others."""


def kind_of_use(**groups: frozenset[str]) -> dict[tuple[str, str], str]:
    """Return the name of the group of each authorized use."""
    return {(verb, "authorized"): name for name, verbs in groups.items() for verb in verbs}


def uses_keys(tick: Tick) -> bool:
    """Tell whether a tick has the use of a key. Administrative acts name keys, and use none."""
    return any(use.result == "authorized" and use.verb in USES for use in tick.items)


def uses_sensitively(tick: Tick) -> bool:
    """Tell whether a tick has what an attacker uses a key for."""
    return any(use.result == "authorized" and use.verb in SENSITIVE_USE for use in tick.items)
