"""What may be wrong with an archive.

KeyfoldError
├── ArchiveUnusable         no archive, another deployment's, another version's, or in use
└── RecordError
    ├── ArchiveDamaged      a file is missing, cut off, or not what the manifest says
    └── CheckpointDiffers   the records do not make the tree that the checkpoint signs
"""

from keyfold.events.errors import KeyfoldError, RecordError


class ArchiveUnusable(KeyfoldError):
    """The directory cannot be read or written as an archive of this deployment."""

    code = "ArchiveUnusable"


class ArchiveDamaged(RecordError):
    """A file of the archive is missing, or differs from what the manifest says. The message names it."""

    code = "ArchiveDamaged"


class CheckpointDiffers(RecordError):
    """The records of a partition have another root than its signed checkpoint, or the log was cut or replaced."""

    code = "CheckpointDiffers"
