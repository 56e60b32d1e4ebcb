"""Custody: key material in two envelopes, open handles, and the two places where keys are used.

It executes; what may be executed is decided elsewhere. Everything is synchronous and may be called from any thread:
callers keep it off the event loop.
"""

from keyfold.custody.cache import HandleCache
from keyfold.custody.custody import Custody
from keyfold.custody.derived import DerivedKeys
from keyfold.custody.in_memory import InMemory
from keyfold.custody.in_token import InToken
from keyfold.custody.material import MaterialProvider
from keyfold.custody.references import (
    HSM_ITEM_LIMIT,
    SYMMETRIC_DEFAULT,
    Handle,
    InvalidBlob,
    KeyReference,
    Protection,
    Resolver,
)
from keyfold.custody.sealing import SealingKeys, SealingPrivateKey, open_body

__all__ = [
    "HSM_ITEM_LIMIT",
    "SYMMETRIC_DEFAULT",
    "Custody",
    "DerivedKeys",
    "Handle",
    "HandleCache",
    "InMemory",
    "InToken",
    "InvalidBlob",
    "KeyReference",
    "MaterialProvider",
    "Protection",
    "Resolver",
    "SealingKeys",
    "SealingPrivateKey",
    "open_body",
]
