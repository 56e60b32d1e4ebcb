"""Filling an empty cluster from a backup: every record at its offset, with its time (`laying` says how).

Topics are made without the brokers' clock, compaction and retention, filled, and only then given their settings: so
records keep the times by which certificates are judged, and nothing is cleaned away under way. In compacted topics only
the order counts, since nobody keeps their offsets. If we crash anywhere, the topics that were made hold a part: they
are to be deleted, and the restore begins anew.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from keyfold.bus import Admin, Bus, Inbound, Outbound, Sender, Writer
from keyfold.cli.backup.errors import BackupRefused
from keyfold.cli.backup.laying import Deleted, Markers, Records, Step, steps
from keyfold.cli.backup.manifest import CopiedPartition, Manifest
from keyfold.cli.backup.record_files import records
from keyfold.events import topics

_AT_ONCE: Final = 6
_EMPTY_AT_ONCE: Final = 5_000
_LOOK_S: Final = 0.005
_PATIENCE_S: Final = 20.0
_COMPACTED: Final = frozenset(row.name for row in topics.TOPICS if row.cleanup == "compact")


async def fill_log(bus: Bus, directory: Path, manifest: Manifest, say: Callable[[str], None]) -> int:
    """Fill all topics of the backup, which exist and are empty; return how many records were written.

    Raises `BackupRefused` where an offset is not what it was, `Unavailable` where the brokers do not answer.
    """
    admin, sender = bus.admin(), bus.sender()
    turns = asyncio.Semaphore(_AT_ONCE)

    async def filled(topic: str, part: CopiedPartition) -> int:
        async with turns:
            filling = Filling(bus, admin, sender, topic, part.partition)
            with (directory / part.file).open("rb") as file:
                try:
                    return await filling.fill(records(file, topic, part.partition), part)
                finally:
                    await filling.stop()

    await admin.start()
    try:
        await sender.start()
        total = 0
        for topic, parts in manifest.topics.items():
            count = sum(await asyncio.gather(*(filled(topic, part) for part in parts)))
            say(f"{topic}: {count} records")
            total += count
        return total
    finally:
        await sender.stop()
        await admin.stop()


class Filling:
    """One partition on its way from empty to what it was."""

    def __init__(self, bus: Bus, admin: Admin, sender: Sender, topic: str, partition: int) -> None:
        self._bus, self._admin, self._sender = bus, admin, sender
        self._topic, self._partition = topic, partition
        self._exact = topic not in _COMPACTED
        self._next = 0
        self._writer: Writer | None = None
        self._marked = False

    async def fill(self, found: Iterable[Inbound], part: CopiedPartition) -> int:
        """Carry out the steps; return how many records there were."""
        count = 0
        for step in steps(found, part.first, part.end, exact=self._exact):
            await self._carry_out(step)
            count += len(step.records) if isinstance(step, Records) else 0
        await self._at_rest()
        if count != part.records or (self._exact and self._next != part.end):
            raise BackupRefused(
                f"{self._topic}-{self._partition} ends at {self._next} after {count} records, not as the backup says"
            )
        return count

    async def stop(self) -> None:
        """Release the writer."""
        if self._writer is not None:
            await self._writer.stop()

    async def _carry_out(self, step: Step) -> None:
        if isinstance(step, Deleted):
            await self._fill_and_delete(step.count)
        elif isinstance(step, Markers):
            for _ in range(step.count):
                await (await self._transactions()).end_open([(self._topic, self._partition)], commit=False)
            self._next, self._marked = self._next + step.count, True
        elif step.marker:
            self._placed(step, await (await self._transactions()).commit([_outbound(each) for each in step.records]))
            self._next, self._marked = self._next + 1, True
        else:
            self._placed(step, await self._sent([_outbound(each) for each in step.records]))

    def _placed(self, step: Records, offsets: list[int]) -> None:
        """Advance; what stands elsewhere than it stood would contradict all that names offsets."""
        wrong = next((i for i, each in enumerate(step.records) if self._exact and offsets[i] != each.offset), None)
        if wrong is not None:
            raise BackupRefused(
                f"{self._topic}-{self._partition} has offset {offsets[wrong]} for the record of "
                f"{step.records[wrong].offset}: somebody else writes to this cluster; delete the topics, begin anew"
            )
        self._next = offsets[-1] + 1

    async def _sent(self, outbound: list[Outbound]) -> list[int]:
        await self._at_rest()
        return list(await asyncio.gather(*[await self._sender.send(record) for record in outbound]))

    async def _fill_and_delete(self, count: int) -> None:
        empty = Outbound(self._topic, self._partition, None, b"", (), 0)
        while self._next < count:
            some = min(_EMPTY_AT_ONCE, count - self._next)
            self._next = (await self._sent([empty] * some))[-1] + 1
        await self._admin.delete_records(self._topic, self._partition, count)

    async def _transactions(self) -> Writer:
        if self._writer is None:
            self._writer = self._bus.writer(f"keyfold-restore-{self._topic}-{self._partition}")
            await self._writer.start()
        return self._writer

    async def _at_rest(self) -> None:
        """Wait until the marker of our last transaction is in the log: it comes after the commit has returned."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while self._marked:
            ends = await self._admin.end_offsets(self._topic, committed=True)
            self._marked = ends[self._partition] < self._next if self._exact else False
            if self._marked:
                if asyncio.get_running_loop().time() > deadline:
                    raise BackupRefused(f"{self._topic}-{self._partition} does not come to rest at {self._next}")
                await asyncio.sleep(_LOOK_S)


def _outbound(record: Inbound) -> Outbound:
    return Outbound(record.topic, record.partition, record.key, record.value, record.headers, record.timestamp_ms)
