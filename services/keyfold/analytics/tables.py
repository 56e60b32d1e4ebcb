"""Tables of the application: rows by partition, in memory, with a changelog from which Faust restores them.

A row is written by awaiting its changelog record first; what stands in memory is durable. The values in the changelog
carry the seal of this service; what does not is no row, whoever wrote it.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from faust.stores.memory import Store
from faust.tables.table import Table
from yarl import URL

from keyfold.analytics.sealing import Seal
from keyfold.analytics.sending import Sending
from keyfold.analytics.transport import Application
from keyfold.logging import get_logger

_log = get_logger()


class PartitionStore(Store[bytes, bytes]):
    """Rows by partition. What belongs to a partition goes when the partition goes."""

    def __init__(self, *args: Any, seal: Seal, topic: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._seal, self._topic = seal, topic
        self.partitions: dict[int, dict[bytes, bytes]] = {}
        self._applied: dict[int, int] = {}

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:  # noqa: ARG002
        """Take in records of the changelog, in order."""
        refused = 0
        for event in batch:
            message = event.message
            rows = self.partitions.setdefault(message.partition, {})
            self._applied[message.partition] = message.offset
            if message.key is None or message.value is None:
                rows.pop(message.key, None)
                continue
            content = self._seal.open(self._topic, message.partition, message.key, message.value)
            if content is None:
                refused += 1
            else:
                rows[message.key] = content
        if refused:
            _log.warning("foreign-rows-ignored", topic=self._topic, rows=refused)

    async def on_rebalance(self, assigned: Any, revoked: Any, newly_assigned: Any, generation_id: int = 0) -> None:  # noqa: ARG002
        """Drop what is restored anew, or by others."""
        for tp in (*revoked, *newly_assigned):
            if tp.topic == self._topic:
                self.partitions.pop(tp.partition, None)
                self._applied.pop(tp.partition, None)

    def persisted_offset(self, tp: Any) -> int:
        """Return up to where the changelog was applied to what is here; -1: nothing, so that all of it is read."""
        return self._applied.get(tp.partition, -1)

    async def on_recovery_completed(self, active_tps: Any, standby_tps: Any) -> None:
        """Keep what is there: it was dropped when the partitions moved."""


class SealedTable(Table[bytes, bytes]):
    """A table whose rows are written with their partition, by whoever owns it."""

    def __init__(self, app: Application, topic: str, partitions: int, seal: Seal) -> None:
        raw: dict[str, Any] = {
            "key_type": bytes,
            "value_type": bytes,
            "key_serializer": "raw",
            "value_serializer": "raw",
        }
        self._seal, self._topic = seal, topic
        changelog = app.topic(
            topic, **raw, partitions=partitions, acks=False, internal=True, allow_empty=True, maxsize=131_072
        )
        super().__init__(
            app, name=topic, partitions=partitions, key_type=bytes, value_type=bytes, changelog_topic=changelog
        )
        app.tables.add(self)

    def rows(self, partition: int) -> dict[bytes, bytes]:
        """Return the rows of a partition; not to be changed."""
        store: Any = self.data
        rows: dict[bytes, bytes] = store.partitions.setdefault(partition, {})
        return rows

    async def write(self, sending: Sending, partition: int, changes: Mapping[bytes, bytes | None]) -> None:
        """Write rows, in order; None deletes. Raises `NotSent`.

        If we crash here, a part of them is written, from the first on: the caller's order says what that means.
        """
        await sending.send(self._records(partition, changes))
        rows = self.rows(partition)
        for key, content in changes.items():
            if content is None:
                rows.pop(key, None)
            else:
                rows[key] = content
        await asyncio.sleep(0)

    def _records(
        self, partition: int, changes: Mapping[bytes, bytes | None]
    ) -> Iterator[tuple[str, int, bytes, bytes | None]]:
        for key, content in changes.items():
            value = None if content is None else self._seal.close(self._topic, partition, key, content)
            yield self._topic, partition, key, value

    def _new_store(self) -> PartitionStore:
        return PartitionStore(
            URL("memory://"), self.app, self, table_name=self.name, key_type=bytes, value_type=bytes,
            key_serializer="raw", value_serializer="raw", seal=self._seal, topic=self._topic,
        )  # fmt: skip
