"""The client: encrypt, decrypt and manage keys from asyncio programs; `keyfold.client.sync` is for threads.

It signs every command, seals what is secret to the deployment's HSM workers, believes only authentic answers, and
gathers concurrent calls into few records. It holds no keys of the service and reads no database. Its names are imported
when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from keyfold.client.arguments import When
    from keyfold.client.connection import Keyfold
    from keyfold.client.core import BatchResult, Context
    from keyfold.client.errors import ClientClosed, DeadlineExceeded, DirectoryIncomplete, InvalidArgument
    from keyfold.client.federation import TokenSource, TokenSourceFailed, thumbprint
    from keyfold.client.importing import wrap_key_material
    from keyfold.client.material import KeyMaterial, read_key_material
    from keyfold.client.protected import ContextKeyRotated, ContextKeys, KeyfoldContextKeys, protect
    from keyfold.client.public_keys import PublicKey
    from keyfold.client.receipts import Receipt
    from keyfold.client.results import Approval, Completed, Compromise, DryRun, ImportParameters, KeyMetadata, Proposal
    from keyfold.client.settings import ClientSettings
    from keyfold.client.values import (
        DataKey,
        DataKeyPair,
        Encapsulation,
        Encrypted,
        EncryptedDataKeyPair,
        Mac,
        SharedSecret,
        Signature,
        unwrap,
    )
    from keyfold.client.verifying import verify_signature
    from keyfold.client.view import SealingKeyPeriod

__all__ = [
    "Approval",
    "BatchResult",
    "ClientClosed",
    "ClientSettings",
    "Completed",
    "Compromise",
    "Context",
    "ContextKeyRotated",
    "ContextKeys",
    "DataKey",
    "DataKeyPair",
    "DeadlineExceeded",
    "DirectoryIncomplete",
    "DryRun",
    "Encapsulation",
    "Encrypted",
    "EncryptedDataKeyPair",
    "ImportParameters",
    "InvalidArgument",
    "KeyMaterial",
    "KeyMetadata",
    "Keyfold",
    "KeyfoldContextKeys",
    "Mac",
    "Proposal",
    "PublicKey",
    "Receipt",
    "SealingKeyPeriod",
    "SharedSecret",
    "Signature",
    "TokenSource",
    "TokenSourceFailed",
    "When",
    "protect",
    "read_key_material",
    "thumbprint",
    "unwrap",
    "verify_signature",
    "wrap_key_material",
]

_PLACES: Final = {
    "arguments": "When",
    "connection": "Keyfold",
    "core": "BatchResult Context",
    "errors": "ClientClosed DeadlineExceeded DirectoryIncomplete InvalidArgument",
    "federation": "TokenSource TokenSourceFailed thumbprint",
    "importing": "wrap_key_material",
    "material": "KeyMaterial read_key_material",
    "protected": "ContextKeyRotated ContextKeys KeyfoldContextKeys protect",
    "public_keys": "PublicKey",
    "receipts": "Receipt",
    "results": "Approval Completed Compromise DryRun ImportParameters KeyMetadata Proposal",
    "settings": "ClientSettings",
    "values": "DataKey DataKeyPair Encapsulation Encrypted EncryptedDataKeyPair Mac SharedSecret Signature unwrap",
    "verifying": "verify_signature",
    "view": "SealingKeyPeriod",
}
_MODULES: Final = {name: module for module, names in _PLACES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: whoever wants one error or one word pays for no connection."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found
