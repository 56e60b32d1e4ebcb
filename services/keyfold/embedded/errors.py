"""What can go wrong on the way to a running local stack, each as one line that says what to do.

KeyfoldError
└── EmbeddedError
    ├── MissingProgram     Java, Maven, SoftHSM or the Postgres binaries are not installed
    ├── PortInUse          another program listens where a part of the stack should
    ├── NoDiskSpace        the data directory's file system is almost full
    ├── DataDirectoryError not writable, or not a Keyfold data directory
    ├── DownloadFailed     Maven could not fetch Kafka, or what it fetched is not what was pinned
    ├── StackBusy          another `up`, `down` or `reset` holds the data directory; retriable
    └── PartFailed         a part did not start or died; names its log file
"""

from keyfold.events.errors import KeyfoldError


class EmbeddedError(KeyfoldError):
    """Something about the local stack; the message is one line and says what to do."""

    code = "EmbeddedError"


class MissingProgram(EmbeddedError):
    code = "MissingProgram"


class PortInUse(EmbeddedError):
    code = "PortInUse"


class NoDiskSpace(EmbeddedError):
    code = "NoDiskSpace"


class DataDirectoryError(EmbeddedError):
    code = "DataDirectoryError"


class DownloadFailed(EmbeddedError):
    code = "DownloadFailed"
    retriable = True


class StackBusy(EmbeddedError):
    code = "StackBusy"
    retriable = True


class PartFailed(EmbeddedError):
    code = "PartFailed"
