"""Errors of backups: what can be done about each is in its message.

KeyfoldError
├── RecordError
│   └── BackupDamaged     a file of the backup is missing, changed, or not whole
├── BackupRefused         nothing was done: the place is not empty, or is another deployment's
└── Unavailable
    └── BackupMoved       services are at work, so that no copy is of one moment
"""

from keyfold.events.errors import KeyfoldError, RecordError, Unavailable


class BackupDamaged(RecordError):
    """A file of the backup is not what its manifest says."""

    code = "BackupDamaged"


class BackupRefused(KeyfoldError):
    """A backup or restore would write over something, or is not this deployment's."""

    code = "BackupRefused"


class BackupMoved(Unavailable):
    """The log moved while it was copied."""

    code = "BackupMoved"
