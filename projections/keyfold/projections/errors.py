"""Errors of projections: what an owner of a partition can do about each is the reason why there are several.

KeyfoldError
├── ProjectionError
│   ├── OwnedElsewhere      somebody else moved the partition on: drop everything, start again from what is stored
│   ├── SchemaClosed        this schema is not written any more (a rebuilt one is taking over)
│   ├── StateMismatch       an event cannot follow from the state: stop the partition, an operator decides
│   ├── RebuildNeeded       what was folded has been revoked since, or has an old layout: rebuild
│   ├── SchemaNewer         a newer release works on this database: this one must not touch it any more
│   └── StoreRefused        the database refuses a statement for what it is; the same one fails again
└── Unavailable
    ├── MigrationsNeeded    the owner of the schema has to run migrations first; this role may not
    └── StoreUnavailable    no answer in time, or the connection broke: nothing of ours is half done
"""

from typing import ClassVar

from keyfold.events.errors import KeyfoldError, Unavailable


class ProjectionError(KeyfoldError):
    """Something about the projections that trying again does not cure."""

    code = "ProjectionError"


class OwnedElsewhere(ProjectionError):
    """The stored offset is not the one that this owner left there."""

    code = "OwnedElsewhere"
    retriable: ClassVar[bool] = True

    def __init__(self, partition: int, expected: int) -> None:
        self.partition, self.expected = partition, expected
        super().__init__(
            f"partition {partition} no longer stands at offset {expected}: another projector moved it on; "
            "nothing was written, start again from the stored offset"
        )


class SchemaClosed(ProjectionError):
    """The schema of this colour takes no writes: a rebuilt one is taking over, or has."""

    code = "SchemaClosed"
    retriable: ClassVar[bool] = True


class StateMismatch(ProjectionError):
    """An authentic event does not follow from the stored state."""

    code = "StateMismatch"


class RebuildNeeded(ProjectionError):
    """The stored state holds what must not count any more."""

    code = "RebuildNeeded"


class SchemaNewer(ProjectionError):
    """The tables are those of a newer release."""

    code = "SchemaNewer"


class StoreRefused(ProjectionError):
    """The database refused a statement."""

    code = "StoreRefused"


class MigrationsNeeded(Unavailable):
    """The database lacks migrations, and this role is not the one that runs them."""

    code = "MigrationsNeeded"


class StoreUnavailable(Unavailable):
    """The database does not answer."""

    code = "StoreUnavailable"


class ProjectionsAbsent(StoreUnavailable):
    """The database answers, and has no projections of this kind: they were not made yet, or were replaced."""
