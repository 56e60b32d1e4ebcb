"""The client: encrypt, decrypt and manage keys from asyncio programs; `keyfold.client.sync` is for threads.

It signs every command, seals what is secret to the deployment's HSM workers, believes only authentic answers, and
gathers concurrent calls into few records. It holds no keys of the service and reads no database.
"""

from keyfold.client.arguments import When
from keyfold.client.connection import Keyfold
from keyfold.client.core import BatchResult, Context
from keyfold.client.data_verbs import DataKey, unwrap
from keyfold.client.errors import ClientClosed, DeadlineExceeded, DirectoryIncomplete, InvalidArgument
from keyfold.client.federation import TokenSource, TokenSourceFailed, thumbprint
from keyfold.client.results import Approval, Completed, DryRun, KeyMetadata, Proposal
from keyfold.client.settings import ClientSettings
from keyfold.client.view import SealingKeyPeriod

__all__ = [
    "Approval",
    "BatchResult",
    "ClientClosed",
    "ClientSettings",
    "Completed",
    "Context",
    "DataKey",
    "DeadlineExceeded",
    "DirectoryIncomplete",
    "DryRun",
    "InvalidArgument",
    "KeyMetadata",
    "Keyfold",
    "Proposal",
    "SealingKeyPeriod",
    "TokenSource",
    "TokenSourceFailed",
    "When",
    "thumbprint",
    "unwrap",
]
