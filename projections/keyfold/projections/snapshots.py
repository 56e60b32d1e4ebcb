"""Everything that the live projections hold, as of one moment: for who compares them with the log. See `ports` too.

A snapshot does not move while it is open, however long that takes; on a database it keeps old rows alive until then.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from keyfold.projections.positions import Offsets
from keyfold.projections.rows import AuditRow

Document = dict[str, Any]
"""A row by its columns: instants as in events, ids as text, documents as lists and mappings, bytes as `\\x` and hex."""


class Snapshot(Protocol):
    """All tables of the live schema at one moment. Not for use by two tasks."""

    @property
    def offsets(self) -> Mapping[int, Offsets]:
        """How far each partition was folded then."""

    def audit(self, partition: int) -> AsyncIterator[Sequence[AuditRow]]:
        """Yield all audit rows of a partition by position."""

    def rows(self, table: str) -> AsyncIterator[Sequence[Document]]:
        """Yield all rows of a table of `tables.PRIMARY_KEYS`, in no order that is promised."""

    async def audit_partitions(self) -> frozenset[int]:
        """Return the partitions that audit rows claim to be of."""


class Snapshots(Protocol):
    """Opens snapshots; `StoreUnavailable` where the store does not answer, also later."""

    def open(self) -> AbstractAsyncContextManager[Snapshot]: ...
