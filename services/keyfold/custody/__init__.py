"""Custody: key material in two envelopes, open handles, and the places where keys are used.

It executes; what may be executed is decided elsewhere. Everything is synchronous and may be called from any thread:
callers keep it off the event loop.
"""

from keyfold.custody.cache import HandleCache
from keyfold.custody.capabilities import Capabilities, find_capabilities
from keyfold.custody.custody import Custody
from keyfold.custody.derived import DerivedKeys
from keyfold.custody.importing import Imported
from keyfold.custody.in_memory import InMemory
from keyfold.custody.in_token import InToken
from keyfold.custody.material import MaterialProvider
from keyfold.custody.memory_operations import MemoryOperations
from keyfold.custody.operations import Operations
from keyfold.custody.private_keys import generate_key_pair
from keyfold.custody.public import encapsulate, encrypt, verify
from keyfold.custody.references import (
    HSM_ITEM_LIMIT,
    SYMMETRIC_DEFAULT,
    Generated,
    Handle,
    InvalidBlob,
    KeyReference,
    Protection,
    Resolver,
    TokenIdentity,
)
from keyfold.custody.sealing import SealingKeys, SealingPrivateKey, open_body
from keyfold.custody.token_operations import TokenOperations

__all__ = [
    "HSM_ITEM_LIMIT",
    "SYMMETRIC_DEFAULT",
    "Capabilities",
    "Custody",
    "DerivedKeys",
    "Generated",
    "Handle",
    "HandleCache",
    "Imported",
    "InMemory",
    "InToken",
    "InvalidBlob",
    "KeyReference",
    "MaterialProvider",
    "MemoryOperations",
    "Operations",
    "Protection",
    "Resolver",
    "SealingKeys",
    "SealingPrivateKey",
    "TokenIdentity",
    "TokenOperations",
    "encapsulate",
    "encrypt",
    "find_capabilities",
    "generate_key_pair",
    "open_body",
    "verify",
]
