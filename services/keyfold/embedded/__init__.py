"""The local stack: Kafka, Postgres and SoftHSM in one data directory, and the services beside them.

For development, tests, the demonstration and single machines. No deployment needs it, nothing here is imported by a
service, and it never sees a key or a PIN.
"""

from keyfold.embedded.errors import (
    DataDirectoryError,
    DownloadFailed,
    EmbeddedError,
    MissingProgram,
    NoDiskSpace,
    PartFailed,
    PortInUse,
    StackBusy,
)
from keyfold.embedded.services import SERVICES
from keyfold.embedded.stack import PartStatus, Stack

__all__ = [
    "SERVICES",
    "DataDirectoryError",
    "DownloadFailed",
    "EmbeddedError",
    "MissingProgram",
    "NoDiskSpace",
    "PartFailed",
    "PartStatus",
    "PortInUse",
    "Stack",
    "StackBusy",
]
